package store

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// CreateEndpoint registers an endpoint with a signing secret of its own.
func (s *Store) CreateEndpoint(ctx context.Context, org int64, n tidings.NewEndpoint) (e tidings.Endpoint, err error) {
	id, secret, signingKey := cmp.Or(n.ID, tidings.NewEndpointID()), newSigningSecret(), randomBytes(ed25519.SeedSize)
	err = s.w.submit(ctx, classTransition, org, 5, func(t *tx) error {
		before, err := t.idempotent(org, n.Idempotency, func() (int64, error) {
			key, err := s.insertEndpoint(t, org, id, n, secret, signingKey)
			if err != nil {
				return 0, err
			}
			return key, t.audit(org, n.By, "endpoint.created", id, "")
		})
		if err != nil {
			return err
		}
		e, err = s.readEndpoint(t.query, "p.id = $1", before)
		return notFound(err, "endpoint", id)
	})
	return e, err
}

func (s *Store) insertEndpoint(t *tx, org int64, id string, n tidings.NewEndpoint, secret string, signingKey []byte) (int64, error) {
	var count int
	if err := t.queryRow("SELECT count(*) FROM endpoint WHERE organisation_id = $1 AND deleted_at IS NULL", []any{org}, &count); err != nil {
		return 0, err
	}
	if count >= s.maxEndpoints {
		return 0, &tidings.Error{Kind: tidings.KindLimited, Retry: time.Hour,
			Message: fmt.Sprintf("The organisation has %d endpoints, as many as it may have.", count)}
	}
	key := t.key()
	if err := t.uniqueForV1a(id, key, n.Signatures); err != nil {
		return 0, err
	}
	added, err := t.exec(`INSERT INTO endpoint (id, organisation_id, public_id, url, filter_types, description, headers, rate_limit,
			max_in_flight, retry_schedule, signatures, signing_key, status, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
		ON CONFLICT (organisation_id, public_id) WHERE deleted_at IS NULL DO NOTHING`,
		key, org, id, n.URL, joinTypes(n.FilterTypes), n.Description, joinHeaders(n.Headers), n.RateLimit,
		cmp.Or(n.MaxInFlight, tidings.DefaultMaxInFlight), joinDelays(n.RetrySchedule), signatures(n.Signatures), signingKey,
		string(tidings.EndpointEnabled), t.now)
	if err != nil {
		return 0, err
	}
	if added == 0 {
		return 0, &tidings.Error{Kind: tidings.KindConflict, Pointer: "/id", Message: "There is an endpoint \"" + id + "\" already."}
	}
	if _, err := t.exec("INSERT INTO signing_secret (endpoint_id, id, secret) VALUES ($1, $2, $3)", key, t.key(), secret); err != nil {
		return 0, err
	}
	if _, err := t.exec("INSERT INTO lane (endpoint_id, organisation_id) VALUES ($1, $2)", key, org); err != nil {
		return 0, err
	}
	delete(t.endpoints, org)
	return key, nil
}

// uniqueForV1a refuses v1a signatures to an endpoint whose id another
// organisation's endpoint has that uses them: the public keys are found by the
// endpoint's id alone, and nobody's receiver may find another's key there.
func (t *tx) uniqueForV1a(id string, key int64, schemes []string) error {
	if !slices.Contains(schemes, tidings.SignatureV1a) {
		return nil
	}
	var one int
	err := t.queryRow("SELECT 1 FROM endpoint WHERE public_id = $1 AND id <> $2 AND deleted_at IS NULL AND signatures = 'v1 v1a'", []any{id, key}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return &tidings.Error{Kind: tidings.KindConflict, Pointer: "/signatures",
		Message: "The id of this endpoint is in use elsewhere with v1a signatures, whose keys are found by that id: register it under another id."}
}

// newSigningSecret gives a Standard Webhooks secret of 32 random bytes.
func newSigningSecret() string {
	return "whsec_" + base64.StdEncoding.EncodeToString(randomBytes(32))
}

const (
	endpointTable   = "endpoint p JOIN lane l ON l.endpoint_id = p.id"
	endpointColumns = `p.id, p.public_id, p.organisation_id, p.url, p.filter_types, p.description, p.headers, p.rate_limit, p.max_in_flight,
		p.retry_schedule, p.signatures, p.status, p.disabled_reason, p.disabled_at, p.created_at, p.updated_at, p.deleted_at,
		l.backlog, l.first_failure_at, (SELECT q.created_at FROM queue q WHERE q.endpoint_id = p.id AND l.backlog > 0 ORDER BY q.id LIMIT 1)`
)

func scanEndpoint(r scanner) (e tidings.Endpoint, err error) {
	var created, updated int64
	var disabled, deleted, failing, oldest nullable
	var text settingsText
	err = r.Scan(&e.Key, &e.ID, &e.OrganisationID, &e.URL, &text.filter, &e.Description, &text.headers, &e.RateLimit, &e.MaxInFlight,
		&text.schedule, &text.signatures, &e.Status, &e.DisabledReason, &disabled, &created, &updated, &deleted,
		&e.Backlog.Count, &failing, &oldest)
	if err != nil {
		return e, err
	}
	e.DisabledAt, e.DeletedAt, e.FirstFailureAt, e.Backlog.OldestAt = disabled.pointer(), deleted.pointer(), failing.pointer(), oldest.pointer()
	e.CreatedAt, e.UpdatedAt = fromMillis(created), fromMillis(updated)
	return e, text.into(&e.Settings)
}

// settingsText is what of an endpoint's settings is kept as text.
type settingsText struct{ filter, headers, schedule, signatures string }

func (text settingsText) into(s *tidings.Settings) (err error) {
	s.FilterTypes, s.Signatures = splitTypes(text.filter), strings.Fields(text.signatures)
	if s.RetrySchedule, err = splitDelays(text.schedule); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text.headers), &s.Headers)
}

