package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx": PostgreSQL's protocol in pure Go, kept for a decade
)

// postgres is the shared database. Until lanes are shared over nodes, one server
// works on it at a time; the lock for that lives as long as a connection.
type postgres struct {
	pool *sql.DB
	lock *sql.Conn // nil for a visitor
}

// Keys of advisory locks ("tidings" and a number).
const (
	lockMigrate = 0x74696469_01
	lockWrite   = 0x74696469_02
	lockServe   = 0x74696469_03
)

// minPostgres is the first version that is known to work.
const minPostgres = 140000

// openPostgres opens the database of a URL and brings its schema up to date.
func openPostgres(ctx context.Context, o Options) (_ *postgres, pool *sql.DB, err error) {
	if pool, err = sql.Open("pgx", o.Database); err != nil {
		return nil, nil, errors.New("the database's URL cannot be read; it is like postgres://user@host/database") // the error holds the password
	}
	pool.SetMaxOpenConns(10)
	pool.SetMaxIdleConns(10)
	p := &postgres{pool: pool}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.release(), p.pool.Close())
		}
	}()
	var version int
	if err := pool.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, nil, fmt.Errorf("opening the database: %w", err)
	}
	if version < minPostgres {
		return nil, nil, fmt.Errorf("PostgreSQL %d is too old: 14 or newer is needed", version/10000)
	}
	if !o.Shared {
		if err := p.take(ctx); err != nil {
			return nil, nil, err
		}
	}
	return p, pool, migratePostgres(ctx, pool, o.Shared)
}

// take takes the database for this server alone.
func (p *postgres) take(ctx context.Context) (err error) {
	if p.lock, err = p.pool.Conn(ctx); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	var taken bool
	if err := p.lock.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", int64(lockServe)).Scan(&taken); err != nil {
		return fmt.Errorf("locking the database: %w", err)
	}
	if !taken {
		return fmt.Errorf("%w: another tidings process serves this database", ErrLocked)
	}
	return nil
}

// bind leaves the common SQL as it is, but for the order of joins, which it fixes
// for SQLite only: PostgreSQL knows how many rows there are.
func (p *postgres) bind(query string) string {
	return strings.ReplaceAll(query, "CROSS JOIN", "JOIN")
}

// begin lets one process write at a time, so that what a write reads in its
// transaction is the truth, as it is with one writer, and positions are in the
// order of the commits. A commit is on disk when it returns, whatever the server
// is set to. Where the process hangs, the lock ends with its
// transaction.
func (p *postgres) begin() []string {
	return []string{"BEGIN", "SET LOCAL idle_in_transaction_session_timeout = 10000", "SET LOCAL statement_timeout = 30000",
		"SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", int64(lockWrite))}
}

// moment says nothing of the files, which are the database server's.
func (p *postgres) moment(ctx context.Context, reads *sql.DB) (snapshot *sql.Tx, damage string, err error) {
	snapshot, err = reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	return snapshot, "ok", err
}

func (p *postgres) size(ctx context.Context, reads *sql.DB) (bytes, free int64, err error) {
	err = reads.QueryRowContext(ctx, "SELECT pg_database_size(current_database())").Scan(&bytes)
	return bytes, -1, err
}

func (p *postgres) release() error {
	if p.lock == nil {
		return nil
	}
	lock := p.lock
	p.lock = nil
	// A connection given back keeps its session's locks.
	_, err := lock.ExecContext(context.Background(), "SELECT pg_advisory_unlock_all()")
	if judge(err) == faultStorage {
		err = nil // the connection is gone, and the lock with it
	}
	if closed := lock.Close(); closed != nil && judge(closed) != faultStorage {
		err = errors.Join(err, closed)
	}
	return err
}

// migratePostgres runs the migrations that the database has not had yet, all in
// one transaction under a lock of that transaction, which a pooler leaves alone.
func migratePostgres(ctx context.Context, pool *sql.DB, shared bool) error {
	files, err := fs.Glob(migrations, "migrations/postgres/*.sql")
	if err != nil {
		return err
	}
	t, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer t.Rollback() // after the commit there is nothing to roll back
	if _, err := t.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(lockMigrate)); err != nil {
		return fmt.Errorf("locking the schema: %w", err)
	}
	if _, err := t.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY)"); err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	var have int
	if err := t.QueryRowContext(ctx, "SELECT count(*) FROM migration").Scan(&have); err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	if err := checkSchema(have, len(files), shared); err != nil {
		return err
	}
	for i := have; i < len(files); i++ {
		text, err := migrations.ReadFile(files[i])
		if err != nil {
			return err
		}
		if _, err := t.ExecContext(ctx, string(text)); err != nil {
			return fmt.Errorf("migration %s: %w", files[i], err)
		}
		if _, err := t.ExecContext(ctx, "INSERT INTO migration (number) VALUES ($1)", i+1); err != nil {
			return fmt.Errorf("migration %s: %w", files[i], err)
		}
	}
	return t.Commit()
}
