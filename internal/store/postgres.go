package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib" // PostgreSQL's protocol in pure Go, kept for a decade

	"tidings"
)

// postgres is the shared database, of any number of servers.
type postgres struct {
	pooled  bool          // a pooler stands before it, so that sessions keep nothing
	timeout time.Duration // for a read, and for a transaction of the writer
}

// Keys of advisory locks ("tidings" and a number).
const (
	lockMigrate = 0x74696469_01
	lockWrite   = 0x74696469_02
)

// minPostgres is the first version that is known to work.
const minPostgres = 140000

// openPostgres opens the database of a URL and brings its schema up to date.
func openPostgres(ctx context.Context, o Options) (_ *postgres, writes, reads *sql.DB, err error) {
	cfg, pooled, err := connection(ctx, o)
	if err != nil {
		return nil, nil, nil, err
	}
	// Reads that get no answer leave the writer its connections.
	pool := stdlib.OpenDB(*cfg)
	if !pooled {
		maps.Copy(cfg.RuntimeParams, readByIndex)
	}
	readers := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(writers)
	readers.SetMaxOpenConns(o.Connections)
	readers.SetMaxIdleConns(o.Connections)
	p := &postgres{pooled: pooled, timeout: o.Timeout}
	defer func() {
		if err != nil {
			err = errors.Join(err, pool.Close(), readers.Close())
		}
	}()
	if err := newEnough(ctx, pool, o.Timeout); err != nil {
		return nil, nil, nil, err
	}
	_, err = migratePostgres(ctx, pool, migrations, o.Shared, o.Log)
	return p, pool, readers, err
}

// newEnough refuses versions of PostgreSQL that are too old.
func newEnough(ctx context.Context, pool *sql.DB, limit time.Duration) error {
	ctx, end := bounded(ctx, limit)
	defer end()
	var version int
	if err := pool.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return tidings.Unavailable(time.Second, err, "The database cannot be opened")
	}
	if version < minPostgres {
		return fmt.Errorf("PostgreSQL %d is too old: 14 or newer is needed", version/10000)
	}
	return nil
}

// Migrate brings the schema of a PostgreSQL up to date, beside servers too, and
// tells how many migrations it ran: for a role that may do that, where the servers'
// may not.
func Migrate(ctx context.Context, url string) (ran int, err error) {
	o := Options{Database: url, Timeout: defaultTimeout}
	cfg, _, err := connection(ctx, o)
	if err != nil {
		return 0, err
	}
	pool := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, pool.Close()) }()
	if err := newEnough(ctx, pool, o.Timeout); err != nil {
		return 0, err
	}
	return migratePostgres(ctx, pool, migrations, false, slog.Default())
}

// writers is how many connections the writer's pool has: the writer's, the
// herald's, and one to spare while a lost one is given up.
const writers = 3

// bind leaves the common SQL as it is, but for the order of joins, which it fixes
// for SQLite only: PostgreSQL knows how many rows there are.
func (p *postgres) bind(query string) string {
	return strings.ReplaceAll(query, "CROSS JOIN", "JOIN")
}

// byIndex has every statement of a writer walk indexes. The statistics know
// nothing of a queue that was empty a moment ago. What must read a whole table all
// the same seems so costly then that PostgreSQL would compile it.
const byIndex = ", set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"

// planOnce has a writer's statements be planned once, not each time. PostgreSQL plans
// those that come with arrays anew for each, as it takes their length for a reason,
// which cost more than to run them; see [byIndex] for why the plan stays the same.
const planOnce = ", set_config('plan_cache_mode', 'force_generic_plan', true)"

