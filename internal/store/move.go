package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tidings"
)

// MoveOptions says what is moved where.
type MoveOptions struct {
	Dir      string // the data folder of the embedded database, which no server holds
	Database string // URL of an empty PostgreSQL
	// Progress is told now and then how far a table is; nil: nobody.
	Progress func(table string, done, of int64)
}

// progressEvery is after how many rows progress is told.
const progressEvery = 100_000

// Moved is what was copied of a table.
type Moved struct {
	Table string
	Rows  int64
}

// Move copies an embedded store, pending work and keys included, into an empty
// PostgreSQL, and compares both: the rows of each table, by count and digest, as
// they are read back. All of it is one transaction, so that nothing is there
// unless all is; whoever breaks it off begins again. The folder stays as it is.
func Move(ctx context.Context, o MoveOptions) (moved []Moved, err error) {
	if _, err := os.Stat(filepath.Join(o.Dir, "tidings.db")); errors.Is(err, fs.ErrNotExist) {
		return nil, &tidings.Error{Kind: tidings.KindNotFound, Message: fmt.Sprintf("There is no embedded database in %s.", o.Dir)}
	}
	folder, writes, reads, err := openEmbedded(ctx, Options{Dir: o.Dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reads.Close(), writes.Close(), folder.release()) }()
	from, damage, err := folder.moment(ctx, reads)
	if err != nil {
		return nil, err
	}
	defer from.Rollback() // it has only read
	if damage != "ok" {
		return nil, fmt.Errorf("the database in %s is damaged: %s", o.Dir, damage)
	}
	to, err := emptyPostgres(ctx, o.Database)
	if err != nil {
		return nil, err
	}
	defer to.Close(context.WithoutCancel(ctx)) // what was not committed goes with it
	m := &move{from: from, progress: o.Progress}
	if m.progress == nil {
		m.progress = func(string, int64, int64) {}
	}
	moved, err = m.run(ctx, to)
	if judge(err) > faultRow {
		err = tidings.Unavailable(0, err, "The database did not take everything; nothing was moved, try again.")
	}
	return moved, err
}

// emptyPostgres connects to a PostgreSQL that nobody serves, brings its schema up
// to date, and lets statements take as long as they take.
func emptyPostgres(ctx context.Context, url string) (*pgx.Conn, error) {
	o := Options{Database: url, Timeout: defaultTimeout, Connections: 1}
	p, writes, reads, err := openPostgres(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(p.release(), writes.Close(), reads.Close()); err != nil {
		return nil, err
	}
	cfg, pooled, err := connection(ctx, o)
	if err != nil {
		return nil, err
	}
	if !pooled {
		cfg.RuntimeParams["statement_timeout"], cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0", "0"
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// move is a move that runs.
type move struct {
	from     *sql.Tx
	to       pgx.Tx
	progress func(table string, done, of int64)
}

func (m *move) run(ctx context.Context, conn *pgx.Conn) (moved []Moved, err error) {
	if m.to, err = conn.Begin(ctx); err != nil {
		return nil, err
	}
	if _, err := m.to.Exec(ctx, syncCommits); err != nil {
		return nil, err
	}
	tables, err := m.tables(ctx)
	if err != nil {
		return nil, err
	}
	// A server that starts meanwhile waits for the end.
	if _, err := m.to.Exec(ctx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return nil, fmt.Errorf("locking the tables: %w", err)
	}
	if err := m.mustBeEmpty(ctx, tables); err != nil {
		return nil, err
	}
	if err := m.partition(ctx); err != nil {
		return nil, err
	}
	for _, table := range tables {
		n, err := m.table(ctx, table)
		if err != nil {
			return nil, fmt.Errorf("moving %s: %w", table, err)
		}
		moved = append(moved, Moved{table, n})
	}
	if err := m.to.Commit(ctx); err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "ANALYZE "+strings.Join(tables, ", ")) // or the first plans know nothing
	return moved, err
}

// tables gives the store's tables, each behind those that it refers to, but for
// what says who serves it.
func (m *move) tables(ctx context.Context) (tables []string, err error) {
	rows, err := m.to.Query(ctx, `SELECT c.relname, (SELECT COALESCE(array_agg(DISTINCT f.confrelid::regclass::text), '{}') FROM pg_constraint f
		WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid)
		FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT IN ('migration', 'node', 'shard', 'in_flight')
		ORDER BY c.relname`)
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	var table string
	var refers []string
	_, err = pgx.ForEachRow(rows, []any{&table, &refers}, func() error {
		needs[table] = refers
		return nil
	})
	if err != nil {
		return nil, err
	}
	for len(needs) > 0 {
		before := len(tables)
		for table, refers := range needs {
			if !slices.ContainsFunc(refers, func(r string) bool { return needs[r] != nil }) {
				tables = append(tables, table)
			}
		}
		if len(tables) == before {
			return nil, errors.New("the tables refer to one another in a circle")
		}
		slices.Sort(tables[before:])
		for _, table := range tables[before:] {
			delete(needs, table)
		}
	}
	return tables, nil
}

// mustBeEmpty refuses a database that holds anything.
func (m *move) mustBeEmpty(ctx context.Context, tables []string) error {
	for _, table := range tables {
		var some bool
		if err := m.to.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+table+")").Scan(&some); err != nil {
			return err
		}
		if some {
			return tidings.Conflict("The database is not empty: its table %s has rows. Take a new database, so that nothing is mixed or lost.", table)
		}
	}
	return nil
}

// partition makes partitions for the history that comes, so that it can be dropped
// like what is written later. How long it is kept is not known here: there are as
// many as if it were all that is kept.
func (m *move) partition(ctx context.Context) error {
	var oldest sql.NullInt64
	if err := m.from.QueryRowContext(ctx, "SELECT min(id) FROM (SELECT min(id) AS id FROM event UNION ALL SELECT min(id) FROM delivery) AS oldest").Scan(&oldest); err != nil || !oldest.Valid {
		return err
	}
	there, err := periods(func(query string, args []any, scan func(scanner) error) error {
		rows, err := m.to.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	now := time.Now()
	for _, p := range missingPeriods(there, oldest.Int64, keyAt(now.UnixMilli()), periodLength(now.Sub(fromMillis(timeOf(oldest.Int64))))) {
		var outcome historyOutcome
		if err := m.to.QueryRow(ctx, "SELECT make_history($1, $2)", p.from, p.to).Scan(&outcome); err != nil || outcome != historyMade {
			return errors.Join(err, fmt.Errorf("making a partition for history: %q", outcome))
		}
	}
	return nil
}

// table copies one table and compares it.
func (m *move) table(ctx context.Context, table string) (n int64, err error) {
	columns, kinds, err := m.columns(ctx, table)
	if err != nil {
		return 0, err
	}
	text := "SELECT " + strings.Join(columns, ", ") + " FROM " + table
	var of int64
	if err := m.from.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&of); err != nil {
		return 0, err
	}
	rows, err := m.from.QueryContext(ctx, text)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	source := &moving{rows: rows, kinds: kinds, values: make([]any, len(kinds)), told: func(done int64) { m.progress(table, done, of) }}
	if _, err := m.to.CopyFrom(ctx, pgx.Identifier{table}, columns, source); err != nil {
		return 0, err
	}
	there, err := m.digest(ctx, text, kinds)
	if err != nil {
		return 0, err
	}
	if there != source.digest || there.rows != of {
		return 0, fmt.Errorf("%d rows were read and %d are there, or they differ: nothing was moved", of, there.rows)
	}
	m.progress(table, of, of)
	return of, nil
}

// columns gives a table's columns and their types in PostgreSQL.
func (m *move) columns(ctx context.Context, table string) (names, kinds []string, err error) {
	rows, err := m.to.Query(ctx, "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1 ORDER BY column_name", table)
	if err != nil {
		return nil, nil, err
	}
	var name, kind string
	_, err = pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		names, kinds = append(names, name), append(kinds, kind)
		return nil
	})
	return names, kinds, err
}

