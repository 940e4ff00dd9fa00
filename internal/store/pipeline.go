package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// pipeline holds statements of a transaction that wait to be sent together, in
// one round trip: nobody asks yet what they gave. On SQLite there is none.
type pipeline struct {
	batch pgx.Batch
	rows  []int64               // how many each must change; anyNumber: it does not matter
	scans []func(scanner) error // what takes the rows that each gives; nil: it gives none
}

func (p *pipeline) add(rows int64, scan func(scanner) error, query string, args []any) {
	p.batch.Queue(query, slices.Clone(args)...) // the caller may use its own again
	p.rows, p.scans = append(p.rows, rows), append(p.scans, scan)
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
	t.rows++ // or so
	t.waits.add(rows, nil, t.w.d.bind(query), args)
	return nil
}

// ask runs a query over rows, on PostgreSQL not before the next [tx.send], with all
// that waits for it. scan takes each row that it gives.
func (t *tx) ask(s bulkStatement, r *rows, scan func(scanner) error) error {
	if !t.w.remote {
		return t.readRows(s, r, scan)
	}
	return t.eachPiece(s, r, func(text string, args []any) error {
		t.waits.add(anyNumber, scan, t.w.d.bind(text), args)
		return nil
	})
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
			var err error
			if waits.scans[i] != nil {
				err = answer(results, waits.scans[i])
			} else {
				var tag pgconn.CommandTag
				if tag, err = results.Exec(); err == nil {
					err = surprise(waits.batch.QueuedQueries[i].SQL, tag.RowsAffected(), want)
				}
			}
			if err != nil {
				results.Close() // it gives the same error, or is of no use
				return err
			}
		}
		return results.Close()
	})
}

// answer hands the rows of the next query to scan.
func answer(results pgx.BatchResults, scan func(scanner) error) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(numbered{rows}); err != nil {
			return err
		}
	}
	return rows.Err()
}

// numbered is a row whose truth values are numbers, as database/sql reads them.
type numbered struct{ pgx.Rows }

// Scan reads the row.
func (n numbered) Scan(dest ...any) error {
	var numbers []int64
	for i, d := range dest {
		if _, ok := d.(*bool); ok {
			if numbers == nil {
				dest, numbers = slices.Clone(dest), make([]int64, len(dest))
			}
			dest[i] = &numbers[i]
			defer func() { *d.(*bool) = numbers[i] != 0 }()
		}
	}
	return n.Rows.Scan(dest...)
}
