// Package store keeps everything durable. Every exported write is one
// transaction; what must become known after a commit is told by wakes.
//
// The embedded database is SQLite in WAL mode with synchronous=FULL: when a
// write returns, it is on disk. One goroutine, the writer, makes all writes
// and commits them in groups (see writer.go); reads run beside it.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	_ "modernc.org/sqlite" // the driver "sqlite": SQLite in pure Go, so that one static binary carries it

	"tidings"
)

// Options says which store to open and how.
type Options struct {
	Dir    string           // the data folder; made with mode 0700 where it is missing
	Shared bool             // do not take the folder for this process alone: for commands beside a running server
	Now    func() time.Time // the clock; default time.Now
	Log    *slog.Logger     // default slog.Default()

	// MaxEndpoints is how many endpoints an organisation may have; default
	// tidings.MaxEndpoints.
	MaxEndpoints int

	// Retention is how long events and deliveries are kept; 0 keeps them for ever.
	Retention time.Duration

	// ClaimsRetention is how long the claims of an ended issuance are kept; 0 keeps
	// them for ever.
	ClaimsRetention time.Duration

	// OnWake is called after each commit that gave lanes something to do. It
	// must not block and must not write to the store.
	OnWake func([]tidings.Wake)
	// OnFatal is called when the disk no longer keeps what it was told to keep
	// (a failed fsync): the process must end, as nothing known of the files is
	// certain any more. Default: panic.
	OnFatal func(error)
}

// Store is an open store.
type Store struct {
	dir   string
	lock  *flock.Flock
	now   func() time.Time
	ids   ids
	reads *statements
	w     *writer

	maxEndpoints    int
	retention       time.Duration
	claimsRetention time.Duration
	logCutAt        atomic.Int64 // milliseconds
	logHasClaims    atomic.Bool  // the log may hold claims that were deleted; see cutLog
	statusListSize  int64        // how many entries a status list has; less only in tests
	places          statusPools
	dropped         atomic.Int64 // the newest delivery that Retain has looked at
}

// minSQLite is the first version without the WAL-reset bug, which could lose
// commits.
const minSQLite = "3.51.3"

// Open opens the store in a folder, makes it where there is none, and brings
// its schema up to date.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	s := &Store{dir: o.Dir, now: o.Now, maxEndpoints: cmp.Or(o.MaxEndpoints, tidings.MaxEndpoints), retention: o.Retention, claimsRetention: o.ClaimsRetention,
		statusListSize: tidings.StatusListSize}
	s.logHasClaims.Store(true) // a crash can have left some
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if !o.Shared {
		if s.lock, err = lockFolder(o.Dir); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(o.Dir, "tidings.db")
	if err := touch(file); err != nil {
		return nil, fmt.Errorf("making the database file: %w", err)
	}
	writes, err := sql.Open("sqlite", dsn(file, false))
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := migrate(ctx, writes, o.Shared); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	reads, err := sql.Open("sqlite", dsn(file, true))
	if err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	reads.SetMaxOpenConns(8)
	reads.SetMaxIdleConns(8)
	s.reads = &statements{db: reads, byText: map[string]*sql.Stmt{}}
	if s.w, err = newWriter(ctx, writes, o); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	idKey, err := s.Secret(ctx, "id-key", func() ([]byte, error) { return randomBytes(16), nil })
	if err != nil {
		return nil, err
	}
	if s.ids, err = newIDs(idKey); err != nil || o.Shared {
		return s, err
	}
	return s, s.rememberClaimsRetention(ctx)
}

// Close ends the writer after what it holds is committed, and gives the folder
// free.
func (s *Store) Close() error {
	var errs []error
	if s.w != nil {
		// What was counted of the last seconds. Where it cannot be written, the
		// trouble has been told already.
		for err := error(nil); err == nil && s.w.tallies.waiting(); {
			_, err = s.WriteTallies(context.Background(), maxBatchRows)
		}
		errs = append(errs, s.w.close())
	}
	if s.reads != nil {
		errs = append(errs, s.reads.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
	}
	return errors.Join(errs...)
}

// lowDisk is how much of the disk must be free: with less, some write or other
// fails at any moment, although a small one may still fit into what the
// database's files have.
const lowDisk = 256 << 10

// Ready tells whether the store answers reads and takes writes. After a write
// that failed it tries one: where requests are only sent to servers that are
// ready, nobody else would.
func (s *Store) Ready(ctx context.Context) error {
	free, err := freeBytes(s.dir)
	if err != nil {
		return fmt.Errorf("measuring the disk: %w", err)
	}
	if free < lowDisk {
		return fmt.Errorf("the disk is full: %d bytes are free", free)
	}
	if s.w.trouble() != nil {
		if err := s.w.try(ctx); err != nil {
			return err
		}
	}
	var one int
	return s.reads.row(ctx, "SELECT 1").Scan(&one)
}

// Quiet tells whether nothing but house-keeping was written for a while, so
// that there is no need to pause between its steps.
func (s *Store) Quiet() bool { return s.w.quiet() }

// ErrLocked says that another process serves this data folder.
var ErrLocked = errors.New("the data folder is in use")

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
	q := url.Values{}
	pragmas := []string{
		"busy_timeout(5000)",
		"auto_vacuum(incremental)", // before the first table, or it never works
		"journal_mode(wal)",
		"synchronous(full)",
		"foreign_keys(off)", // the writer keeps them; checking costs a look-up per row
		"cache_size(-8192)", // in KiB; it takes twice that, as a page with its header just misses a power of two
		"temp_store(memory)",
		"journal_size_limit(67108864)",
		"secure_delete(1)", // what is deleted is overwritten: claims are personal
	}
	if readOnly {
		pragmas = []string{"busy_timeout(5000)", "query_only(1)", "cache_size(-1024)", "temp_store(memory)"}
	}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: q.Encode()}).String()
}
