package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	_ "modernc.org/sqlite" // the driver "sqlite": SQLite in pure Go, so that one static binary carries it

	"tidings"
	"tidings/internal/sqlitelog"
)

// embedded is the database of one process: SQLite in a folder.
type embedded struct {
	dir  string
	lock *flock.Flock // nil for a visitor
}

// minSQLite is the first version without the WAL-reset bug, which could lose
// commits.
const minSQLite = "3.51.3"

// pageSize is SQLite's, in bytes.
const pageSize = 4096

// openEmbedded opens the database of a folder, makes both where there are none,
// and brings the schema up to date.
func openEmbedded(ctx context.Context, o Options) (_ *embedded, writes, reads *sql.DB, err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, nil, nil, fmt.Errorf("making the data folder: %w", err)
	}
	e := &embedded{dir: o.Dir}
	if !o.Shared {
		if e.lock, err = lockFolder(o.Dir); err != nil {
			return nil, nil, nil, err
		}
	}
	defer func() {
		if err == nil {
			return
		}
		err = errors.Join(err, e.release())
		if writes != nil {
			err = errors.Join(err, writes.Close())
		}
	}()
	if err := touch(e.file()); err != nil {
		return nil, nil, nil, fmt.Errorf("making the database file: %w", err)
	}
	if err := sqlitelog.Register(); err != nil {
		return nil, nil, nil, err
	}
	if writes, err = sql.Open("sqlite", dsn(e.file(), false)); err != nil {
		return nil, nil, nil, fmt.Errorf("opening the database: %w", err)
	}
	writes.SetMaxOpenConns(1)
	if err := synced(ctx, writes); err != nil {
		return nil, writes, nil, tidings.Unavailable(time.Second, err, "The database %s cannot be opened", e.file())
	}
	if err := migrate(ctx, writes, o.Shared); err != nil {
		return nil, writes, nil, err
	}
	if err := e.sizeLog(ctx, writes); err != nil {
		return nil, writes, nil, err
	}
	if reads, err = sql.Open("sqlite", dsn(e.file(), true)); err != nil {
		return nil, writes, nil, err
	}
	reads.SetMaxOpenConns(8)
	reads.SetMaxIdleConns(8)
	return e, writes, reads, nil
}

// synced wants of the writer's connections that a commit is on disk when it
// returns: everything that is promised rests on that.
func synced(ctx context.Context, writes interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) error {
	const full = 2
	var level int
	if err := writes.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level); err != nil {
		return fmt.Errorf("asking how commits are synced: %w", err)
	}
	if level < full {
		return fmt.Errorf("commits are not synced to disk: synchronous is %d", level)
	}
	return nil
}

// sizeLog says how long the log gets before it is written back into the database.
func (e *embedded) sizeLog(ctx context.Context, writes *sql.DB) error {
	free, err := freeBytes(e.dir)
	if err != nil {
		return fmt.Errorf("measuring the disk: %w", err)
	}
	if _, err := writes.ExecContext(ctx, fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", logPages(free))); err != nil {
		return fmt.Errorf("setting the size of the log: %w", err)
	}
	return nil
}

// logPages gives the length of the log on a disk with so many bytes free. The longer
// it gets, the more changes of a page go back as one: up to 16 MiB. Where there is
// little room it stays at SQLite's own 4 MiB, as a long one would keep a full disk
// full.
func logPages(free int64) int64 {
	const least, most, share = 1000, 4000, 64
	return min(max(free/share/pageSize, least), most)
}

func (e *embedded) file() string { return filepath.Join(e.dir, "tidings.db") }

// bind turns $1 into what SQLite knows: into ? where the numbers stand in their
// order, else into ?1. For SQLite the latter is a name, and to find the names
// costs the square of how many there are.
func (e *embedded) bind(query string) string {
	out := make([]byte, 0, len(query))
	for rest, n := query, 1; ; n++ {
		before, after, found := strings.Cut(rest, "$")
		out = append(out, before...)
		if !found {
			return string(out)
		}
		number := strconv.Itoa(n)
		if !strings.HasPrefix(after, number) || len(after) > len(number) && after[len(number)] >= '0' && after[len(number)] <= '9' {
			return strings.ReplaceAll(query, "$", "?")
		}
		out, rest = append(out, '?'), after[len(number):]
	}
}

// begin takes the lock for writing at once, so that a transaction never has to
// be given up half-way for another process's.
func (e *embedded) begin() []string { return []string{"BEGIN IMMEDIATE"} }

func (e *embedded) moment(ctx context.Context, reads *sql.DB) (snapshot *sql.Tx, damage string, err error) {
	if snapshot, err = reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
		return nil, "", err
	}
	if err := snapshot.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&damage); err != nil {
		return nil, "", errors.Join(fmt.Errorf("checking the file: %w", err), snapshot.Rollback())
	}
	return snapshot, damage, nil
}

func (e *embedded) size(context.Context, *sql.DB) (bytes, free int64, err error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(e.file() + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, 0, fmt.Errorf("measuring the database: %w", err)
		}
		if err == nil {
			bytes += info.Size()
		}
	}
	if free, err = freeBytes(e.dir); err != nil {
		return 0, 0, fmt.Errorf("measuring the disk: %w", err)
	}
	return bytes, free, nil
}

func (e *embedded) release() error {
	if e.lock == nil {
		return nil
	}
	return e.lock.Unlock()
}

func lockFolder(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, "serve.lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the data folder: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: another tidings process already serves %s; one folder takes one server, so stop that one or choose another folder with --data", ErrLocked, dir)
	}
	return lock, nil
}

// touch makes the database file with mode 0600; SQLite gives the same mode to
// the files that it lays beside it.
func touch(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func dsn(file string, readOnly bool) string {
	q := url.Values{"vfs": {sqlitelog.VFS}}
	pragmas := []string{
		"busy_timeout(5000)",
		"auto_vacuum(incremental)", // before the first table, or it never works
		"synchronous(full)",        // before the log, which [sqlitelog] gathers until it is synced
		"journal_mode(wal)",
		"foreign_keys(off)", // the writer keeps them; checking costs a look-up per row
		"cache_size(-8192)", // in KiB; it takes twice that, as a page with its header just misses a power of two
		"temp_store(memory)",
		"journal_size_limit(67108864)",
		"secure_delete(1)", // what is deleted is overwritten: claims are personal
	}
	if readOnly {
		q.Del("vfs")
		pragmas = []string{"busy_timeout(5000)", "query_only(1)", "cache_size(-512)", "temp_store(memory)"}
	}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: q.Encode()}).String()
}
