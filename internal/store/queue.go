package store

import (
	"context"
	"database/sql"
	"errors"

	"tidings"
)

// BusyLanes gives the lanes that have pending deliveries: what a start begins
// with. It does not look at the deliveries, so its cost is that of the lanes.
func (s *Store) BusyLanes(ctx context.Context) ([]int64, error) {
	return s.keysOf(ctx, "SELECT endpoint_id FROM lane WHERE backlog > 0")
}

// Lane reads what is needed to send to an endpoint. A deleted or unknown one
// gives a lane that is not enabled.
func (s *Store) Lane(ctx context.Context, endpoint int64) (tidings.Lane, error) {
	lane := tidings.Lane{EndpointKey: endpoint}
	var status string
	var text settingsText
	var first, last, spaced, paused, deleted nullable
	err := s.queryRow(ctx, `SELECT p.organisation_id, p.url, p.filter_types, p.headers, p.rate_limit, p.max_in_flight, p.retry_schedule,
		p.signatures, p.signing_key, p.status, p.deleted_at,
		l.failures, l.first_failure_at, l.last_failure_at, l.spaced_failures, l.spaced_at, l.paused_until,
		EXISTS (SELECT 1 FROM in_flight f WHERE f.endpoint_id = p.id)
		FROM endpoint p JOIN lane l ON l.endpoint_id = p.id WHERE p.id = $1`, []any{endpoint},
		&lane.OrganisationID, &lane.URL, &text.filter, &text.headers, &lane.RateLimit, &lane.MaxInFlight, &text.schedule,
		&text.signatures, &lane.SigningKey, &status, &deleted,
		&lane.Health.Failures, &first, &last, &lane.Health.SpacedFailures, &spaced, &paused, &lane.Finishing)
	if errors.Is(err, sql.ErrNoRows) {
		return lane, nil
	}
	if err != nil {
		return lane, err
	}
	if err := text.into(&lane.Settings); err != nil {
		return lane, err
	}
	lane.Enabled = status == string(tidings.EndpointEnabled) && !deleted.Valid
	h := &lane.Health
	h.FirstFailureAt, h.LastFailureAt, h.SpacedAt, h.PausedUntil = first.time(), last.time(), spaced.time(), paused.time()
	lane.Secrets, err = readSecrets(s.reader(ctx), endpoint, s.now().UnixMilli())
	return lane, err
}

const (
	pendingTable   = "queue q CROSS JOIN event e ON e.id = q.event_id"
	pendingOf      = "SELECT " + pendingColumns + " FROM " + pendingTable + " WHERE q.endpoint_id = $1 AND (q.due, q.id) > ($2, $3) ORDER BY q.due, q.id LIMIT $4"
	oldestOf       = "SELECT " + pendingColumns + " FROM " + pendingTable + " WHERE q.endpoint_id = $1 ORDER BY q.id LIMIT 1"
	pendingColumns = `q.id, q.endpoint_id, q.event_id, q.issuance_key, e.organisation_id, e.type, e.body, q.attempt_count, q.due, q.created_at, q.retry_of, e.test`
)

func (s *Store) scanPending(r scanner) (d tidings.PendingDelivery, err error) {
	var due, created int64
	err = r.Scan(&d.Key, &d.EndpointKey, &d.EventKey, &d.IssuanceKey, &d.OrganisationKey, &d.EventType, &d.Body, &d.AttemptCount, &due, &created, &d.RetryOf, &d.Test)
	d.EventID, d.Due, d.CreatedAt = s.ids.public(d.EventKey), fromMillis(due), fromMillis(created)
	return d, err
}

// Pending reads the next deliveries of a lane behind a position, in order of
// due time.
func (s *Store) Pending(ctx context.Context, endpoint int64, after tidings.QueuePosition, limit int) (out []tidings.PendingDelivery, err error) {
	err = s.query(ctx, pendingOf, []any{endpoint, after.Due.UnixMilli(), after.Key, limit}, func(r scanner) error {
		d, err := s.scanPending(r)
		out = append(out, d)
		return err
	})
	if err == nil {
		err = s.addTraces(ctx, out)
	}
	return out, err
}

// OldestPending reads the delivery that has waited longest in a lane.
func (s *Store) OldestPending(ctx context.Context, endpoint int64) (tidings.PendingDelivery, error) {
	d, err := s.scanPending(s.reads.row(ctx, oldestOf, endpoint))
	if err != nil {
		return d, notFound(err, "pending delivery", "")
	}
	one := []tidings.PendingDelivery{d}
	err = s.addTraces(ctx, one)
	return one[0], err
}

