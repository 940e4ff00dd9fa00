// Package sqlinbox keeps the inbox of a [webhook.Handler] in a table of the
// program's own SQL database, PostgreSQL or SQLite:
//
//	inbox, err := sqlinbox.New(db, sqlinbox.PostgreSQL, "webhook_inbox")
//	…
//	if err := inbox.Migrate(ctx); err != nil {
//		…
//	}
//	handler := &webhook.Handler{Verifier: verifier, Inbox: inbox, Process: process}
//
// Any number of processes may use one table at the same time, if their clocks
// agree within some seconds: claims end by the clock. The package
// needs a driver that the program registers itself; it is tested with
// github.com/jackc/pgx/v5/stdlib and modernc.org/sqlite. Open SQLite with a
// busy timeout, without which a writer fails while another one writes, and in
// WAL mode; with modernc.org/sqlite:
//
//	file:inbox.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)
//
// # The table
//
// [Inbox.Migrate] makes the table; where another tool owns the schema, give it
// the statements of [Inbox.Schema]. A row is one event:
//
//	seq          order of arrival
//	id           the webhook-id; unique, so that a duplicate finds no place
//	type         for the reader of the table; the body says it, too
//	issuance_id  what the order is kept by; empty where the payload names none
//	sent_at      the timestamp of the request that was stored
//	attempt      its webhook-attempt
//	test         1 for a sample event
//	body         the bytes as they came
//	received_at  when it was stored
//	state        'pending', 'processed' or 'failed'
//	attempts     at processing it
//	due_at       when it is processed next; while it is claimed, when that claim ends
//	claim        names the claim; empty where there is none
//	settled_at   when the last attempt ended, 0 before
//	reason       the error of the last attempt
//
// All times are microseconds since 1970; to_timestamp(due_at / 1e6) and
// datetime(due_at / 1e6, 'unixepoch') show them. Events that failed are for a
// person to look at, and this has one processed again:
//
//	UPDATE webhook_inbox SET state = 'pending', attempts = 0, due_at = 0 WHERE id = '…';
package sqlinbox

import (
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"tidings/webhook"
)

// Dialect is a kind of SQL database.
type Dialect string

// The databases that an Inbox works with.
const (
	PostgreSQL Dialect = "postgresql" // 10 or newer
	SQLite     Dialect = "sqlite"     // 3.35 or newer
)

// DefaultTable is the table's name where New is given none.
const DefaultTable = "webhook_inbox"

// Errors of New.
var (
	// ErrDialect comes where the dialect is none of the constants.
	ErrDialect = errors.New("not a dialect")
	// ErrTable comes where the table's name is not made of up to 40 lower-case
	// letters, digits and _, with a letter first. For PostgreSQL a schema of
	// the same form and a full stop may stand before it.
	ErrTable = errors.New("not a name for the inbox's table")
)

// Inbox is a [webhook.Inbox] in a SQL table. It may be used by any number of
// goroutines. It must not be copied.
type Inbox struct {
	// Retention is how long the ids of processed events are kept; 0 means
	// webhook.DefaultRetention. Set it before the first use.
	Retention time.Duration

	db         *sql.DB
	dialect    Dialect
	statements statements
	pruned     atomic.Int64 // Unix time of the last pruning
}

var _ webhook.Inbox = (*Inbox)(nil)

var tableName = regexp.MustCompile(`^(?:([a-z][a-z0-9_]{0,39})\.)?([a-z][a-z0-9_]{0,39})$`)

// New makes an Inbox in a table of db; an empty name means DefaultTable. It
// does not touch the database. The error wraps [ErrDialect] or [ErrTable].
func New(db *sql.DB, dialect Dialect, table string) (*Inbox, error) {
	if dialect != PostgreSQL && dialect != SQLite {
		return nil, fmt.Errorf("%w: %q", ErrDialect, string(dialect))
	}
	if table == "" {
		table = DefaultTable
	}
	parts := tableName.FindStringSubmatch(table)
	if parts == nil || parts[1] != "" && dialect == SQLite {
		return nil, fmt.Errorf("%w: %q", ErrTable, table)
	}
	return &Inbox{db: db, dialect: dialect, statements: newStatements(dialect, parts[1], parts[2])}, nil
}
