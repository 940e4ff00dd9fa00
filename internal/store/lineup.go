package store

import (
	"database/sql"
	"errors"

	"tidings"
)

// This file puts deliveries into their lanes, behind what they have to wait for.

const heldDue = "SELECT due FROM queue WHERE issuance_key = $1 AND endpoint_id = $2 AND attempt_count <= $3 ORDER BY due DESC LIMIT 1"

const firstHeld = "SELECT due FROM queue WHERE issuance_key = $1 AND endpoint_id = $2 AND attempt_count <= $3 ORDER BY due LIMIT 1"

const heldAnywhere = "SELECT 1 FROM queue WHERE issuance_key = $1 LIMIT 1"

// mayBeHeld tells whether the deliveries of an event may have to wait for earlier
// ones of its issuance: mostly there are none anywhere. Samples tell no story,
// and what is sent again is older than all that waits: they are sent at once.
// What the same batch has collected is due now, and does not count.
func (t *tx) mayBeHeld(d *tidings.PendingDelivery) (bool, error) {
	if d.Test || d.RetryOf != 0 {
		return false, nil
	}
	if waits, known := t.waiting[d.IssuanceKey]; known {
		return waits, nil
	}
	var one int
	err := t.queryRow(heldAnywhere, []any{d.IssuanceKey}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// enqueue puts a delivery into its lane. While an earlier event of the same
// issuance waits for one of its first retries there, this one is due no sooner:
// the key itself keeps the order. Where another node may have accepted that one
// and it is not known here yet, the lane has to be read from it on.
func (t *tx) enqueue(d tidings.PendingDelivery, held bool) error {
	wake := tidings.Wake{EndpointKey: d.EndpointKey}
	if held {
		var due int64
		err := t.queryRow(heldDue, []any{d.IssuanceKey, d.EndpointKey, tidings.HeldRetries}, &due)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if due > d.Due.UnixMilli() {
			d.Due = fromMillis(due)
		}
		if err == nil && t.w.remote {
			if err := t.queryRow(firstHeld, []any{d.IssuanceKey, d.EndpointKey, tidings.HeldRetries}, &due); err != nil {
				return err
			}
			wake.Due = fromMillis(due)
		}
	}
	if err := t.queue(&d); err != nil {
		return err
	}
	if wake.Due.IsZero() {
		wake.Due, wake.Deliveries = d.Due, []tidings.PendingDelivery{d}
	}
	t.wake(wake)
	return nil
}

// queue writes the row of a pending delivery.
func (t *tx) queue(d *tidings.PendingDelivery) error {
	t.count(d.EndpointKey, 1)
	return t.put(insertQueue, &t.w.bulk.queue, d.EndpointKey, d.Due.UnixMilli(), d.Key, d.EventKey, d.IssuanceKey, d.AttemptCount, d.RetryOf,
		d.CreatedAt.UnixMilli(), kind(tidings.DeliveryPending, d.EventType))
}