// Record makes the results of attempts durable. Each is an item of its own, so
// that one that fails harms no other; the errors stand in the order of the
// results. A delivery that is no longer pending is left as it is. Of an attempt
// whose lane another node took over nothing is recorded ([tidings.ErrLaneTaken]).
func (s *Store) Record(results []tidings.AttemptResult) []error {
	writes := make([]func(*tx) error, len(results))
	for i := range results {
		writes[i] = func(t *tx) error { return s.record(t, &results[i]) }
	}
	return s.w.submitAll(classResult, 3, writes)
}

func (s *Store) record(t *tx, r *tidings.AttemptResult) error {
	d := &r.Delivery
	if ok, err := t.owns(d.EndpointKey, r.Epoch); err != nil {
		return err
	} else if !ok {
		return tidings.ErrLaneTaken
	}
	if endedWell(r) && !t.direct {
		return t.collect(r)
	}
	if err := t.oneByOne(); err != nil {
		return err
	}
	var organisation, due int64
	err := t.queryRow("SELECT l.organisation_id, q.due FROM queue q CROSS JOIN lane l ON l.endpoint_id = q.endpoint_id WHERE q.endpoint_id = $1 AND q.id = $2 AND q.attempt_count < $3",
		[]any{d.EndpointKey, d.Key, r.Attempt.Number}, &organisation, &due)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // canceled meanwhile, with its endpoint; or recorded by a commit whose answer was lost
	}
	if err != nil {
		return err
	}
	if r.Status == tidings.DeliveryPending {
		err = t.reschedule(r, due)
	} else {
		err = s.end(t, r, organisation, due)
	}
	if err != nil {
		return err
	}
	if err := t.attempt(r); err != nil {
		return err
	}
	t.tally(organisation, r)
	return s.health(t, r)
}

const endQueued = "DELETE FROM queue WHERE endpoint_id = $1 AND due = $2 AND id = $3"

// end moves a delivery from the queue to the history.
func (s *Store) end(t *tx, r *tidings.AttemptResult, organisation, due int64) error {
	d := &r.Delivery
	if _, err := t.exec(endQueued, d.EndpointKey, due, d.Key); err != nil {
		return err
	}
	t.count(d.EndpointKey, -1)
	return t.history(r, organisation)
}

// collect is end, with its attempt, of a delivery that ended well: it takes for
// certain that the row is where it was read, which is found out when what is
// collected is written.
func (t *tx) collect(r *tidings.AttemptResult) error {
	d := &r.Delivery
	t.w.bulk.ended.add(d.EndpointKey, d.Due.UnixMilli(), d.Key)
	t.rows++
	t.count(d.EndpointKey, -1)
	t.tally(d.OrganisationKey, r)
	return errors.Join(t.history(r, d.OrganisationKey), t.attempt(r))
}

// history writes what stays of a delivery.
func (t *tx) history(r *tidings.AttemptResult, organisation int64) error {
	d := &r.Delivery
	t.ended = append(t.ended, Ended{r.Status, r.Reason})
	return t.put(insertDeliveries, &t.w.bulk.deliveries, d.Key, organisation, d.EndpointKey, d.EventKey, string(r.Status), string(r.Reason),
		r.Attempt.Number, d.RetryOf, d.CreatedAt.UnixMilli(), t.now, kind(r.Status, d.EventType), number(t.late(d.Key)))
}

// moveAlong makes the later events of an issuance due later. The pluses keep the
// database from walking the whole lane.
const moveAlong = "UPDATE queue SET due = $1 WHERE issuance_key = $2 AND +endpoint_id = $3 AND +id > $4 AND +due < $1"

// reschedule makes a delivery due later, and with it the later events of its
// issuance where they wait for it.
func (t *tx) reschedule(r *tidings.AttemptResult, due int64) error {
	d, next := &r.Delivery, r.Due.UnixMilli()
	_, err := t.exec("UPDATE queue SET due = $1, attempt_count = $2 WHERE endpoint_id = $3 AND due = $4 AND id = $5",
		next, r.Attempt.Number, d.EndpointKey, due, d.Key)
	if err != nil {
		return err
	}
	if r.Hold && !d.Test {
		_, err = t.exec(moveAlong, next, d.IssuanceKey, d.EndpointKey, d.Key)
	}
	t.wake(tidings.Wake{EndpointKey: d.EndpointKey, Due: r.Due})
	return err
}

