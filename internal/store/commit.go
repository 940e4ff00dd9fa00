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

// Backlog tells how many deliveries are pending in the whole store, and since
// when the oldest of them is; nil where there is none. Its cost grows with the
// number of endpoints that have a backlog, not with the deliveries.
func (s *Store) Backlog(ctx context.Context) (count int64, oldest *time.Time, err error) {
	err = s.query(ctx, `SELECT l.backlog, (SELECT q.created_at FROM queue q WHERE q.endpoint_id = l.endpoint_id ORDER BY q.id LIMIT 1)
		FROM lane l WHERE l.backlog > 0`, nil, func(r scanner) error {
		var n int64
		var since nullable
		if err := r.Scan(&n, &since); err != nil {
			return err
		}
		count += n
		if at := since.pointer(); at != nil && (oldest == nil || at.Before(*oldest)) {
			oldest = at
		}
		return nil
	})
	return count, oldest, err
}
