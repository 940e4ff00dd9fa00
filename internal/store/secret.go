package store

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"time"

	"tidings"
)

// Secret gives the secret of that name, made by create and stored where there
// is none. When two make it at once, both get the one that was stored first.
func (s *Store) Secret(ctx context.Context, name string, create func() ([]byte, error)) ([]byte, error) {
	const find = "SELECT value FROM secret WHERE name = $1"
	var value []byte
	err := s.queryRow(ctx, find, []any{name}, &value)
	if !errors.Is(err, sql.ErrNoRows) {
		return value, err
	}
	fresh, err := create()
	if err != nil {
		return nil, err
	}
	err = s.w.submit(ctx, classTransition, 0, 1, func(t *tx) error {
		_, err := t.exec("INSERT INTO secret (name, value, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING", name, fresh, t.now)
		if err != nil {
			return err
		}
		return t.queryRow(find, []any{name}, &value)
	})
	return value, err
}

// maxLiveSecrets is how many secrets of an endpoint sign at the same time.
const maxLiveSecrets = 3

const liveSecrets = "SELECT secret, expires_at FROM signing_secret WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC"

func readSecrets(query querier, endpoint, now int64) (out []tidings.SigningSecret, err error) {
	err = query(liveSecrets, []any{endpoint, now}, func(r scanner) error {
		var secret tidings.SigningSecret
		var expires nullable
		err := r.Scan(&secret.Secret, &expires)
		secret.ExpiresAt = expires.pointer()
		out = append(out, secret)
		return err
	})
	return out, err
}

// EndpointSecrets gives the secrets that sign an endpoint's webhooks, newest
// first, and notes in the audit log who asked.
func (s *Store) EndpointSecrets(ctx context.Context, org int64, id string, o tidings.Origin) (out []tidings.SigningSecret, err error) {
	err = s.w.submit(ctx, classTransition, org, 1, func(t *tx) error {
		var key int64
		err := t.queryRow("SELECT id FROM endpoint p WHERE "+liveEndpoint, []any{org, id}, &key)
		if err != nil {
			return notFound(err, "endpoint", id)
		}
		if out, err = readSecrets(t.query, key, t.now); err != nil {
			return err
		}
		return t.audit(org, o.By, "secret.read", id, "")
	})
	return out, err
}

// RotateSecret gives an endpoint a new secret. The ones before sign along for
// the grace period at most, three of them live at the same time.
func (s *Store) RotateSecret(ctx context.Context, org int64, id string, grace time.Duration, o tidings.Origin) (out []tidings.SigningSecret, err error) {
	fresh := newSigningSecret()
	err = s.w.submit(ctx, classTransition, org, 4, func(t *tx) error {
		var key int64
		err := t.queryRow("SELECT id FROM endpoint p WHERE "+liveEndpoint, []any{org, id}, &key)
		if err != nil {
			return notFound(err, "endpoint", id)
		}
		made, again, err := t.idempotentAll(org, o.Idempotency, func() ([]int64, error) { return []int64{key}, s.rotate(t, org, id, key, fresh, grace, o.By) })
		switch {
		case err != nil:
			return err
		case made[0] != key:
			return tidings.Conflict("This idempotency key was used before, for an endpoint of this id that was deleted since.")
		case again:
			if err := t.audit(org, o.By, "secret.read", id, ""); err != nil {
				return err
			}
		}
		out, err = readSecrets(t.query, key, t.now)
		return err
	})
	return out, err
}

func (s *Store) rotate(t *tx, org int64, id string, key int64, fresh string, grace time.Duration, by string) error {
	end := t.now + grace.Milliseconds()
	_, err := t.exec("UPDATE signing_secret SET expires_at = $1 WHERE endpoint_id = $2 AND (expires_at IS NULL OR expires_at > $1)", end, key)
	if err != nil {
		return err
	}
	if _, err := t.exec("INSERT INTO signing_secret (endpoint_id, id, secret) VALUES ($1, $2, $3)", key, t.key(), fresh); err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM signing_secret WHERE endpoint_id = $1 AND (expires_at <= $2 OR id NOT IN
		(SELECT id FROM signing_secret WHERE endpoint_id = $1 ORDER BY id DESC LIMIT $3))`, key, t.now, maxLiveSecrets)
	if err != nil {
		return err
	}
	t.wake(tidings.Wake{EndpointKey: key, Due: fromMillis(t.now), Changed: true})
	return t.audit(org, by, "secret.rotated", id, "")
}

// WebhookKey gives the public Ed25519 key of the endpoint with that id that asks
// for v1a signatures, whosever it is: everybody may know it.
func (s *Store) WebhookKey(ctx context.Context, id string) (ed25519.PublicKey, error) {
	var seed []byte
	err := s.queryRow(ctx, "SELECT signing_key FROM endpoint WHERE public_id = $1 AND deleted_at IS NULL AND signatures = 'v1 v1a'", []any{id}, &seed)
	if err != nil {
		return nil, notFound(err, "endpoint with v1a signatures", id)
	}
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey), nil
}

// audit writes a line of the audit log.
func (t *tx) audit(org int64, by, action, object, detail string) error {
	_, err := t.exec("INSERT INTO audit (id, organisation_id, changed_by, action, object, detail, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		t.key(), org, by, action, object, detail, t.now)
	return err
}

// Audit lists what was changed in an organisation, newest first.
func (s *Store) Audit(ctx context.Context, org int64, p tidings.Page) (tidings.List[tidings.AuditEntry], error) {
	q := listQuery{table: "audit a", columns: "a.id, a.changed_by, a.action, a.object, a.detail, a.created_at", order: "a.id", newest: true}
	q.add("a.organisation_id = $", org)
	return list(ctx, s, q, p, s.byKey("audit entry"), func(r scanner) (e tidings.AuditEntry, err error) {
		var key, at int64
		err = r.Scan(&key, &e.By, &e.Action, &e.Object, &e.Detail, &at)
		e.ID, e.At = s.ids.public(key), fromMillis(at)
		return e, err
	})
}
