package store

import (
	"time"

	"tidings"
)

// This file has what a process must learn anew in each transaction where others
// write to the same database. Their transactions take turns (see
// [postgres.begin]), so that what is read at the start of one holds to its end.

// stateOf reads the newest key of any node, whether the node is still one, whether
// events wait for their deliveries, and the database's clock in microseconds.
const stateOf = `SELECT COALESCE((SELECT value FROM counter WHERE name = $1), 0), EXISTS (SELECT 1 FROM node WHERE number = $2),
	EXISTS (SELECT 1 FROM expansion), (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT`

// look learns what others have done since this process's last transaction.
func (t *tx) look() error {
	w := t.w
	var member bool
	var us int64
	if err := t.send(); err != nil { // which waits for its turn
		return err
	}
	sent := w.clock.own()
	if err := t.queryRow(stateOf, []any{t.keys.counter(), w.node}, &t.keys.last, &member, &t.expanding, &us); err != nil {
		return err
	}
	if w.corrected {
		w.clock.compare(sent, time.UnixMicro(us), w.clock.own())
	}
	t.now = w.now().UnixMilli()
	w.keys.last = t.keys.last
	if !member && w.holding.Load() != nil {
		w.holding.Store(w.holding.Load().none()) // its lease ran out, and another took all that it held
	}
	return nil
}

// holding is what this node holds, as its own transactions left it. Only the
// writer changes it.
type holding struct{ tidings.Tenure }

// none is what a node holds that held h, nil for nothing, before: there are
// others to be told of what it goes on to accept.
func (h *holding) none() *holding {
	out := &holding{tidings.Tenure{Epochs: &tidings.Epochs{}, Others: true}}
	if h != nil {
		out.Nodes = h.Nodes
	}
	return out
}

// owns tells whether the result of an attempt that began at that epoch may be
// recorded: this node holds the lane, or gave it up with that attempt in flight.
// Where there are no nodes, it always may.
func (t *tx) owns(endpoint, epoch int64) (ok bool, err error) {
	h := t.w.holding.Load()
	if h == nil || epoch != 0 && h.Epochs[tidings.ShardOf(endpoint)] == epoch {
		return true, nil
	}
	err = t.queryRow("SELECT EXISTS (SELECT 1 FROM in_flight WHERE endpoint_id = $1 AND node = $2 AND epoch = $3)", []any{endpoint, t.w.node, epoch}, &ok)
	return ok, err
}

// connect gives the writer another connection where its own was lost. What was
// committed last is then not known: the answer may have been lost with it.
func (t *tx) connect() error {
	w := t.w
	if !w.lost {
		return nil
	}
	w.conn.Close() // it is of no use; what it says of that neither
	dropIdle(w.db, writers)
	conn, err := w.db.Conn(t.ctx)
	if err != nil {
		return err
	}
	clear(w.stmts)
	w.conn, w.lost = conn, false
	w.keys.last, t.keys.last = 0, 0 // to be read again
	return nil
}
