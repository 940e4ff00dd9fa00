package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// On PostgreSQL history is partitioned by time: events and deliveries by their
// keys, attempts by those of their deliveries, with the same bounds. What is too
// old as a whole is dropped as a whole, which costs the same for ten rows and for
// ten million. A partition for the rest takes what has no other, so that no write
// depends on one having been made ahead; from there rows go one by one.

// period is what one partition of each table holds: keys from one to before
// another.
type period struct{ from, to int64 }

// first tells whether it is what was there before there were partitions. From
// there rows go one by one until all of it is too old.
func (p period) first() bool { return p.from == 0 }

const (
	// leastPeriod is how long a period is at least; all begin at a full hour.
	leastPeriod = time.Hour
	// foreverPeriod is how long it is where nothing is ever dropped.
	foreverPeriod = 364 * 24 * time.Hour
	// periodsKept is how many periods make up the retention time: few, as every
	// statement that names no key looks into each of them.
	periodsKept = 4
	// historySlack is for how long a period is kept once it is too old. So a
	// delivery that is pending of an event in there was made that much later, by
	// which an index of the queue (queue_again) finds it.
	historySlack = time.Hour
	// lockAgain is when to try again where somebody reads history for long: whoever
	// comes while the lock is asked for waits with it.
	lockAgain = time.Minute
)

// periodLength gives how long a period is. Longer than a day it is a number of days.
func periodLength(retention time.Duration) time.Duration {
	if retention <= 0 {
		return foreverPeriod
	}
	length := max(retention/periodsKept, leastPeriod)
	if length > 24*time.Hour {
		return length.Truncate(24 * time.Hour)
	}
	return length.Truncate(time.Hour)
}

// missingPeriods gives those that are to be made, so that all keys from one to
// another are in one. Those that are there may be of another length.
func missingPeriods(there []period, since, until int64, length time.Duration) (out []period) {
	step := length.Milliseconds() << (nodeBits + counterBits)
	for at := since / step * step; at < until; {
		next := at - at%step + step
		for _, p := range there {
			switch {
			case p.from <= at && at < p.to:
				at = p.to
			case at < p.from:
				next = min(next, p.from)
			}
		}
		if at < next && at < until {
			out = append(out, period{at, next})
			at = next
		}
	}
	return out
}

// aheadPeriods gives those that are to be made, so that the one of now (epoch
// milliseconds) and the next are there.
func aheadPeriods(there []period, now int64, length time.Duration) []period {
	step := length.Milliseconds() << (nodeBits + counterBits)
	return missingPeriods(there, keyAt(now), keyAt(now)/step*step+2*step, length)
}

// oldPart says how what is older than a key goes: the oldest period as a whole
// (nil: none does), and what is before another key one by one. A period that is
// longer than they are now, as more was kept once, goes one by one. crowded is the
// period of which too much would live on: it goes as a whole once that has become
// less. If it has not when nothing in there is kept for having ended late, what
// names its events is in later periods, and all that is too old goes one by one.
func oldPart(there []period, before int64, crowded period, keptAfterEnd, length time.Duration) (whole *period, singly int64) {
	if len(there) == 0 {
		return nil, before
	}
	oldest := there[0]
	span := func(d time.Duration) int64 { return d.Milliseconds() << (nodeBits + counterBits) }
	switch {
	case oldest.to+span(historySlack) > before && (oldest.first() || oldest.to-oldest.from > span(length)):
		return nil, min(before, oldest.to)
	case oldest.to+span(historySlack) > before:
		return nil, min(before, oldest.from)
	case oldest == crowded && oldest.to+span(historySlack+keptAfterEnd) <= before:
		return &oldest, before
	}
	return &oldest, oldest.from
}

// oldPart says how what is older than a key goes here.
func (s *Store) oldPart(ctx context.Context, before int64) (whole *period, singly int64, err error) {
	if s.dir != "" {
		return nil, before, nil
	}
	there, err := periods(s.reader(ctx))
	if err != nil {
		return nil, 0, err
	}
	whole, singly = oldPart(there, before, *s.crowded.Load(), s.w.keptAfterEnd(), periodLength(s.retention))
	return whole, singly, nil
}

// periodsOf gives the periods that have partitions, in order.
const periodsOf = `SELECT since, until FROM (SELECT CAST(substring(bound FROM 'FROM \(''(\d+)''\)') AS BIGINT), CAST(substring(bound FROM 'TO \(''(\d+)''\)') AS BIGINT)
	FROM (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'event'::regclass) AS part
	) AS period (since, until) WHERE until IS NOT NULL ORDER BY since`

func periods(query querier) (out []period, err error) {
	err = query(periodsOf, nil, func(r scanner) error {
		var p period
		err := r.Scan(&p.from, &p.to)
		out = append(out, p)
		return err
	})
	return out, err
}

const newestKey = "SELECT COALESCE(max(value), 0) FROM counter WHERE name LIKE 'last_key/%'"

// unmade gives the periods that are to be made. Where a clock was ahead, they are
// those of the keys, which do not go back with it.
func (s *Store) unmade(query querier, now int64) (out []period, err error) {
	there, err := periods(query)
	if err != nil {
		return nil, err
	}
	err = query(newestKey, nil, func(r scanner) error {
		var newest int64
		err := r.Scan(&newest)
		now = max(now, timeOf(newest))
		return err
	})
	return aheadPeriods(there, now, periodLength(s.retention)), err
}

