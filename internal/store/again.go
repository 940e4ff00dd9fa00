package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"tidings"
)

// This file sends again: one delivery, a sample, or all that an endpoint did not
// get in a period.

// TestEndpoint sends a sample event to one endpoint only, and gives the
// delivery.
func (s *Store) TestEndpoint(ctx context.Context, org int64, id string, typ tidings.EventType, o tidings.Origin) (tidings.Delivery, error) {
	sample, err := tidings.Sample(typ)
	if err != nil {
		return tidings.Delivery{}, err
	}
	return s.makeDelivery(ctx, org, o, func(t *tx) (int64, error) {
		e, err := s.readEndpoint(t.query, liveEndpoint, org, id)
		if err != nil {
			return 0, notFound(err, "endpoint", id)
		}
		if e.Status != tidings.EndpointEnabled {
			return 0, tidings.Conflict("The endpoint %q is disabled: enable it first.", id)
		}
		fresh := sample
		deliveries, err := s.write(t, org, &fresh, []int64{e.Key})
		if err != nil {
			return 0, err
		}
		t.wake(tidings.Wake{EndpointKey: e.Key, Due: fromMillis(t.now), Urgent: deliveries[0]})
		return deliveries[0], nil
	})
}

// laneOfQueued finds a pending delivery of an organisation, which is in one of its
// lanes that have a backlog. Each of those is asked for it by itself: PostgreSQL joins
// a queue that its statistics think to be empty by walking all of it.
const laneOfQueued = `SELECT endpoint_id FROM (SELECT l.endpoint_id, (SELECT q.id FROM queue q WHERE q.endpoint_id = l.endpoint_id AND q.id = $2) AS found
	FROM lane l WHERE l.organisation_id = $1 AND l.backlog > 0) AS lanes WHERE found = $2`

