package store

import (
	"context"
	"errors"
)

// ErrTakenOver says that another server has taken the database over.
var ErrTakenOver = errors.New("another server has taken the database over")

const (
	servedBy = "served_by" // the counter of those who took the store over
	epochNow = "SELECT value FROM counter WHERE name = '" + servedBy + "'"
)

// serve takes the store over: whatever a server still writes that had it before
// is refused from now on. The lock that keeps two of them apart ends with its
// connection, which a server may lose and not notice.
func (w *writer) serve(ctx context.Context) error {
	return w.submit(ctx, classTransition, 0, 1, func(t *tx) error {
		_, err := t.exec("INSERT INTO counter (name, value) VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = counter.value + 1", servedBy)
		if err == nil {
			err = t.queryRow(epochNow, nil, &w.epoch)
		}
		return err
	})
}

// fence refuses to write for a server that another has followed.
func (t *tx) fence() error {
	if t.w.epoch == 0 {
		return nil
	}
	var now int64
	if err := t.queryRow(epochNow, nil, &now); err != nil {
		return err
	}
	if now != t.w.epoch {
		return ErrTakenOver
	}
	return nil
}

// connect gives the writer another connection where its own was lost. What was
// committed last is then not known: the answer may have been lost with it.
func (t *tx) connect() error {
	w := t.w
	if !w.lost {
		return nil
	}
	w.conn.Close() // it is of no use; what it says of that neither
	conn, err := w.db.Conn(t.ctx)
	if err != nil {
		return err
	}
	clear(w.stmts)
	w.conn, w.lost = conn, false
	w.keys.last, t.keys.last = 0, 0 // to be read again
	return nil
}
