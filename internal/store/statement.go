package store

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"tidings"
)

// maxStatements is how many reads are kept prepared. Lists are written with
// their filters, so that there are more of them than of all others.
const maxStatements = 256

// statements keeps reads prepared: to read a query and to plan it costs as much
// as to run it, where it finds few rows. It may be used by many goroutines.
type statements struct {
	db         *sql.DB
	bind       func(string) string
	limit      time.Duration // for one read; 0: none
	idle       int           // connections that are kept
	unprepared bool          // none is kept prepared, see [behindPooler]
	mu         sync.RWMutex
	byText     map[string]*sql.Stmt
}

// each runs a read and hands each row to scan.
func (s *statements) each(ctx context.Context, query string, args []any, scan func(scanner) error) error {
	ctx, end := bounded(ctx, s.limit)
	defer end()
	begun := false
	read := func() error {
		rows, err := s.query(ctx, query, args)
		if err != nil {
			return err
		}
		return eachRow(rows, func(r scanner) error {
			begun = true
			return scan(r)
		})
	}
	err := read()
	if gone(err) && !begun {
		dropIdle(s.db, s.idle)
		err = read()
	}
	return away(err)
}

// dropIdle closes the connections that are kept: where the server was started
// anew, one that is found to be gone is not the only one.
func dropIdle(db *sql.DB, keep int) {
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(keep)
}

func (s *statements) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return s.db.QueryContext(ctx, s.bind(query), args...)
	}
	return stmt.QueryContext(ctx, args...)
}

// row runs a read of one row, which has to be scanned.
func (s *statements) row(ctx context.Context, query string, args ...any) row {
	return row{s, ctx, query, args}
}

// row is one that is asked for when it is scanned.
type row struct {
	s     *statements
	ctx   context.Context
	query string
	args  []any
}

// Scan reads it.
func (r row) Scan(dest ...any) error {
	ctx, end := bounded(r.ctx, r.s.limit)
	defer end()
	err := r.read(ctx, dest)
	if gone(err) {
		dropIdle(r.s.db, r.s.idle)
		err = r.read(ctx, dest)
	}
	return away(err)
}

func (r row) read(ctx context.Context, dest []any) error {
	stmt, err := r.s.prepare(ctx, r.query)
	if err != nil {
		return err
	}
	if stmt == nil {
		return r.s.db.QueryRowContext(ctx, r.s.bind(r.query), r.args...).Scan(dest...)
	}
	return stmt.QueryRowContext(ctx, r.args...).Scan(dest...)
}

// bounded gives what is done under ctx no more than limit; 0 is no limit. Whom
// the far side does not answer waits for ever otherwise.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// away says of a database that cannot be read at the moment that it is worth
// coming again.
func away(err error) error {
	if judge(err) <= faultRow || tidings.KindOf(err) != tidings.KindInternal {
		return err
	}
	return tidings.Unavailable(2*time.Second, err, "The store cannot be read at the moment; try again.")
}

// prepare gives the statement of a query, or nil where there are enough of them.
func (s *statements) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s.unprepared {
		return nil, nil
	}
	s.mu.RLock()
	stmt, full := s.byText[query], len(s.byText) >= maxStatements
	s.mu.RUnlock()
	if stmt != nil || full {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, s.bind(query))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.byText[query]; other != nil { // somebody was faster
		return other, stmt.Close()
	}
	s.byText[query] = stmt
	return stmt, nil
}

// close closes the statements and the connections.
func (s *statements) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.byText {
		stmt.Close() // nothing can be lost: they only read
	}
	return s.db.Close()
}
