package store

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"
)

// keyAt gives the smallest key of a time (epoch milliseconds).
func keyAt(ms int64) int64 { return max(ms-keyEpoch, 0) << (nodeBits + counterBits) }

// timeOf gives the time of a key (epoch milliseconds).
func timeOf(key int64) int64 { return key>>(nodeBits+counterBits) + keyEpoch }

// retained is the counter of the newest event that [Store.Retain] has looked at:
// older ones may be gone.
const retained = "retained"

const retainedOf = "SELECT COALESCE(max(value), 0) FROM counter WHERE name = '" + retained + "'"

// keptAfterEnd is for how long a delivery can be read after it has ended, be it
// ever so old: whoever asks what became of it finds the answer. Half of the
// retention time where that is shorter.
const keptAfterEnd = 7 * 24 * time.Hour

func (w *writer) keptAfterEnd() time.Duration { return min(keptAfterEnd, w.retention/2) }

// late tells whether a delivery that ends now would be dropped before it was
// kept for as long as it can be read after its end.
func (t *tx) late(key int64) bool {
	return t.w.retention > 0 && key < keyAt(t.now-(t.w.retention-t.w.keptAfterEnd()).Milliseconds())
}

// Retain ends and deletes what is older than the retention time, in steps of up
// to limit rows, and tells how many one touched: first pending deliveries end as
// failed, then ended deliveries go with their attempts, those that ended late a
// while later, then events that no delivery names any more. On PostgreSQL most of
// it goes as a whole, partition by partition.
func (s *Store) Retain(ctx context.Context, limit int) (touched int, err error) {
	if s.retention <= 0 {
		return 0, nil
	}
	before := keyAt(s.now().Add(-s.retention).UnixMilli())
	whole, singly, err := s.oldPart(ctx, before)
	if err != nil {
		return 0, err
	}
	for _, step := range []struct {
		do     func(ctx context.Context, before int64, limit int) (int, error)
		before int64
	}{{s.giveUpOld, before}, {s.dropOld, singly}, {s.dropLate, before}, {s.dropEvents, singly}} {
		if touched, err = step.do(ctx, step.before, limit); err != nil || touched > 0 {
			return touched, err
		}
	}
	if whole == nil {
		return 0, nil
	}
	return s.dropWhole(ctx, *whole)
}

// oldDelivery is one that goes.
type oldDelivery struct {
	key, event, retryOf int64
	late                bool
}

func (s *Store) oldDeliveries(ctx context.Context, where string, args ...any) (out []oldDelivery, err error) {
	err = s.query(ctx, "SELECT id, event_id, retry_of, late FROM delivery WHERE "+where, args, func(r scanner) error {
		var d oldDelivery
		err := r.Scan(&d.key, &d.event, &d.retryOf, &d.late)
		out = append(out, d)
		return err
	})
	return out, err
}

// dropOld deletes ended deliveries in order of their keys. It passes over those
// that ended late, and remembers where it is, so that it does so once.
func (s *Store) dropOld(ctx context.Context, before int64, limit int) (int, error) {
	rows, err := s.oldDeliveries(ctx, "id > $1 AND id < $2 ORDER BY id LIMIT $3", s.dropped.Load(), before, limit)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	done, err := s.drop(ctx, rows, true)
	if err == nil {
		s.dropped.Store(rows[done-1].key)
	}
	return done, err
}

// dropLate deletes those that ended late, when they could be read for long enough.
func (s *Store) dropLate(ctx context.Context, _ int64, limit int) (int, error) {
	rows, err := s.oldDeliveries(ctx, "late = 1 AND ended_at < $1 ORDER BY ended_at LIMIT $2", s.now().Add(-s.w.keptAfterEnd()).UnixMilli(), limit)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return s.drop(ctx, rows, false)
}

