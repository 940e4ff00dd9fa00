package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"tidings"
)

// traceKept is for how long it is kept where in a trace an event was accepted:
// longer than retries last.
const traceKept = 7 * 24 * time.Hour

// await queues an item and waits for it, as submit says, in a span where that
// is recorded.
func (w *writer) await(ctx context.Context, it *item) error {
	if w.trace == nil || it.class == classHouse {
		return w.wait(ctx, it)
	}
	traceparent, end := w.trace(ctx)
	it.trace = traceparent
	err := w.wait(ctx, it)
	end(err)
	return err
}

// keepTrace keeps where the item that runs stands in a trace, for the attempts
// that the event leads to, be it by another process. Where nothing is traced, it
// costs nothing.
func (t *tx) keepTrace(event int64) error {
	if t.trace == "" {
		return nil
	}
	return t.later("INSERT INTO event_trace (event_id, traceparent) VALUES ($1, $2)", event, t.trace)
}

const traceOf = "SELECT traceparent FROM event_trace WHERE event_id = $1"

// traceOf gives where an event was accepted, empty where that is not known.
func (t *tx) traceOf(event int64) (string, error) {
	if t.w.trace == nil {
		return "", nil
	}
	var traceparent string
	err := t.queryRow(traceOf, []any{event}, &traceparent)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return traceparent, err
}

// addTraces completes deliveries that were read, where attempts are traced.
func (s *Store) addTraces(ctx context.Context, out []tidings.PendingDelivery) error {
	if s.w.trace == nil {
		return nil
	}
	for i := range out {
		err := s.queryRow(ctx, traceOf, []any{out[i].EventKey}, &out[i].Trace)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	return nil
}

// PruneTraces forgets up to limit rows that no attempt will ask for any more,
// and tells how many.
func (s *Store) PruneTraces(ctx context.Context, limit int) (pruned int, err error) {
	const old = "SELECT event_id FROM event_trace WHERE event_id < $1 ORDER BY event_id LIMIT $2"
	before := keyAt(s.now().Add(-traceKept).UnixMilli())
	keys, err := s.keysOf(ctx, old, before, 1)
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	err = s.w.submit(ctx, classHouse, 0, limit, func(t *tx) error {
		n, err := t.exec("DELETE FROM event_trace WHERE event_id IN ("+old+")", before, limit)
		pruned = int(n)
		return err
	})
	return pruned, err
}