func (t *tx) attempt(r *tidings.AttemptResult) error {
	a := &r.Attempt
	return t.put(insertAttempts, &t.w.bulk.attempts, r.Delivery.Key, a.Number, a.StartedAt.UnixMilli(), a.Duration.Microseconds(),
		a.Timing.DNS.Microseconds(), a.Timing.Connect.Microseconds(), a.Timing.TLS.Microseconds(), a.Timing.Wait.Microseconds(),
		a.StatusCode, a.ErrorCode, a.Error, a.ResponseExcerpt)
}

// health writes the endpoint's failure clock where it changed, tells where the
// endpoint began to fail, and disables it where that is what the clock came to.
func (s *Store) health(t *tx, r *tidings.AttemptResult) error {
	endpoint := r.Delivery.EndpointKey
	if r.Health != nil {
		h, err := t.sinceEnabled(endpoint, *r.Health)
		if err != nil {
			return err
		}
		if err := t.writeHealth(endpoint, h); err != nil {
			return err
		}
	}
	if !r.Failing && r.Disable == "" {
		return nil
	}
	e, err := s.readEndpoint(t.query, "p.id = $1", endpoint)
	if err != nil || e.DeletedAt != nil || e.Status != tidings.EndpointEnabled {
		return err
	}
	if r.Failing {
		if err := s.tellOfEndpoint(t, e, tidings.EndpointFailing, ""); err != nil {
			return err
		}
	}
	if r.Disable == "" {
		return nil
	}
	t.wake(tidings.Wake{EndpointKey: endpoint, Due: fromMillis(t.now), Changed: true})
	return s.switchEndpoint(t, e, tidings.EndpointDisabled, r.Disable)
}

// sinceEnabled gives the clock of an endpoint whose clock was begun anew while
// the attempt was on its way: that attempt is then the first that failed.
func (t *tx) sinceEnabled(endpoint int64, h tidings.Health) (tidings.Health, error) {
	if h.Failures < 2 {
		return h, nil
	}
	var failures int
	if err := t.queryRow("SELECT failures FROM lane WHERE endpoint_id = $1", []any{endpoint}, &failures); err != nil || failures > 0 {
		return h, err
	}
	return tidings.Health{Failures: 1, FirstFailureAt: h.LastFailureAt, LastFailureAt: h.LastFailureAt, SpacedFailures: 1, SpacedAt: h.LastFailureAt,
		PausedUntil: h.PausedUntil}, nil
}

func (t *tx) writeHealth(endpoint int64, h tidings.Health) error {
	_, err := t.exec(`UPDATE lane SET failures = $1, first_failure_at = $2, last_failure_at = $3, spaced_failures = $4, spaced_at = $5, paused_until = $6
		WHERE endpoint_id = $7`,
		h.Failures, null(h.FirstFailureAt), null(h.LastFailureAt), h.SpacedFailures, null(h.SpacedAt), null(h.PausedUntil), endpoint)
	return err
}

// Prune deletes up to limit rows each of what has run out and nobody will ask
// for: spent nonces and idempotency keys. It tells how many went.
func (s *Store) Prune(ctx context.Context, limit int) (pruned int, err error) {
	now := s.now().UnixMilli()
	var due bool
	err = s.queryRow(ctx, "SELECT EXISTS (SELECT 1 FROM nonce WHERE expires_at <= $1) OR EXISTS (SELECT 1 FROM idempotency WHERE expires_at <= $1)", []any{now}, &due)
	if err != nil || !due {
		return 0, err
	}
	err = s.w.submit(ctx, classHouse, 0, limit, func(t *tx) error {
		n, err := t.exec("DELETE FROM nonce WHERE expires_at <= $1 AND hash IN (SELECT hash FROM nonce WHERE expires_at <= $1 LIMIT $2)", t.now, limit)
		if err != nil {
			return err
		}
		m, err := t.exec(`DELETE FROM idempotency WHERE expires_at <= $1 AND (organisation_id, route, key) IN
			(SELECT organisation_id, route, key FROM idempotency WHERE expires_at <= $1 LIMIT $2)`, t.now, limit)
		pruned = int(n + m)
		return err
	})
	return pruned, err
}