// Partition makes the partitions of history ahead of time, on PostgreSQL, and
// tells how many it made. Where one cannot be made at the moment, what belongs
// there goes to the one for the rest, and it is tried again later.
func (s *Store) Partition(ctx context.Context, _ int) (made int, err error) {
	if s.dir != "" || s.now().UnixMilli() < s.partAgain.Load() {
		return 0, nil
	}
	if missing, err := s.unmade(s.reader(ctx), s.now().UnixMilli()); err != nil || len(missing) == 0 {
		return 0, err
	}
	err = s.w.submit(ctx, classHouse, 0, 1, func(t *tx) error {
		made = 0
		missing, err := s.unmade(t.query, t.now) // another node may have made them meanwhile
		if err != nil {
			return err
		}
		for _, p := range missing {
			outcome, err := t.partition("SELECT make_history($1, $2)", p.from, p.to)
			if err != nil {
				return err
			}
			if outcome == historyMade {
				made++
				continue
			}
			s.partAgain.Store(t.now + lockAgain.Milliseconds())
			t.w.log.Warn("a partition of history cannot be made at the moment", "because", string(outcome), "from", fromMillis(timeOf(p.from)))
		}
		return nil
	})
	return made, err
}

// historyOutcome is what a function of the database says that deals with
// partitions; see the migration that makes them.
type historyOutcome string

const (
	historyMade    historyOutcome = "made"
	historyDropped historyOutcome = "dropped"
	historyGone    historyOutcome = "gone"    // another node has dropped it
	historyLocked  historyOutcome = "locked"  // somebody reads for long
	historyCrowded historyOutcome = "crowded" // too many rows would have to be moved
	historyUnmade  historyOutcome = "unmade"  // deliveries of its events are still to be made
)

// partition calls one of these functions.
func (t *tx) partition(call string, args ...any) (outcome historyOutcome, err error) {
	if err = t.queryRow(call, args, &outcome); err != nil {
		return "", fmt.Errorf("partitions of history: %w", err)
	}
	switch outcome {
	case historyMade, historyDropped, historyGone, historyLocked, historyCrowded:
		return outcome, nil
	}
	return "", errors.New("partitions of history: the database says " + string(outcome))
}

// namesMost is how many pending or later deliveries may name events of a period
// that is dropped as a whole: to look at more would keep all others from writing
// for too long.
const namesMost = 50_000

const namesOf = `SELECT count(*) FROM (SELECT 1 FROM delivery WHERE event_id >= $1 AND event_id < $2 AND (id < $1 OR id >= $2)
	UNION ALL SELECT 1 FROM queue WHERE event_id >= $1 AND event_id < $2 AND id - event_id > 15099494400000 LIMIT $3) AS names`

// dropWhole drops a period, of which nothing is pending any more, nor still to be
// made. The few rows that live on move to the partitions for the rest.
func (s *Store) dropWhole(ctx context.Context, p period) (dropped int, err error) {
	if s.now().UnixMilli() < s.dropAgain.Load() {
		return 0, nil
	}
	names, outcome := 0, historyCrowded
	if err := s.queryRow(ctx, namesOf, []any{p.from, p.to, namesMost + 1}, &names); err != nil {
		return 0, err
	}
	if names <= namesMost {
		err = s.w.submit(ctx, classHouse, 0, 1, func(t *tx) (err error) {
			if waits, err := t.waitsBefore(p.to); err != nil || waits {
				outcome = historyUnmade
				return err
			}
			outcome, err = t.partition("SELECT drop_history($1, $2, $3)", p.from, p.to, t.now-t.w.keptAfterEnd().Milliseconds())
			return err
		})
	}
	switch {
	case err != nil:
		return 0, err
	case outcome == historyDropped, outcome == historyGone:
		return 1, nil
	}
	s.dropAgain.Store(s.now().Add(lockAgain).UnixMilli())
	if outcome == historyCrowded && *s.crowded.Swap(&p) == p {
		return 0, nil // it can take weeks, and was said
	}
	s.w.log.Warn("a partition of history cannot be dropped at the moment", "because", string(outcome), "until", fromMillis(timeOf(p.to)))
	return 0, nil
}

// takenOut tells whether there is a table that was taken out of history and not
// dropped yet.
const takenOut = `SELECT EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'event'::regclass)
	AND relkind = 'r' AND relname ~ '^gone_(event|delivery|attempt)_[0-9]+$')`

// Forget drops a table that retention has taken out of history, on PostgreSQL, and
// tells how many it dropped. To delete its files can take minutes, so that this is
// done beside the writer.
func (s *Store) Forget(ctx context.Context, _ int) (dropped int, err error) {
	if s.dir != "" || s.now().UnixMilli() < s.forgetAgain.Load() {
		return 0, nil
	}
	var some bool
	if err := s.queryRow(ctx, takenOut, nil, &some); err != nil || !some {
		return 0, err
	}
	t, err := s.reads.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, away(err)
	}
	defer t.Rollback() // after the commit there is nothing to roll back
	if err := patient(ctx, t); err != nil {
		return 0, away(err)
	}
	var outcome historyOutcome
	if err := t.QueryRowContext(ctx, "SELECT forget_history()").Scan(&outcome); err != nil {
		return 0, away(err)
	}
	if outcome == historyDropped {
		dropped = 1
	} else {
		s.forgetAgain.Store(s.now().Add(lockAgain).UnixMilli())
	}
	return dropped, away(t.Commit())
}
