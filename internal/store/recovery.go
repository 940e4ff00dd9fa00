package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"tidings"
)

// This file carries recoveries out: house-keeping that first looks for the event
// to begin with and then walks the feed. What can be is read beside the writer.

// recovery is one that is being carried out.
type recovery struct {
	key, organisation, endpoint, since, until, cursor, created int64
	searchedKind, searchedID                                   sql.NullInt64 // NULL: the search is over
}

// recoverySlack is how far an event's key may lie behind the time at which it
// was accepted: many at once use up the counters of their millisecond.
const recoverySlack = time.Minute

// end is a key behind those of the period, so that nothing is looked at that was
// accepted long after it.
func (r recovery) end() int64 {
	if r.until >= r.created {
		return r.key
	}
	return min(r.key, keyAt(r.until+recoverySlack.Milliseconds()))
}

// moved tells whether another node has carried the recovery on since it was read:
// then what was read is of no use.
func (t *tx) moved(r recovery) (bool, error) {
	var cursor int64
	var kind, id sql.NullInt64
	err := t.queryRow("SELECT cursor, searched_kind, searched_id FROM recovery WHERE id = $1 AND ended_at IS NULL", []any{r.key}, &cursor, &kind, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return cursor != r.cursor || kind != r.searchedKind || id != r.searchedID, err
}

// Recovering carries recoveries on by one step of up to limit events, and tells
// how many it looked at or ended. Called until it gives 0, it finishes what a
// crash left.
func (s *Store) Recovering(ctx context.Context, limit int) (done int, err error) {
	var r recovery
	err = s.queryRow(ctx, `SELECT id, organisation_id, endpoint_id, since, until, cursor, created_at, searched_kind, searched_id
		FROM recovery WHERE ended_at IS NULL ORDER BY id LIMIT 1`, nil,
		&r.key, &r.organisation, &r.endpoint, &r.since, &r.until, &r.cursor, &r.created, &r.searchedKind, &r.searchedID)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if r.searchedKind.Valid {
		return s.searchStep(ctx, r)
	}
	return s.recoverStep(ctx, r, limit)
}

// searchRows is how many failed deliveries a step of the search looks at, more
// or less. It reads them beside the writer.
const searchRows = 1000

const failedOf = "SELECT id, event_id, ended_at FROM delivery WHERE endpoint_id = $1 AND kind = $2 AND id > $3 ORDER BY id LIMIT $4"

// searchStep looks for what failed in the period and was accepted before it: the
// recovery begins with the first such event. It goes through the failed
// deliveries kind by kind.
func (s *Store) searchStep(ctx context.Context, r recovery) (looked int, err error) {
	was := r
	for _, k := range endedKinds(tidings.DeliveryFailed, "") {
		if int64(k) < r.searchedKind.Int64 || looked >= searchRows {
			continue
		}
		if int64(k) > r.searchedKind.Int64 {
			r.searchedKind.Int64, r.searchedID.Int64 = int64(k), 0
		}
		err = s.query(ctx, failedOf, []any{r.endpoint, k, r.searchedID.Int64, searchRows}, func(row scanner) error {
			var event, ended int64
			err := row.Scan(&r.searchedID.Int64, &event, &ended)
			if looked++; ended >= r.since && ended <= r.until {
				r.cursor = min(r.cursor, event-1)
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	if looked < searchRows {
		r.searchedKind.Valid, r.searchedID.Valid = false, false
	}
	err = s.w.submit(ctx, classHouse, r.organisation, 1, func(t *tx) error {
		if moved, err := t.moved(was); err != nil || moved {
			return err
		}
		_, err := t.exec("UPDATE recovery SET cursor = $1, searched_kind = $2, searched_id = $3 WHERE id = $4", r.cursor, r.searchedKind, r.searchedID, r.key)
		return err
	})
	return looked + 1, err
}

// recoverStep walks on through the feed, as far as the step's time allows and all
// deliveries are made: only then can it be told which are missing. Where it has to
// wait for that it gives 0.
func (s *Store) recoverStep(ctx context.Context, r recovery, limit int) (done int, err error) {
	e, err := s.readEndpoint(s.reader(ctx), "p.id = $1", r.endpoint)
	if err != nil {
		return 0, err
	}
	events, err := s.eventsFrom(ctx, r, limit)
	if err != nil {
		return 0, err
	}
	was, waits := r, false
	err = s.w.submit(ctx, classHouse, r.organisation, 1, func(t *tx) error {
		done = 0
		if moved, err := t.moved(was); err != nil || moved {
			return err
		}
		recovered := 0
		ready, err := t.expanded(r.organisation, events)
		if err != nil {
			return err
		}
		waits = len(ready) == 0 && len(events) > 0
		for done < len(ready) && e.DeletedAt == nil && (done == 0 || !t.over()) {
			some := ready[done:min(done+recoveredTogether, len(ready))]
			again, err := s.recoverSome(t, some, r, e)
			if err != nil {
				return err
			}
			done, recovered = done+len(some), recovered+again
		}
		if done > 0 {
			r.cursor = events[done-1].key
		}
		var ended any
		if e.DeletedAt != nil || done == len(events) && len(events) < limit {
			ended = t.now
		}
		_, err = t.exec("UPDATE recovery SET cursor = $1, examined = examined + $2, recovered = recovered + $3, ended_at = $4 WHERE id = $5",
			r.cursor, done, recovered, ended, r.key)
		return err
	})
	if waits {
		return 0, err
	}
	return done + 1, err
}

// pastEvent is an event with what became of it at the endpoint.
type pastEvent struct {
	key, position, issuance, created int64
	typ                              tidings.EventType
	test                             bool
	body                             []byte
	arriving                         bool          // it was delivered or is pending
	failed, ended                    sql.NullInt64 // its newest delivery that ended, and when one last did
}

// missing tells whether the endpoint should have got it in the period, but has
// not.
func (x pastEvent) missing(r recovery, e tidings.Endpoint) bool {
	switch {
	case x.test || x.arriving || !tidings.Matches(e.FilterTypes, x.typ) || x.about(e):
		return false
	case x.created < r.since && (x.ended.Int64 < r.since || x.ended.Int64 > r.until):
		return false // neither accepted nor failed in the period
	}
	return true
}

// about tells whether it is an operational event about an endpoint.
func (x pastEvent) about(e tidings.Endpoint) bool {
	return x.issuance == issuanceKey(subjectOfEndpoint+e.ID) && slices.Contains(tidings.OperationalEventTypes, x.typ)
}

// The pluses keep the database from walking the endpoint's queue and history. The
// events are found before what became of them: grouped in any other order it would
// sort all that is left of the feed, for each step.
const eventsOf = `SELECT e.id, e.position, e.issuance_key, e.created_at, e.type, e.test, e.body, found.newest, found.ended, found.delivered = 1
			OR EXISTS (SELECT 1 FROM queue q WHERE q.issuance_key = e.issuance_key AND +q.endpoint_id = $6 AND q.event_id = e.id)
		FROM (SELECT f.id, max(d.id) AS newest, max(d.ended_at) AS ended, max(CASE d.status WHEN 'delivered' THEN 1 ELSE 0 END) AS delivered
			FROM (SELECT id FROM event WHERE organisation_id = $1 AND position > $2 AND position < $3 AND created_at <= $4 ORDER BY position, id LIMIT $5) AS f
			LEFT JOIN delivery d ON d.event_id = f.id AND +d.endpoint_id = $6 GROUP BY f.id) AS found
		CROSS JOIN event e ON e.id = found.id`

func (s *Store) eventsFrom(ctx context.Context, r recovery, limit int) (out []pastEvent, err error) {
	err = s.query(ctx, eventsOf, []any{r.organisation, r.cursor, r.end(), r.until, limit, r.endpoint}, func(row scanner) error {
		var x pastEvent
		err := row.Scan(&x.key, &x.position, &x.issuance, &x.created, &x.typ, &x.test, &x.body, &x.failed, &x.ended, &x.arriving)
		out = append(out, x)
		return err
	})
	slices.SortFunc(out, func(a, b pastEvent) int { return cmp.Compare(a.position, b.position) })
	return out, err
}

// recoveredTogether is how many events a recovery takes up at a time: a statement
// costs more than its rows.
const recoveredTogether = 4

// recoverSome sends those events again that are missing, unless somebody else has
// done so since they were read, and tells how many. A delivery that was never made
// belongs to the event's own from now on.
func (s *Store) recoverSome(t *tx, events []pastEvent, r recovery, e tidings.Endpoint) (recovered int, err error) {
	var asked, counts rows
	for _, x := range events {
		if x.missing(r, e) {
			asked.add(x.issuance, r.endpoint, x.key)
		}
	}
	missing := map[int64]bool{}
	err = t.readRows(stillMissing, &asked, func(row scanner) error {
		var key int64
		err := row.Scan(&key)
		missing[key] = true
		return err
	})
	if err != nil {
		return 0, err
	}
	t.direct = t.isolate
	now := fromMillis(t.now)
	for _, x := range events {
		if !missing[x.key] {
			continue
		}
		if !x.failed.Valid {
			counts.add(x.key, -1)
		}
		d := tidings.PendingDelivery{Key: t.key(), OrganisationKey: r.organisation, EndpointKey: r.endpoint, EventKey: x.key, EventID: s.ids.public(x.key),
			EventType: x.typ, IssuanceKey: x.issuance, Body: x.body, Due: now, CreatedAt: now, RetryOf: x.failed.Int64}
		if d.Trace, err = t.traceOf(x.key); err != nil {
			return 0, err
		}
		held, err := t.mayBeHeld(&d)
		if err != nil {
			return 0, err
		}
		if err := t.enqueue(d, held); err != nil {
			return 0, err
		}
	}
	if err := t.writeRows(countOff, &counts); err != nil {
		return 0, err
	}
	return len(missing), t.oneByOne()
}