// readByIndex does the same for those who read, where a session keeps settings.
// Autovacuum makes statistics of each partition, but none of how tables as a whole
// join, so that to read all of them can seem to cost less than to look for a few rows.
var readByIndex = map[string]string{"jit": "off", "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

// syncCommits has a transaction be on disk when its commit returns.
const syncCommits = "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"

// begin lets one process write at a time, so that what a write reads in its
// transaction is the truth, as it is with one writer, and positions are in the
// order of the commits. A commit is on disk when it returns, whatever the server
// is set to. Where a process hangs, the lock ends with its
// transaction, see [connection].
func (p *postgres) begin() []string {
	settings := syncCommits + byIndex + planOnce
	if p.pooled {
		for name, limit := range sessionTimeouts(p.timeout) {
			settings += ", set_config('" + name + "', '" + limit + "', true)"
		}
	}
	return []string{"BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE", // any other takes its snapshot before its turn has come
		settings,
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", int64(lockWrite))}
}

// keepPartitions has all partitions of history stay for a transaction. Whoever reads
// in one snapshot asks for that first: a partition that goes behind a snapshot is
// missing in it, and what lives on of it is not there yet.
const keepPartitions = "LOCK TABLE ONLY event, ONLY delivery, ONLY attempt IN ACCESS SHARE MODE"

// moment says nothing of the files, which are the database server's.
func (p *postgres) moment(ctx context.Context, reads *sql.DB) (snapshot *sql.Tx, damage string, err error) {
	if snapshot, err = reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}); err != nil {
		return nil, "", away(err)
	}
	if err = patient(ctx, snapshot); err == nil {
		_, err = snapshot.ExecContext(ctx, keepPartitions)
	}
	if err != nil {
		return nil, "", away(errors.Join(err, snapshot.Rollback()))
	}
	return snapshot, "ok", nil
}

func (p *postgres) size(ctx context.Context, reads *sql.DB) (bytes, free int64, err error) {
	ctx, end := bounded(ctx, p.timeout)
	defer end()
	err = reads.QueryRowContext(ctx, "SELECT pg_database_size(current_database())").Scan(&bytes)
	return bytes, -1, away(err)
}

// release has nothing to give free: what a node holds, it holds by a lease.
func (p *postgres) release() error { return nil }

// patient lets the statements of a transaction take as long as they take, and read
// whole tables: the larger the database, the longer.
func patient(ctx context.Context, t *sql.Tx) error {
	_, err := t.ExecContext(ctx, "SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
	return err
}

const (
	// migrateLockWait is how long a migration waits for a table: whoever comes
	// meanwhile waits behind it. It is less than PostgreSQL takes to find a deadlock,
	// which would end either side.
	migrateLockWait = 400 * time.Millisecond
	// migratePause is before it tries again.
	migratePause = 2 * time.Second
)

// besideWriters stands in a migration that looks at all of history, for which it
// takes no turn: it locks nobody out.
const besideWriters = "-- beside those who write"

// migratePostgres runs the migrations that the database has not had yet, each in a
// transaction of its own, and tells how many those were. Where somebody holds a
// table for long, such as a backup, it gives way to those who would wait behind it,
// and tries again.
func migratePostgres(ctx context.Context, pool *sql.DB, from fs.FS, shared bool, log *slog.Logger) (ran int, err error) {
	files, err := fs.Glob(from, "migrations/postgres/*.sql")
	if err != nil {
		return 0, err
	}
	for {
		more, err := migrateNext(ctx, pool, from, files, shared && ran == 0)
		switch {
		case err == nil && more:
			ran++
			continue
		case !held(err):
			return ran, err
		}
		log.Warn("the schema cannot be brought up to date while somebody uses it for long, such as a backup: it is tried again", "error", err)
		select {
		case <-time.After(migratePause):
		case <-ctx.Done():
			return ran, err
		}
	}
}

// held tells whether an error says that a table is somebody else's for too long.
func held(err error) bool {
	const lockNotAvailable, deadlock = "55P03", "40P01"
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == lockNotAvailable || e.Code == deadlock)
}

