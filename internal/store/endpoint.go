package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"

	"tidings"
)

// CreateEndpoint registers an endpoint with a signing secret of its own.
func (s *Store) CreateEndpoint(ctx context.Context, org int64, n tidings.NewEndpoint) (e tidings.Endpoint, err error) {
	id, secret := n.ID, newSigningSecret()
	if id == "" {
		id = tidings.NewEndpointID()
	}
	err = s.w.submit(ctx, classTransition, org, 3, func(t *tx) error {
		var count int
		if err := t.queryRow("SELECT count(*) FROM endpoint WHERE organisation_id = $1 AND deleted_at IS NULL", []any{org}, &count); err != nil {
			return err
		}
		if count >= s.maxEndpoints {
			return &tidings.Error{Kind: tidings.KindConflict, Message: "The organisation has as many endpoints as it may have."}
		}
		key := t.key()
		added, err := t.exec(`INSERT INTO endpoint (id, organisation_id, public_id, url, filter_types, status, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (organisation_id, public_id) WHERE deleted_at IS NULL DO NOTHING`,
			key, org, id, n.URL, joinTypes(n.FilterTypes), string(tidings.EndpointEnabled), t.now)
		if err != nil {
			return err
		}
		if added == 0 {
			return &tidings.Error{Kind: tidings.KindConflict, Pointer: "/id", Message: "There is an endpoint \"" + id + "\" already."}
		}
		if _, err := t.exec("INSERT INTO signing_secret (endpoint_id, id, secret) VALUES ($1, $2, $3)", key, t.key(), secret); err != nil {
			return err
		}
		if _, err := t.exec("INSERT INTO lane (endpoint_id, organisation_id) VALUES ($1, $2)", key, org); err != nil {
			return err
		}
		delete(t.endpoints, org)
		e = tidings.Endpoint{Key: key, ID: id, OrganisationID: org, URL: n.URL, FilterTypes: n.FilterTypes,
			Status: tidings.EndpointEnabled, CreatedAt: fromMillis(t.now), UpdatedAt: fromMillis(t.now)}
		return nil
	})
	return e, err
}

// newSigningSecret gives a Standard Webhooks secret of 32 random bytes.
func newSigningSecret() string {
	return "whsec_" + base64.StdEncoding.EncodeToString(randomBytes(32))
}

const (
	endpointTable   = "endpoint p JOIN lane l ON l.endpoint_id = p.id"
	endpointColumns = `p.id, p.public_id, p.organisation_id, p.url, p.filter_types, p.status, p.disabled_reason, p.disabled_at,
		p.created_at, p.updated_at, l.backlog, l.first_failure_at`
)

func scanEndpoint(r scanner) (e tidings.Endpoint, err error) {
	var filter string
	var created, updated int64
	var disabled, failing nullable
	err = r.Scan(&e.Key, &e.ID, &e.OrganisationID, &e.URL, &filter, &e.Status, &e.DisabledReason, &disabled, &created, &updated, &e.Backlog, &failing)
	e.FilterTypes, e.DisabledAt, e.FirstFailureAt = splitTypes(filter), disabled.pointer(), failing.pointer()
	e.CreatedAt, e.UpdatedAt = fromMillis(created), fromMillis(updated)
	return e, err
}

// Endpoint finds an endpoint of the organisation.
func (s *Store) Endpoint(ctx context.Context, org int64, id string) (tidings.Endpoint, error) {
	e, err := scanEndpoint(s.reads.QueryRowContext(ctx, bind("SELECT "+endpointColumns+" FROM "+endpointTable+
		" WHERE p.organisation_id = $1 AND p.public_id = $2 AND p.deleted_at IS NULL"), org, id))
	return e, notFound(err, "endpoint", id)
}

// Endpoints lists the organisation's endpoints, oldest first.
func (s *Store) Endpoints(ctx context.Context, org int64, p tidings.Page) (tidings.List[tidings.Endpoint], error) {
	q := listQuery{table: endpointTable, columns: endpointColumns, order: "p.id"}
	q.add("p.organisation_id = $", org)
	q.where = append(q.where, "p.deleted_at IS NULL")
	return list(ctx, s, q, p, func(id string) (int64, error) {
		e, err := s.Endpoint(ctx, org, id)
		return e.Key, err
	}, scanEndpoint)
}