// readEndpoint reads one endpoint.
func (s *Store) readEndpoint(query querier, where string, args ...any) (e tidings.Endpoint, err error) {
	found := false
	err = query("SELECT "+endpointColumns+" FROM "+endpointTable+" WHERE "+where, args, func(r scanner) (err error) {
		found = true
		e, err = scanEndpoint(r)
		return err
	})
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return e, err
}

const liveEndpoint = "p.organisation_id = $1 AND p.public_id = $2 AND p.deleted_at IS NULL"

// Endpoint finds an endpoint of the organisation.
func (s *Store) Endpoint(ctx context.Context, org int64, id string) (tidings.Endpoint, error) {
	e, err := s.readEndpoint(s.reader(ctx), liveEndpoint, org, id)
	return e, notFound(err, "endpoint", id)
}

// Endpoints lists the organisation's endpoints, oldest first.
func (s *Store) Endpoints(ctx context.Context, org int64, p tidings.Page) (tidings.List[tidings.Endpoint], error) {
	q := listQuery{table: endpointTable, columns: endpointColumns, order: "p.id"}
	q.add("p.organisation_id = $", org)
	q.where = append(q.where, "p.deleted_at IS NULL")
	return list(ctx, s, q, p, func(id string) (key int64, err error) {
		// Also one that was deleted since: the list goes on behind it.
		err = s.queryRow(ctx, "SELECT id FROM endpoint WHERE organisation_id = $1 AND public_id = $2 ORDER BY deleted_at IS NOT NULL, id DESC LIMIT 1", []any{org, id}, &key)
		return key, notFound(err, "endpoint", id)
	}, scanEndpoint)
}

// UpdateEndpoint changes an endpoint. The URL of the patch must have been judged
// before.
func (s *Store) UpdateEndpoint(ctx context.Context, org int64, id string, p tidings.EndpointPatch) (e tidings.Endpoint, err error) {
	err = s.w.submit(ctx, classTransition, org, 6, func(t *tx) error {
		before, err := s.readEndpoint(t.query, liveEndpoint, org, id)
		if err != nil {
			return notFound(err, "endpoint", id)
		}
		if err := p.Check(before.Settings); err != nil {
			return err
		}
		if changed(p) == "" {
			e = before
			return nil
		}
		if err := s.applyPatch(t, before, p); err != nil {
			return err
		}
		if p.RecoverSince != nil {
			if _, err := s.startRecovery(t, before, *p.RecoverSince, fromMillis(t.now), "/recoverSince"); err != nil {
				return err
			}
		}
		e, err = s.readEndpoint(t.query, "p.id = $1", before.Key)
		return err
	})
	return e, err
}

