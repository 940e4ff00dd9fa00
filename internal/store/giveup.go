package store

import (
	"context"
	"database/sql"
	"errors"

	"tidings"
)

// This file ends pending deliveries without an attempt.

// CancelDeleted ends up to limit pending deliveries of deleted endpoints and
// tells how many. Called until it gives 0, it finishes what a crash left.
func (s *Store) CancelDeleted(ctx context.Context, limit int) (canceled int, err error) {
	const find = `SELECT l.endpoint_id, l.organisation_id FROM endpoint p JOIN lane l ON l.endpoint_id = p.id
		WHERE p.deleted_at IS NOT NULL AND l.backlog > 0 LIMIT 1`
	return s.giveUp(ctx, find, nil, far, limit, tidings.DeliveryCanceled, tidings.ReasonEndpointDeleted)
}

// giveUpOld does the same for those with keys below before, at any endpoint.
func (s *Store) giveUpOld(ctx context.Context, before int64, limit int) (ended int, err error) {
	const find = `SELECT l.endpoint_id, l.organisation_id FROM lane l WHERE l.backlog > 0
		AND (SELECT min(q.id) FROM queue q WHERE q.endpoint_id = l.endpoint_id) < $1 LIMIT 1`
	return s.giveUp(ctx, find, []any{before}, before, limit, tidings.DeliveryFailed, tidings.ReasonRetention)
}

// far is a key after every other.
const far = int64(1)<<62 + (int64(1)<<62 - 1)

// waiting is a pending delivery as it was read.
type waiting struct {
	due, key, event, retryOf, created int64
	attempts, kind                    int
}

// giveUp ends the oldest pending deliveries of the lane that find gives, those
// with keys below before.
func (s *Store) giveUp(ctx context.Context, find string, args []any, before int64, limit int, status tidings.DeliveryStatus, reason tidings.DeliveryReason) (done int, err error) {
	var endpoint, organisation int64
	err = s.queryRow(ctx, find, args, &endpoint, &organisation)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var rows []waiting
	err = s.query(ctx, `SELECT due, id, event_id, retry_of, created_at, attempt_count, kind FROM queue
		WHERE endpoint_id = $1 AND id < $2 ORDER BY id LIMIT $3`, []any{endpoint, before, limit}, func(r scanner) error {
		var d waiting
		err := r.Scan(&d.due, &d.key, &d.event, &d.retryOf, &d.created, &d.attempts, &d.kind)
		rows = append(rows, d)
		return err
	})
	if err != nil {
		return 0, err
	}
	err = s.w.submit(ctx, classHouse, 0, 1, func(t *tx) error {
		for done = 0; done < len(rows) && (done == 0 || !t.over()); done++ {
			if err := t.giveUpOne(organisation, endpoint, rows[done], status, reason); err != nil {
				return err
			}
		}
		return nil
	})
	return done, err
}

// giveUpOne ends a delivery, unless an attempt has moved it meanwhile: then it
// is read again.
func (t *tx) giveUpOne(organisation, endpoint int64, d waiting, status tidings.DeliveryStatus, reason tidings.DeliveryReason) error {
	n, err := t.exec("DELETE FROM queue WHERE endpoint_id = $1 AND due = $2 AND id = $3 AND attempt_count = $4", endpoint, d.due, d.key, d.attempts)
	if err != nil || n == 0 {
		return err
	}
	t.count(endpoint, -1)
	return t.endDelivery(ended{key: d.key, organisation: organisation, endpoint: endpoint, event: d.event, status: status, reason: reason,
		attempts: d.attempts, retryOf: d.retryOf, created: d.created, kind: statusKinds[status] + d.kind, late: t.late(d.key)})
}

// ended is a row of the history.
type ended struct {
	key, organisation, endpoint, event int64
	status                             tidings.DeliveryStatus
	reason                             tidings.DeliveryReason
	attempts                           int
	retryOf, created                   int64
	kind                               int
	late                               bool
}

// endDelivery writes a delivery into the history.
func (t *tx) endDelivery(d ended) error {
	t.ended = append(t.ended, Ended{d.status, d.reason})
	_, err := t.exec(`INSERT INTO delivery (id, organisation_id, endpoint_id, event_id, status, reason, attempt_count, retry_of, created_at, ended_at, kind, late)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		d.key, d.organisation, d.endpoint, d.event, string(d.status), string(d.reason), d.attempts, d.retryOf, d.created, t.now, d.kind, number(d.late))
	return err
}