// EndpointSecrets gives the secrets that sign an endpoint's webhooks, newest
// first.
func (s *Store) EndpointSecrets(ctx context.Context, org int64, id string) ([]tidings.SigningSecret, error) {
	e, err := s.Endpoint(ctx, org, id)
	if err != nil {
		return nil, err
	}
	return s.signingSecrets(ctx, e.Key)
}

func (s *Store) signingSecrets(ctx context.Context, endpoint int64) (out []tidings.SigningSecret, err error) {
	err = s.query(ctx, "SELECT secret, expires_at FROM signing_secret WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC",
		[]any{endpoint, s.now().UnixMilli()}, func(r scanner) error {
			var secret tidings.SigningSecret
			var expires nullable
			err := r.Scan(&secret.Secret, &expires)
			secret.ExpiresAt = expires.pointer()
			out = append(out, secret)
			return err
		})
	return out, err
}

// DeleteEndpoint deletes an endpoint: nothing is sent to it from now on.
// [Store.CancelDeleted] ends its pending deliveries.
func (s *Store) DeleteEndpoint(ctx context.Context, org int64, id string) error {
	return s.w.submit(ctx, classTransition, org, 1, func(t *tx) error {
		var key int64
		err := t.queryRow("SELECT id FROM endpoint WHERE organisation_id = $1 AND public_id = $2 AND deleted_at IS NULL", []any{org, id}, &key)
		if err != nil {
			return notFound(err, "endpoint", id)
		}
		if _, err := t.exec("UPDATE endpoint SET deleted_at = $1, updated_at = $1 WHERE id = $2", t.now, key); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM signing_secret WHERE endpoint_id = $1", key); err != nil {
			return err
		}
		delete(t.endpoints, org)
		t.wake(tidings.Wake{EndpointKey: key, Due: fromMillis(t.now), Changed: true})
		return nil
	})
}

// CancelDeleted ends up to limit pending deliveries of deleted endpoints and
// tells how many. Called until it gives 0, it finishes what a crash left.
func (s *Store) CancelDeleted(ctx context.Context, limit int) (canceled int, err error) {
	const find = `SELECT p.id FROM endpoint p JOIN lane l ON l.endpoint_id = p.id
		WHERE p.deleted_at IS NOT NULL AND l.backlog > 0 LIMIT 1`
	var endpoint int64
	if err := s.queryRow(ctx, find, nil, &endpoint); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		return 0, err
	}
	err = s.w.submit(ctx, classTransition, 0, limit, func(t *tx) (err error) {
		canceled, err = t.endPending(endpoint, limit, tidings.DeliveryCanceled, tidings.ReasonEndpointDeleted)
		return err
	})
	return canceled, err
}

// endPending ends the oldest pending deliveries of a lane without an attempt.
func (t *tx) endPending(endpoint int64, limit int, status tidings.DeliveryStatus, reason tidings.DeliveryReason) (int, error) {
	var keys []int64
	err := t.query("SELECT id FROM queue WHERE endpoint_id = $1 ORDER BY id LIMIT $2", []any{endpoint, limit}, func(r scanner) error {
		var key int64
		err := r.Scan(&key)
		keys = append(keys, key)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		_, err := t.exec(`INSERT INTO delivery (id, organisation_id, endpoint_id, event_id, status, reason, attempt_count, retry_of, created_at, ended_at)
			SELECT q.id, l.organisation_id, q.endpoint_id, q.event_id, $3, $4, q.attempt_count, q.retry_of, q.created_at, $5
			FROM queue q JOIN lane l ON l.endpoint_id = q.endpoint_id WHERE q.endpoint_id = $1 AND q.id = $2`,
			endpoint, key, string(status), string(reason), t.now)
		if err != nil {
			return 0, err
		}
		if _, err := t.exec("DELETE FROM queue WHERE endpoint_id = $1 AND id = $2", endpoint, key); err != nil {
			return 0, err
		}
		t.count(endpoint, -1)
	}
	return len(keys), nil
}
