package store

import (
	"context"
	"database/sql"
	"sync"
)

// maxStatements is how many reads are kept prepared. Lists are written with
// their filters, so that there are more of them than of all others.
const maxStatements = 256

// statements keeps reads prepared: to read a query and to plan it costs as much
// as to run it, where it finds few rows. It may be used by many goroutines.
type statements struct {
	db     *sql.DB
	bind   func(string) string
	mu     sync.RWMutex
	byText map[string]*sql.Stmt
}

// query runs a read.
func (s *statements) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return s.db.QueryContext(ctx, s.bind(query), args...)
	}
	return stmt.QueryContext(ctx, args...)
}

// row runs a read of one row.
func (s *statements) row(ctx context.Context, query string, args ...any) *sql.Row {
	stmt, err := s.prepare(ctx, query)
	if err != nil || stmt == nil {
		return s.db.QueryRowContext(ctx, s.bind(query), args...) // which tells of the error
	}
	return stmt.QueryRowContext(ctx, args...)
}

// prepare gives the statement of a query, or nil where there are enough of them.
func (s *statements) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
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