// migrateNext runs the next migration, if there is one, in one transaction under
// locks of that transaction, which a pooler leaves alone. Servers work on the schema
// meanwhile: it takes its turn among those who write, as two that hold what the
// other wants next would both wait in vain.
func migrateNext(ctx context.Context, pool *sql.DB, from fs.FS, files []string, shared bool) (more bool, err error) {
	t, err := pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}) // so that it sees what was done before its turn
	if err != nil {
		return false, fmt.Errorf("opening the database: %w", err)
	}
	defer t.Rollback() // after the commit there is nothing to roll back
	if err := patient(ctx, t); err != nil {
		return false, fmt.Errorf("opening the database: %w", err)
	}
	if _, err := t.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(lockMigrate)); err != nil {
		return false, fmt.Errorf("locking the schema: %w", err)
	}
	have, err := schemaVersion(ctx, t)
	if err != nil {
		return false, owners(err)
	}
	if err := checkSchema(have, len(files), shared); err != nil || have == len(files) {
		return false, errors.Join(err, t.Commit())
	}
	text, err := fs.ReadFile(from, files[have])
	if err != nil {
		return false, err
	}
	if !strings.Contains(string(text), besideWriters) {
		if _, err := t.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(lockWrite)); err != nil {
			return false, fmt.Errorf("taking a turn to write: %w", err)
		}
	}
	if _, err := t.ExecContext(ctx, "SELECT set_config('lock_timeout', $1, true)", milliseconds(migrateLockWait)); err != nil {
		return false, err
	}
	if _, err := t.ExecContext(ctx, string(text)); err != nil {
		return false, owners(fmt.Errorf("migration %s: %w", files[have], err))
	}
	if _, err := t.ExecContext(ctx, "INSERT INTO migration (number) VALUES ($1)", have+1); err != nil {
		return false, owners(fmt.Errorf("migration %s: %w", files[have], err))
	}
	return true, t.Commit()
}

// schemaVersion tells how many migrations the database has had. The table that
// says so is made where there is none, by a role that may: one that may not can
// serve all the same where it is there.
func schemaVersion(ctx context.Context, t *sql.Tx) (have int, err error) {
	var there bool
	if err := t.QueryRowContext(ctx, "SELECT to_regclass('migration') IS NOT NULL").Scan(&there); err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	if !there {
		if _, err := t.ExecContext(ctx, "CREATE TABLE migration (number INTEGER PRIMARY KEY)"); err != nil {
			return 0, fmt.Errorf("making the schema: %w", err)
		}
	}
	if err := t.QueryRowContext(ctx, "SELECT count(*) FROM migration").Scan(&have); err != nil {
		return 0, fmt.Errorf("reading the schema's version: %w", err)
	}
	return have, nil
}

// owners says of a schema that this role may not change who may.
func owners(err error) error {
	const insufficientPrivilege = "42501"
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == insufficientPrivilege {
		return fmt.Errorf("the schema is not up to date, and this role may not change it: run tidings migrate with the role that owns it: %w", err)
	}
	return err
}

// byColumn is the statement for any number of rows that come as an array for each
// column: one round trip, and few parameters.
func (s bulkStatement) byColumn() string {
	arrays := make([]string, len(s.types))
	for i, letter := range s.types {
		arrays[i] = "$" + strconv.Itoa(i+1) + "::" + map[rune]string{'i': "bigint", 't': "text", 'b': "bytea"}[letter] + "[]"
	}
	rows := "unnest(" + strings.Join(arrays, ", ") + ")"
	if s.columns != "" {
		return strings.ReplaceAll(s.columns, ":rows", rows)
	}
	return s.before + "SELECT * FROM " + rows + s.behind
}

// columnsOf turns rows into the arrays of their columns.
func columnsOf(types string, rows []any) []any {
	out := make([]any, len(types))
	n := len(rows) / len(types)
	for c, letter := range types {
		switch letter {
		case 'i':
			out[c] = column(rows, c, len(types), n, wholeNumber)
		case 't':
			out[c] = column(rows, c, len(types), n, func(v any) string { return v.(string) })
		case 'b':
			out[c] = column(rows, c, len(types), n, func(v any) []byte { return v.([]byte) })
		}
	}
	return out
}

func column[T any](rows []any, c, width, n int, value func(any) T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = value(rows[i*width+c])
	}
	return out
}

func wholeNumber(v any) int64 {
	if n, ok := v.(int); ok {
		return int64(n)
	}
	return v.(int64)
}