// RetryDelivery sends a delivery again: a pending one is due now, an ended one
// gives a new delivery of the same event.
func (s *Store) RetryDelivery(ctx context.Context, org int64, id string, o tidings.Origin) (tidings.Delivery, error) {
	key, ok := s.ids.key(id)
	if !ok {
		return tidings.Delivery{}, tidings.NotFound("delivery", id)
	}
	return s.makeDelivery(ctx, org, o, func(t *tx) (int64, error) {
		var endpoint int64
		err := t.queryRow(laneOfQueued, []any{org, key}, &endpoint)
		if err == nil {
			if err := s.notDeleted(t, endpoint); err != nil {
				return 0, err
			}
			if _, err := t.exec("UPDATE queue SET due = $1 WHERE endpoint_id = $2 AND id = $3", t.now, endpoint, key); err != nil {
				return 0, err
			}
			t.wake(tidings.Wake{EndpointKey: endpoint, Due: fromMillis(t.now), Urgent: key})
			return key, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
		return s.repeat(t, org, key, id)
	})
}

// repeat makes a new delivery of an ended one's event.
func (s *Store) repeat(t *tx, org, key int64, id string) (int64, error) {
	var event, endpoint int64
	err := t.queryRow("SELECT event_id, endpoint_id FROM delivery WHERE id = $1 AND organisation_id = $2", []any{key, org}, &event, &endpoint)
	if err != nil {
		return 0, notFound(err, "delivery", id)
	}
	if err := s.notDeleted(t, endpoint); err != nil {
		return 0, err
	}
	again, err := s.enqueueAgain(t, event, endpoint, key)
	if err == nil {
		t.wake(tidings.Wake{EndpointKey: endpoint, Due: fromMillis(t.now), Urgent: again})
	}
	return again, err
}

func (s *Store) notDeleted(t *tx, endpoint int64) error {
	e, err := s.readEndpoint(t.query, "p.id = $1", endpoint)
	if err == nil && e.DeletedAt != nil {
		return tidings.Conflict("The endpoint %q of this delivery was deleted.", e.ID)
	}
	return err
}

// enqueueAgain puts an event into a lane once more; of is the delivery that is
// repeated, or 0.
func (s *Store) enqueueAgain(t *tx, event, endpoint, of int64) (int64, error) {
	d := tidings.PendingDelivery{Key: t.key(), EndpointKey: endpoint, EventKey: event, EventID: s.ids.public(event),
		Due: fromMillis(t.now), CreatedAt: fromMillis(t.now), RetryOf: of}
	err := t.queryRow("SELECT organisation_id, type, issuance_key, body, test FROM event WHERE id = $1", []any{event},
		&d.OrganisationKey, &d.EventType, &d.IssuanceKey, &d.Body, &d.Test)
	if err != nil {
		return 0, notFound(err, "event", d.EventID)
	}
	if d.Trace, err = t.traceOf(event); err != nil {
		return 0, err
	}
	held, err := t.mayBeHeld(&d)
	if err != nil {
		return 0, err
	}
	return d.Key, t.enqueue(d, held)
}

// makeDelivery runs a write that makes, or finds, a delivery, and reads it.
func (s *Store) makeDelivery(ctx context.Context, org int64, o tidings.Origin, do func(*tx) (int64, error)) (tidings.Delivery, error) {
	var key int64
	err := s.w.submit(ctx, classTransition, org, 2, func(t *tx) (err error) {
		key, err = t.idempotent(org, o.Idempotency, func() (int64, error) { return do(t) })
		return err
	})
	if err != nil {
		return tidings.Delivery{}, err
	}
	return s.Delivery(ctx, org, s.ids.public(key))
}

// Recover sends again what an endpoint did not get in a period. It starts a
// recovery, which [Store.Recovering] carries out.
func (s *Store) Recover(ctx context.Context, org int64, id string, n tidings.NewRecovery) (out tidings.Recovery, err error) {
	err = s.w.submit(ctx, classTransition, org, 2, func(t *tx) error {
		key, err := t.idempotent(org, n.Idempotency, func() (int64, error) {
			e, err := s.readEndpoint(t.query, liveEndpoint, org, id)
			if err != nil {
				return 0, notFound(err, "endpoint", id)
			}
			until := n.Until
			if until.IsZero() {
				until = fromMillis(t.now)
			}
			key, err := s.startRecovery(t, e, n.Since, until, "/since")
			if err != nil {
				return 0, err
			}
			return key, t.audit(org, n.By, "endpoint.recovered", id, "since "+n.Since.UTC().Format(time.RFC3339))
		})
		if err != nil {
			return err
		}
		out, err = s.readRecovery(t.query, "r.id = $1", key)
		return err
	})
	return out, err
}

func (s *Store) startRecovery(t *tx, e tidings.Endpoint, since, until time.Time, at string) (int64, error) {
	now := fromMillis(t.now)
	if until.After(now) {
		until = now
	}
	switch {
	case s.retention > 0 && since.Before(now.Add(-s.retention)):
		return 0, tidings.Invalid(at, "Events of that time may be gone: the oldest time to go back to is %s.", now.Add(-s.retention).Format("2006-01-02T15:04:05.000Z"))
	case !since.Before(until):
		return 0, tidings.Invalid(at, "The period must begin before it ends, and not in the future.")
	}
	key := t.key()
	_, err := t.exec(`INSERT INTO recovery (id, organisation_id, endpoint_id, since, until, cursor, searched_kind, searched_id, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8)`,
		key, e.OrganisationID, e.Key, since.UnixMilli(), until.UnixMilli(), keyAt(since.UnixMilli())-1, statusKinds[tidings.DeliveryFailed], t.now)
	return key, err
}

// Recovery finds a recovery of an endpoint.
func (s *Store) Recovery(ctx context.Context, org int64, endpoint, id string) (tidings.Recovery, error) {
	key, ok := s.ids.key(id)
	if !ok {
		return tidings.Recovery{}, tidings.NotFound("recovery", id)
	}
	r, err := s.readRecovery(s.reader(ctx), "r.id = $1 AND r.organisation_id = $2 AND p.public_id = $3", key, org, endpoint)
	return r, notFound(err, "recovery", id)
}

func (s *Store) readRecovery(query querier, where string, args ...any) (out tidings.Recovery, err error) {
	err = sql.ErrNoRows
	failed := query(`SELECT r.id, p.public_id, r.since, r.until, r.cursor, r.examined, r.recovered, r.created_at, r.ended_at
		FROM recovery r JOIN endpoint p ON p.id = r.endpoint_id WHERE `+where, args, func(r scanner) error {
		var key, since, until, cursor, created int64
		var ended nullable
		err = r.Scan(&key, &out.EndpointID, &since, &until, &cursor, &out.Examined, &out.Recovered, &created, &ended)
		out.ID, out.Since, out.Until, out.CreatedAt, out.EndedAt = s.ids.public(key), fromMillis(since), fromMillis(until), fromMillis(created), ended.pointer()
		out.Status = tidings.RecoveryRunning
		out.Progress = min(max(float64(timeOf(cursor)-since)/float64(until-since), 0), 1) // a period is never empty
		if out.EndedAt != nil {
			out.Status, out.Progress = tidings.RecoveryCompleted, 1
		}
		return err
	})
	return out, errors.Join(failed, err)
}