func (s *Store) applyPatch(t *tx, before tidings.Endpoint, p tidings.EndpointPatch) error {
	after := p.Apply(before.Settings)
	if err := t.uniqueForV1a(before.ID, before.Key, after.Signatures); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE endpoint SET url = $1, filter_types = $2, description = $3, headers = $4, rate_limit = $5, max_in_flight = $6,
		retry_schedule = $7, signatures = $8, updated_at = $9 WHERE id = $10`,
		after.URL, joinTypes(after.FilterTypes), after.Description, joinHeaders(after.Headers), after.RateLimit, after.MaxInFlight,
		joinDelays(after.RetrySchedule), signatures(after.Signatures), t.now, before.Key)
	if err != nil {
		return err
	}
	delete(t.endpoints, before.OrganisationID)
	if p.Status != nil && *p.Status != before.Status {
		if err := s.switchEndpoint(t, before, *p.Status, tidings.DisabledManual); err != nil {
			return err
		}
	}
	t.wake(tidings.Wake{EndpointKey: before.Key, Due: fromMillis(t.now), Changed: true})
	return t.audit(before.OrganisationID, p.By, "endpoint.updated", before.ID, changed(p))
}

// changed names the members of a patch that are set.
func changed(p tidings.EndpointPatch) string {
	var names []string
	for name, set := range map[string]bool{
		"url": p.URL != nil, "description": p.Description != nil, "filterTypes": p.FilterTypes != nil, "headers": p.Headers != nil,
		"rateLimit": p.RateLimit != nil, "maxInFlight": p.MaxInFlight != nil, "retrySchedule": p.RetrySchedule != nil,
		"signatures": p.Signatures != nil, "recoverSince": p.RecoverSince != nil,
	} {
		if set {
			names = append(names, name)
		}
	}
	if p.Status != nil {
		names = append(names, "status="+string(*p.Status))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// switchEndpoint enables or disables an endpoint, and tells the organisation's
// other endpoints. Enabling starts its failure clock anew.
func (s *Store) switchEndpoint(t *tx, e tidings.Endpoint, status tidings.EndpointStatus, reason tidings.DisabledReason) error {
	if status == tidings.EndpointEnabled {
		if _, err := t.exec("UPDATE endpoint SET status = $1, disabled_reason = '', disabled_at = NULL, updated_at = $2 WHERE id = $3", string(status), t.now, e.Key); err != nil {
			return err
		}
		if err := t.writeHealth(e.Key, tidings.Health{}); err != nil {
			return err
		}
		return s.tellOfEndpoint(t, e, tidings.EndpointWasEnabled, "")
	}
	_, err := t.exec("UPDATE endpoint SET status = $1, disabled_reason = $2, disabled_at = $3, updated_at = $3 WHERE id = $4",
		string(status), string(reason), t.now, e.Key)
	if err != nil {
		return err
	}
	return s.tellOfEndpoint(t, e, tidings.EndpointWasDisabled, reason)
}

// tellOfEndpoint writes an operational event, for the endpoints that named it.
func (s *Store) tellOfEndpoint(t *tx, e tidings.Endpoint, typ tidings.EventType, reason tidings.DisabledReason) error {
	_, err := s.accept(t, e.OrganisationID, typ, tidings.EventPayload{EndpointID: e.ID, Reason: reason}, e.Key)
	return err
}

// DeleteEndpoint deletes an endpoint: nothing is sent to it from now on.
// [Store.CancelDeleted] ends its pending deliveries.
func (s *Store) DeleteEndpoint(ctx context.Context, org int64, id string, o tidings.Origin) error {
	return s.w.submit(ctx, classTransition, org, 3, func(t *tx) error {
		var key int64
		err := t.queryRow("SELECT id FROM endpoint p WHERE "+liveEndpoint, []any{org, id}, &key)
		if err != nil {
			return notFound(err, "endpoint", id)
		}
		if _, err := t.exec("UPDATE endpoint SET deleted_at = $1, updated_at = $1, headers = '{}', signing_key = NULL WHERE id = $2", t.now, key); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM signing_secret WHERE endpoint_id = $1", key); err != nil {
			return err
		}
		delete(t.endpoints, org)
		t.wake(tidings.Wake{EndpointKey: key, Due: fromMillis(t.now), Changed: true})
		return t.audit(org, o.By, "endpoint.deleted", id, "")
	})
}

func joinHeaders(headers map[string]string) string {
	text, err := json.Marshal(headers)
	if err != nil || headers == nil { // a map of strings cannot fail
		return "{}"
	}
	return string(text)
}

func joinDelays(delays []time.Duration) string {
	parts := make([]string, len(delays))
	for i, d := range delays {
		parts[i] = strconv.FormatInt(d.Milliseconds(), 10)
	}
	return strings.Join(parts, " ")
}

func splitDelays(text string) (out []time.Duration, err error) {
	for part := range strings.FieldsSeq(text) {
		ms, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, time.Duration(ms)*time.Millisecond)
	}
	return out, nil
}

func signatures(schemes []string) string {
	return cmp.Or(strings.Join(schemes, " "), tidings.SignatureV1)
}