// drop deletes ended deliveries with their attempts, as many as the step's time
// allows, and tells how many it dealt with.
func (s *Store) drop(ctx context.Context, rows []oldDelivery, keepLate bool) (done int, err error) {
	err = s.w.submit(ctx, classHouse, 0, 1, func(t *tx) error {
		var looked int64
		if err := t.queryRow(retainedOf, nil, &looked); err != nil {
			return err
		}
		if t.w.remote {
			done = t.atOnce(len(rows))
			if keepLate {
				return t.dropDeliveries(slices.DeleteFunc(slices.Clone(rows[:done]), func(d oldDelivery) bool { return d.late }), looked)
			}
			return t.dropDeliveries(rows[:done], looked)
		}
		for done = 0; done < len(rows) && (done == 0 || !t.over()); done++ {
			if d := rows[done]; !d.late || !keepLate {
				if err := t.dropDelivery(d, looked); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return done, err
}

// Where each statement is a round trip, rows are dropped many at once: as many as
// the step has time for, at about dropTime each, and dropLeast in any case.
const (
	dropTime  = 30 * time.Microsecond
	dropLeast = 16
)

// atOnce is how many of so many rows a step drops.
func (t *tx) atOnce(rows int) int {
	return min(rows, max(dropLeast, int(time.Until(t.until)/dropTime)))
}

// dropDeliveries is dropDelivery for many, in few statements.
func (t *tx) dropDeliveries(old []oldDelivery, looked int64) error {
	var keys, counts, events rows
	for _, d := range old {
		keys.add(d.key)
	}
	again := rows{slices.Clone(keys.args)}
	if err := t.writeRows(deleteAttempts, &keys); err != nil {
		return err
	}
	gone := map[int64]int{}
	err := t.readRows(deleteDeliveries, &again, func(r scanner) error {
		var event, retryOf int64
		err := r.Scan(&event, &retryOf)
		if retryOf == 0 {
			gone[event]++
		} else {
			gone[event] += 0 // it was not counted, but may have been the last
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, event := range slices.Sorted(maps.Keys(gone)) {
		if gone[event] > 0 {
			counts.add(event, gone[event])
		}
		if event <= looked {
			events.add(event)
		}
	}
	if err := t.writeRows(countOff, &counts); err != nil {
		return err
	}
	return t.writeRows(dropManyEvents, &events)
}

// dropDelivery deletes a delivery and counts it off its event, which may live
// on. An event that was looked at before goes with its last delivery.
func (t *tx) dropDelivery(d oldDelivery, looked int64) error {
	if _, err := t.exec("DELETE FROM attempt WHERE delivery_id = $1", d.key); err != nil {
		return err
	}
	if n, err := t.exec("DELETE FROM delivery WHERE id = $1", d.key); err != nil || n == 0 {
		return err
	}
	if d.retryOf == 0 {
		if _, err := t.exec("UPDATE event SET fanout = fanout - 1 WHERE id = $1", d.event); err != nil {
			return err
		}
	}
	if d.event > looked {
		return nil
	}
	_, err := t.exec(dropEvent, d.event)
	return err
}

const (
	unnamed = ` AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event_id = event.id)
	AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.issuance_key = event.issuance_key AND q.event_id = event.id)
	AND NOT EXISTS (SELECT 1 FROM expansion x WHERE x.organisation_id = event.organisation_id AND x.event_id = event.id)`
	dropEvent = "DELETE FROM event WHERE id = $1" + unnamed
)

// dropEvents looks at the next events that are too old, each once, and deletes
// those that no delivery names.
func (s *Store) dropEvents(ctx context.Context, before int64, limit int) (done int, err error) {
	keys, err := s.keysOf(ctx, "SELECT id FROM event WHERE id < $1 AND id > ("+retainedOf+") ORDER BY id LIMIT $2", before, limit)
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	err = s.w.submit(ctx, classHouse, 0, 1, func(t *tx) error {
		if done = 0; t.w.remote {
			var events rows
			for _, key := range keys[:t.atOnce(len(keys))] {
				events.add(key)
				done++
			}
			if err := t.writeRows(dropManyEvents, &events); err != nil {
				return err
			}
		}
		for ; done < len(keys) && (done == 0 || !t.w.remote && !t.over()); done++ {
			if _, err := t.exec(dropEvent, keys[done]); err != nil {
				return err
			}
		}
		_, err := t.exec(`INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
			WHERE excluded.value > counter.value`, retained, keys[done-1]) // another node may have looked further
		return err
	})
	return done, err
}

// shrinkFrom is the part of the file that may be free: new rows fill it again,
// so that giving it back and taking it anew would be work for nothing.
const shrinkFrom = 8

// Shrink gives free pages of the database's file back to the disk, a step of
// them, where there are many, and tells how many they were.
func (s *Store) Shrink(ctx context.Context, _ int) (given int, err error) {
	if s.dir == "" { // PostgreSQL fills free pages again by itself
		return 0, nil
	}
	var free, pages int
	if err := s.queryRow(ctx, "PRAGMA freelist_count", nil, &free); err != nil {
		return 0, err
	}
	if err := s.queryRow(ctx, "PRAGMA page_count", nil, &pages); err != nil || free <= pages/shrinkFrom {
		return 0, err
	}
	err = s.w.submit(ctx, classHouse, 0, 1, func(t *tx) error {
		const some = 8
		for given = 0; given < free && (given == 0 || !t.over()); given += some {
			if err := t.query("PRAGMA incremental_vacuum("+strconv.Itoa(some)+")", nil, func(scanner) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	return given, err
}

// Size tells how much the store holds.
type Size struct {
	Bytes       int64      // of the database's files on disk
	Free        int64      // bytes free on that disk; -1: not known, as it is another machine's
	OldestEvent *time.Time // nil while there is none
}

// Size measures the store.
func (s *Store) Size(ctx context.Context) (size Size, err error) {
	if size.Bytes, size.Free, err = s.db.size(ctx, s.reads.db); err != nil {
		return size, err
	}
	var oldest nullable
	err = s.queryRow(ctx, "SELECT created_at FROM event ORDER BY id LIMIT 1", nil, &oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return size, nil
	}
	size.OldestEvent = oldest.pointer()
	return size, err
}
