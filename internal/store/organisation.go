package store

import (
	"context"
	"database/sql"
	"errors"

	"tidings"
)

// OrganisationBySlug finds an organisation by its name in URLs.
func (s *Store) OrganisationBySlug(ctx context.Context, slug string) (tidings.Organisation, error) {
	o := tidings.Organisation{Slug: slug}
	var created int64
	err := s.queryRow(ctx, "SELECT id, created_at FROM organisation WHERE slug = $1", []any{slug}, &o.Key, &created)
	o.CreatedAt = fromMillis(created)
	return o, notFound(err, "organisation", slug)
}

// CreateClient makes a client of the organisation with that slug, which is made
// too where it is missing. Organisation.Key and the times are filled in. A
// client id in use is a conflict.
func (s *Store) CreateClient(ctx context.Context, slug string, c tidings.Client) (tidings.Client, error) {
	if err := tidings.CheckSlug(slug); err != nil {
		return tidings.Client{}, err
	}
	err := s.w.submit(ctx, classTransition, 0, 2, func(t *tx) error {
		org, err := t.organisation(slug)
		if err != nil {
			return err
		}
		c.Organisation, c.CreatedAt = org, fromMillis(t.now)
		n, err := t.exec(`INSERT INTO client (client_id, organisation_id, scopes, secret_hash, created_at)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT (client_id) DO NOTHING`,
			c.ID, org.Key, c.Scopes.String(), c.SecretHash[:], t.now)
		if err != nil {
			return err
		}
		if n == 0 {
			return tidings.Conflict("There is a client %q already.", c.ID)
		}
		return t.audit(org.Key, operator, "client.created", c.ID, c.Scopes.String())
	})
	return c, err
}

// operator stands in the audit log for whoever has the server's own command
// line.
const operator = "operator"

// organisation finds or makes an organisation.
func (t *tx) organisation(slug string) (tidings.Organisation, error) {
	o := tidings.Organisation{Slug: slug}
	var created int64
	err := t.queryRow("SELECT id, created_at FROM organisation WHERE slug = $1", []any{slug}, &o.Key, &created)
	if errors.Is(err, sql.ErrNoRows) {
		o.Key, created = t.key(), t.now
		_, err = t.exec("INSERT INTO organisation (id, slug, created_at) VALUES ($1, $2, $3)", o.Key, slug, created)
	}
	o.CreatedAt = fromMillis(created)
	return o, err
}

const clientColumns = `SELECT c.client_id, c.scopes, c.secret_hash, c.created_at, c.rotated_at, c.revoked_at, o.id, o.slug, o.created_at
	FROM client c JOIN organisation o ON o.id = c.organisation_id`

func scanClient(r scanner) (c tidings.Client, err error) {
	var scopes string
	var hash []byte
	var created, orgCreated int64
	var rotated, revoked nullable
	err = r.Scan(&c.ID, &scopes, &hash, &created, &rotated, &revoked, &c.Organisation.Key, &c.Organisation.Slug, &orgCreated)
	if err != nil {
		return c, err
	}
	copy(c.SecretHash[:], hash)
	c.CreatedAt, c.RotatedAt, c.RevokedAt = fromMillis(created), rotated.pointer(), revoked.pointer()
	c.Organisation.CreatedAt = fromMillis(orgCreated)
	c.Scopes, err = tidings.ParseScopes(scopes)
	return c, err
}

// Client finds a client by its client_id, revoked ones too. It is read from the
// database each time, as other processes write clients.
func (s *Store) Client(ctx context.Context, id string) (tidings.Client, error) {
	c, err := scanClient(s.reads.row(ctx, clientColumns+" WHERE c.client_id = $1", id))
	return c, notFound(err, "client", id)
}

// Clients lists the clients of one organisation, or of all where slug is empty,
// oldest first.
func (s *Store) Clients(ctx context.Context, slug string) (out []tidings.Client, err error) {
	err = s.query(ctx, clientColumns+" WHERE $1 = '' OR o.slug = $1 ORDER BY c.created_at, c.client_id", []any{slug},
		func(r scanner) error {
			c, err := scanClient(r)
			out = append(out, c)
			return err
		})
	return out, err
}

// RotateClient gives a client another secret; the old one ends at once.
func (s *Store) RotateClient(ctx context.Context, id string, hash [32]byte) error {
	return s.changeClient(ctx, id, "client.rotated", func(t *tx) (int64, error) {
		return t.exec("UPDATE client SET secret_hash = $1, rotated_at = $2 WHERE client_id = $3 AND revoked_at IS NULL", hash[:], t.now, id)
	})
}

// RevokeClient ends a client for good.
func (s *Store) RevokeClient(ctx context.Context, id string) error {
	return s.changeClient(ctx, id, "client.revoked", func(t *tx) (int64, error) {
		return t.exec("UPDATE client SET revoked_at = $1 WHERE client_id = $2 AND revoked_at IS NULL", t.now, id)
	})
}

func (s *Store) changeClient(ctx context.Context, id, action string, change func(*tx) (int64, error)) error {
	return s.w.submit(ctx, classTransition, 0, 2, func(t *tx) error {
		n, err := change(t)
		if err != nil {
			return err
		}
		if n == 0 {
			return &tidings.Error{Kind: tidings.KindNotFound, Message: "There is no client \"" + id + "\", or it was revoked."}
		}
		var org int64
		if err := t.queryRow("SELECT organisation_id FROM client WHERE client_id = $1", []any{id}, &org); err != nil {
			return err
		}
		return t.audit(org, operator, action, id, "")
	})
}