// digest reads a table back and sums up what is there.
func (m *move) digest(ctx context.Context, text string, kinds []string) (d digest, err error) {
	rows, err := m.to.Query(ctx, text)
	if err != nil {
		return d, err
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return d, err
		}
		for i := range values {
			if values[i], err = as(kinds[i], values[i]); err != nil {
				return d, err
			}
		}
		d.add(values)
	}
	return d, rows.Err()
}

// moving reads rows of SQLite for PostgreSQL (it is a [pgx.CopyFromSource]), and
// sums them up.
type moving struct {
	rows   *sql.Rows
	kinds  []string
	values []any
	digest digest
	told   func(done int64)
	err    error
}

// Next reads a row.
func (s *moving) Next() bool {
	if s.err != nil || !s.rows.Next() {
		return false
	}
	into := make([]any, len(s.values))
	for i := range into {
		into[i] = &s.values[i]
	}
	if s.err = s.rows.Scan(into...); s.err != nil {
		return false
	}
	for i := range s.values {
		if s.values[i], s.err = as(s.kinds[i], s.values[i]); s.err != nil {
			return false
		}
	}
	s.digest.add(s.values)
	if s.digest.rows%progressEvery == 0 {
		s.told(s.digest.rows)
	}
	return true
}

// Values gives it.
func (s *moving) Values() ([]any, error) { return s.values, nil }

// Err says why there is none.
func (s *moving) Err() error { return cmp.Or(s.err, s.rows.Err()) }

// as gives a value as a column of PostgreSQL holds it. SQLite lets any value
// stand in any column.
func as(kind string, value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case int32:
		return as(kind, int64(v))
	case int64:
		switch kind {
		case "double precision":
			return float64(v), nil
		case "bigint", "integer":
			return v, nil
		}
	case float64:
		if kind == "double precision" {
			return v, nil
		}
	case string:
		switch kind {
		case "bytea":
			return []byte(v), nil
		case "text":
			return v, nil
		}
	case []byte:
		switch kind {
		case "bytea":
			return v, nil
		case "text":
			return string(v), nil
		}
	}
	return nil, fmt.Errorf("a %T stands in a column of type %s", value, kind)
}

// digest sums up rows, in whatever order they come: their number, and the sum of
// a hash of each.
type digest struct {
	rows int64
	sum  [4]uint64
}

func (d *digest) add(values []any) {
	var text []byte
	for _, value := range values {
		switch v := value.(type) {
		case nil:
			text = append(text, 'n')
		case int64:
			text = binary.BigEndian.AppendUint64(append(text, 'i'), uint64(v))
		case float64:
			text = binary.BigEndian.AppendUint64(append(text, 'f'), math.Float64bits(v))
		case string:
			text = append(binary.BigEndian.AppendUint64(append(text, 's'), uint64(len(v))), v...)
		case []byte:
			text = append(binary.BigEndian.AppendUint64(append(text, 'b'), uint64(len(v))), v...)
		}
	}
	hash := sha256.Sum256(text)
	d.rows++
	for i := range d.sum {
		d.sum[i] += binary.BigEndian.Uint64(hash[8*i:])
	}
}
