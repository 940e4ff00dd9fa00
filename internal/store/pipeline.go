package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// pipeline holds statements of a transaction that wait to be sent together, in
// one round trip: nobody asks what they gave. On SQLite there is none.
type pipeline struct {
	batch pgx.Batch
	rows  []int64 // how many each must change; anyNumber: it does not matter
}

const anyNumber = -1

// later runs a statement whose outcome nobody asks for: with those around it
// where that saves round trips, and in any case before the next is run that
// somebody does ask.
func (t *tx) later(query string, args ...any) error { return t.expect(anyNumber, query, args...) }

// expect is later for a statement that changes so many rows, or something is
// wrong.
func (t *tx) expect(rows int64, query string, args ...any) error {
	if !t.w.remote {
		changed, err := t.exec(query, args...)
		if err == nil {
			err = surprise(query, changed, rows)
		}
		return err
	}
	t.rows++                                                      // or so
	t.waits.batch.Queue(t.w.d.bind(query), slices.Clone(args)...) // the caller may use its own again
	t.waits.rows = append(t.waits.rows, rows)
	return nil
}

func surprise(query string, changed, want int64) error {
	if want == anyNumber || changed == want {
		return nil
	}
	return fmt.Errorf("%d rows were changed, not %d, by %s", changed, want, query)
}

// send runs what waits. Where that fails nobody can tell whose it was, unless
// each item stands by itself.
func (t *tx) send() error {
	if len(t.waits.rows) == 0 {
		return nil
	}
	waits := t.waits
	t.waits = pipeline{}
	err := sendAll(t.ctx, t.w.conn, &waits)
	if err != nil && judge(err) <= faultRow && !t.isolate {
		err = errors.Join(errIsolate, err)
	}
	return err
}

func sendAll(ctx context.Context, conn *sql.Conn, waits *pipeline) error {
	return conn.Raw(func(driver any) error {
		results := driver.(*stdlib.Conn).Conn().SendBatch(ctx, &waits.batch)
		for i, want := range waits.rows {
			tag, err := results.Exec()
			if err == nil {
				err = surprise(waits.batch.QueuedQueries[i].SQL, tag.RowsAffected(), want)
			}
			if err != nil {
				results.Close() // it gives the same error, or is of no use
				return err
			}
		}
		return results.Close()
	})
}
