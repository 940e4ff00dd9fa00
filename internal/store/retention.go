package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tidings"
)

// keyAt gives the smallest key of a time (epoch milliseconds).
func keyAt(ms int64) int64 { return max(ms-keyEpoch, 0) << (nodeBits + counterBits) }

// timeOf gives the time of a key (epoch milliseconds).
func timeOf(key int64) int64 { return key>>(nodeBits+counterBits) + keyEpoch }

// retained is the counter of the newest event that [Store.Retain] has looked at:
// older ones may be gone.
const retained = "retained"

const retainedOf = "SELECT COALESCE(max(value), 0) FROM counter WHERE name = '" + retained + "'"

// Retain ends and deletes what is older than the retention time, in one step of
// up to limit rows of each sort, and tells how many it touched: first pending
// deliveries end as failed, then ended deliveries go with their attempts, then
// events that no delivery names any more.
func (s *Store) Retain(ctx context.Context, limit int) (touched int, err error) {
	if s.retention <= 0 {
		return 0, nil
	}
	before := keyAt(s.now().Add(-s.retention).UnixMilli())
	old, err := s.oldestLane(ctx, before)
	if err != nil {
		return 0, err
	}
	var due bool
	err = s.queryRow(ctx, "SELECT EXISTS (SELECT 1 FROM delivery WHERE id < $1) OR EXISTS (SELECT 1 FROM event WHERE id < $1 AND id > ("+retainedOf+"))",
		[]any{before}, &due)
	if err != nil || !due && old == 0 {
		return 0, err
	}
	err = s.w.submit(ctx, classHouse, 0, limit, func(t *tx) error {
		ended, err := 0, error(nil)
		if old != 0 {
			if ended, err = t.endPending(old, before, limit, tidings.DeliveryFailed, tidings.ReasonRetention); err != nil {
				return err
			}
		}
		deliveries, err := t.dropDeliveries(before, limit)
		if err != nil {
			return err
		}
		events, err := t.dropEvents(before, limit)
		if err != nil {
			return err
		}
		touched = ended + deliveries + events
		return t.control("PRAGMA incremental_vacuum(500)")
	})
	return touched, err
}

// oldestLane finds a lane with a pending delivery that is too old.
func (s *Store) oldestLane(ctx context.Context, before int64) (endpoint int64, err error) {
	err = s.queryRow(ctx, `SELECT l.endpoint_id FROM lane l WHERE l.backlog > 0
		AND (SELECT min(q.id) FROM queue q WHERE q.endpoint_id = l.endpoint_id) < $1 LIMIT 1`, []any{before}, &endpoint)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return endpoint, err
}

// dropDeliveries deletes ended deliveries with their attempts, and counts them
// off their events, which may live on. An event that was looked at before goes
// with its last delivery.
func (t *tx) dropDeliveries(before int64, limit int) (int, error) {
	var looked int64
	if err := t.queryRow(retainedOf, nil, &looked); err != nil {
		return 0, err
	}
	type ended struct{ key, event, retryOf int64 }
	var rows []ended
	err := t.query("SELECT id, event_id, retry_of FROM delivery WHERE id < $1 ORDER BY id LIMIT $2", []any{before, limit}, func(r scanner) error {
		var d ended
		err := r.Scan(&d.key, &d.event, &d.retryOf)
		rows = append(rows, d)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, d := range rows {
		if _, err := t.exec("DELETE FROM attempt WHERE delivery_id = $1", d.key); err != nil {
			return 0, err
		}
		if _, err := t.exec("DELETE FROM delivery WHERE id = $1", d.key); err != nil {
			return 0, err
		}
		if d.retryOf == 0 {
			if _, err := t.exec("UPDATE event SET fanout = fanout - 1 WHERE id = $1", d.event); err != nil {
				return 0, err
			}
		}
		if d.event <= looked {
			if _, err := t.exec(dropEvent, d.event); err != nil {
				return 0, err
			}
		}
	}
	return len(rows), nil
}

const dropEvent = `DELETE FROM event WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event_id = event.id)
	AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.issuance_key = event.issuance_key AND q.event_id = event.id)`

// dropEvents looks at the next events that are too old, each once, and deletes
// those that no delivery names.
func (t *tx) dropEvents(before int64, limit int) (int, error) {
	var keys []int64
	err := t.query("SELECT id FROM event WHERE id < $1 AND id > ("+retainedOf+") ORDER BY id LIMIT $2", []any{before, limit}, func(r scanner) error {
		var key int64
		err := r.Scan(&key)
		keys = append(keys, key)
		return err
	})
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	for _, key := range keys {
		if _, err := t.exec(dropEvent, key); err != nil {
			return 0, err
		}
	}
	_, err = t.exec("INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", retained, keys[len(keys)-1])
	return len(keys), err
}

// Size tells how much the store holds.
type Size struct {
	Bytes       int64      // of the database's files on disk
	Free        int64      // bytes free on that disk
	OldestEvent *time.Time // nil while there is none
}

// Size measures the store.
func (s *Store) Size(ctx context.Context) (size Size, err error) {
	for _, name := range []string{"tidings.db", "tidings.db-wal", "tidings.db-shm"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return size, fmt.Errorf("measuring the database: %w", err)
		}
		if err == nil {
			size.Bytes += info.Size()
		}
	}
	if size.Free, err = freeBytes(s.dir); err != nil {
		return size, fmt.Errorf("measuring the disk: %w", err)
	}
	var oldest nullable
	err = s.queryRow(ctx, "SELECT created_at FROM event ORDER BY id LIMIT 1", nil, &oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return size, nil
	}
	size.OldestEvent = oldest.pointer()
	return size, err
}
