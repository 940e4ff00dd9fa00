package store

import (
	"context"
	"time"

	"tidings"
)

// Commit is what one commit made durable.
type Commit struct {
	Rows   int           // written, of every table
	Took   time.Duration // from the beginning of its transaction until it was on disk
	Events []tidings.EventType
	States []tidings.IssuanceState // that issuances entered
	Ended  []Ended                 // deliveries
}

// Ended says how a delivery ended.
type Ended struct {
	Status tidings.DeliveryStatus
	Reason tidings.DeliveryReason // empty where it was delivered
}

// Backlog is what is pending in the whole store.
type Backlog struct {
	Count    int64
	OldestAt *time.Time // since when the oldest delivery is pending; nil: there is none
	// DueAt is since when the delivery is due that has been so for longest, of
	// the endpoints that are sent to without restraint: enabled, not failing, not
	// paused and without a rate limit. nil: none of them waits for anything.
	DueAt *time.Time
}

// backlogOf looks at the lanes that have a backlog, two rows of each.
const backlogOf = `SELECT l.backlog, (SELECT q.created_at FROM queue q WHERE q.endpoint_id = l.endpoint_id ORDER BY q.id LIMIT 1),
	CASE WHEN p.status = 'enabled' AND p.deleted_at IS NULL AND p.rate_limit = 0 AND l.failures = 0 AND COALESCE(l.paused_until, 0) < $1
		THEN (SELECT q.due FROM queue q WHERE q.endpoint_id = l.endpoint_id AND q.due < $1 ORDER BY q.due LIMIT 1) END
	FROM lane l JOIN endpoint p ON p.id = l.endpoint_id WHERE l.backlog > 0`

// Backlog tells what is pending. Its cost grows with the number of endpoints that
// have a backlog, not with the deliveries.
func (s *Store) Backlog(ctx context.Context) (b Backlog, err error) {
	first := func(known *time.Time, at nullable) *time.Time {
		if t := at.pointer(); t != nil && (known == nil || t.Before(*known)) {
			return t
		}
		return known
	}
	err = s.query(ctx, backlogOf, []any{s.now().UnixMilli()}, func(r scanner) error {
		var n int64
		var since, due nullable
		if err := r.Scan(&n, &since, &due); err != nil {
			return err
		}
		b.Count += n
		b.OldestAt, b.DueAt = first(b.OldestAt, since), first(b.DueAt, due)
		return nil
	})
	if err != nil {
		return b, err
	}
	unmade, oldest, err := s.unexpanded(ctx)
	b.Count += unmade
	b.OldestAt, b.DueAt = first(b.OldestAt, oldest), first(b.DueAt, oldest)
	return b, err
}
