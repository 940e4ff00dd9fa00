package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// database is what differs between the two databases; all else, SQL included,
// is written once.
type database interface {
	// bind turns the common SQL into the database's own.
	bind(query string) string
	// begin gives the statements that open a transaction for writing.
	begin() []string
	// moment opens a transaction that reads the store as it is at one moment, and
	// says what is wrong with its files; "ok" if nothing is.
	moment(ctx context.Context, reads *sql.DB) (snapshot *sql.Tx, damage string, err error)
	// size tells how many bytes the database takes, and how many are free; -1:
	// that cannot be known from here.
	size(ctx context.Context, reads *sql.DB) (bytes, free int64, err error)
	// release gives free what is held for this process alone.
	release() error
}

// fault says what an error of the database means.
type fault int

const (
	faultNone    fault = iota // it is none of the database's
	faultRow                  // what was to be written cannot be: the item's own fault
	faultFull                 // there is no room on the disk
	faultSync                 // what was written may not be on the disk
	faultStorage              // any other: nothing can be written at the moment
)

// judge says what an error means.
func judge(err error) fault {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return judgeSQLite(e.Code())
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return judgePostgres(e.Code)
	}
	if lost(err) {
		return faultStorage
	}
	return faultNone
}

// lost tells whether an error says that the connection is gone.
func lost(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.SeverityUnlocalized == "FATAL" || e.SeverityUnlocalized == "PANIC"
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, gone := range []error{driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return err != nil && strings.Contains(err.Error(), "conn closed") // pgconn keeps this error for itself
}

// gone tells whether an error says that a connection was found to be gone, and not
// that the far side is silent: another one may do.
func gone(err error) bool {
	e, network := errors.AsType[net.Error](err)
	return lost(err) && !(network && e.Timeout())
}

func judgeSQLite(code int) fault {
	switch code {
	case 0:
		return faultNone
	case sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC:
		return faultSync
	}
	switch code & 0xff {
	case sqlite3.SQLITE_CONSTRAINT:
		return faultRow
	case sqlite3.SQLITE_FULL:
		return faultFull
	}
	return faultStorage
}

// judgePostgres reads a SQLSTATE (PostgreSQL's manual, appendix A). A failed sync
// is a panic of the server, which ends the connection: nothing was acknowledged.
func judgePostgres(state string) fault {
	switch {
	case strings.HasPrefix(state, "23"), strings.HasPrefix(state, "22"), strings.HasPrefix(state, "42"):
		return faultRow // a constraint, text that the database cannot hold, or a statement that it does not know
	case state == "53100":
		return faultFull
	}
	return faultStorage
}
