package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"tidings"
)

// connection reads a database's URL, and finds out whether a pooler stands before
// the database.
func connection(ctx context.Context, o Options) (cfg *pgx.ConnConfig, pooled bool, err error) {
	if cfg, err = parsed(o.Database, o.Timeout); err != nil {
		return nil, false, err
	}
	if pooled, err = behindPooler(ctx, cfg, o.Timeout); err != nil {
		return nil, false, tidings.Unavailable(time.Second, err, "The database cannot be opened.")
	}
	if pooled {
		cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
		return cfg, true, nil
	}
	// Whatever becomes of this process or of the network, the server ends what a
	// session left behind, in the time that this side waits for it.
	for name, limit := range sessionTimeouts(o.Timeout) {
		if _, own := cfg.RuntimeParams[name]; !own {
			cfg.RuntimeParams[name] = limit
		}
	}
	return cfg, false, nil
}

// parsed reads a URL. To connect may take so long, unless it says otherwise.
func parsed(url string, limit time.Duration) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, tidings.Invalid("", "The database's URL cannot be read; it is like postgres://user@host/database.") // the error holds the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = limit
	}
	return cfg, nil
}

// sessionTimeouts are the settings that end what hangs, in milliseconds. Behind a
// pooler a writer's transaction makes them.
func sessionTimeouts(limit time.Duration) map[string]string {
	return map[string]string{
		"statement_timeout": milliseconds(limit), "tcp_user_timeout": milliseconds(limit),
		// Less, so that those who wait for their turn behind it do not give up first.
		"idle_in_transaction_session_timeout": milliseconds(limit / 2),
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// behindPooler tells whether a pooler, such as PgBouncer, stands before the
// database: then the process that serves a statement is none that the connection
// was given. Statements that are prepared and settings of a session would then meet
// another's, so that there must be none.
func behindPooler(ctx context.Context, cfg *pgx.ConnConfig, limit time.Duration) (pooled bool, err error) {
	ctx, end := bounded(ctx, limit)
	defer end()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var serves uint32
	err = conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&serves)
	return serves != conn.PgConn().PID(), err
}

// stmt prepares a statement once, to be run behind what waits; all of them are
// constants of this package.
func (t *tx) stmt(query string) (runner, error) {
	if err := t.send(); err != nil {
		return nil, err
	}
	if t.w.unprepared {
		return unprepared{t.w.conn, t.w.d.bind(query)}, nil
	}
	if s := t.w.stmts[query]; s != nil {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(t.ctx, t.w.d.bind(query))
	if err != nil {
		return nil, err
	}
	t.w.stmts[query] = s
	return s, nil
}

// runner runs one statement.
type runner interface {
	ExecContext(ctx context.Context, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, args ...any) *sql.Row
}

// unprepared is a statement that is sent with its text each time.
type unprepared struct {
	conn *sql.Conn
	text string
}

// ExecContext runs it.
func (u unprepared) ExecContext(ctx context.Context, args ...any) (sql.Result, error) {
	return u.conn.ExecContext(ctx, u.text, args...)
}

// QueryContext runs it and gives the rows.
func (u unprepared) QueryContext(ctx context.Context, args ...any) (*sql.Rows, error) {
	return u.conn.QueryContext(ctx, u.text, args...)
}

// QueryRowContext runs it and gives the first row.
func (u unprepared) QueryRowContext(ctx context.Context, args ...any) *sql.Row {
	return u.conn.QueryRowContext(ctx, u.text, args...)
}
