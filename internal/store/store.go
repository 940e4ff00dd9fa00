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
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"tidings"
)

// defaultTimeout is how long PostgreSQL may take.
const defaultTimeout = 10 * time.Second

// Options says which store to open and how.
type Options struct {
	Dir    string // the data folder of the embedded database; made with mode 0700 where it is missing
	Shared bool   // do not take the database for this process alone: for commands beside a running server
	// Database is the URL of a PostgreSQL (postgres://…), instead of the folder.
	Database string
	// ListenAt is another URL of that database, for LISTEN, where Database leads
	// through a pooler in transaction mode.
	ListenAt string
	// Timeout is how long a read, or a transaction of the writer, may take on
	// PostgreSQL before the database counts as away; default 10 s.
	Timeout time.Duration
	pooled  bool // a pooler was found before it

	// Connections is how many connections to PostgreSQL read at once; default 10.
	// The writer has some of its own.
	Connections int

	// Home names, where it is not empty, a place that takes one server at a time,
	// such as an address to listen on: a node that was there before has ended.
	Home string
	// Lease is how long a node of several holds its shards without a sign of life;
	// default 30 s.
	Lease time.Duration

	Now func() time.Time // the clock; default time.Now
	// Correct sets that clock by PostgreSQL's, which all nodes share. It says nothing
	// to the embedded database.
	Correct bool
	Log     *slog.Logger // default slog.Default()

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
	// OnCommit is called after each commit with what it made durable, for those
	// who count. It must not block and must not write to the store.
	OnCommit func(Commit)
	// Trace begins the span of a write that somebody waits for. It gives its place
	// in the trace (traceparent of W3C Trace Context), which the events that the
	// write accepts keep; empty: it is not recorded. end is told how the write ended.
	// nil: nothing is traced.
	Trace func(ctx context.Context) (traceparent string, end func(error))
	// OnFatal is called when the disk no longer keeps what it was told to keep
	// (a failed fsync): the process
	// must end, as nothing that it knows is certain any more. Default: panic.
	OnFatal func(error)
}

// Store is an open store.
type Store struct {
	db    database
	dir   string // the data folder; empty with PostgreSQL
	now   func() time.Time
	ids   ids
	reads *statements
	w     *writer

	maxEndpoints    int
	home            string // of a node
	listenAt        *pgx.ConnConfig
	lease           time.Duration // of a node
	retention       time.Duration
	claimsRetention time.Duration
	logCutAt        atomic.Int64 // milliseconds
	logHasClaims    atomic.Bool  // the log may hold claims that were deleted; see cutLog
	statusListSize  int64        // how many entries a status list has; less only in tests
	places          statusPools
	dropped         atomic.Int64 // the newest delivery that Retain has looked at

	// When to try again (milliseconds) what somebody who reads for long keeps from
	// being done, and the period of which too much would live on.
	partAgain, dropAgain, forgetAgain atomic.Int64
	crowded                           atomic.Pointer[period]
}

// Open opens the store in a folder, makes it where there is none, and brings
// its schema up to date.
func Open(ctx context.Context, o Options) (_ *Store, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.Timeout, o.Connections = cmp.Or(o.Timeout, defaultTimeout), cmp.Or(o.Connections, 10)
	if o.Database == "" {
		o.Timeout = 0 // nothing is between the process and its file
	}
	s := &Store{maxEndpoints: cmp.Or(o.MaxEndpoints, tidings.MaxEndpoints), retention: o.Retention, claimsRetention: o.ClaimsRetention,
		statusListSize: tidings.StatusListSize, lease: max(cmp.Or(o.Lease, 30*time.Second), leastLease)}
	ownClock := &clock{own: o.Now}
	s.now = ownClock.now
	s.logHasClaims.Store(true) // a crash can have left some
	s.crowded.Store(&period{})
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	writes, reads, err := s.open(ctx, &o)
	if err != nil {
		return nil, err
	}
	s.reads = &statements{db: reads, bind: s.db.bind, limit: o.Timeout, idle: o.Connections, unprepared: o.pooled, byText: map[string]*sql.Stmt{}}
	if s.w, err = newWriter(ctx, s.db, writes, ownClock, o); err != nil {
		return nil, errors.Join(err, writes.Close())
	}
	if o.Database != "" && !o.Shared {
		s.w.herald = newHerald(writes, o.Timeout)
		if s.listenAt, err = parsed(cmp.Or(o.ListenAt, o.Database), o.Timeout); err != nil {
			return nil, err
		}
		if err := s.join(ctx, o.Home); err != nil {
			return nil, err
		}
	}
	idKey, err := s.Secret(ctx, "id-key", func() ([]byte, error) { return randomBytes(16), nil })
	if err != nil {
		return nil, err
	}
	s.ids, err = newIDs(idKey)
	s.w.scanWhole = s.scanWhole
	if err != nil || o.Shared {
		return s, err
	}
	if _, err := s.Partition(ctx, 0); err != nil {
		return nil, err
	}
	s.startExpanding()
	return s, s.rememberClaimsRetention(ctx)
}

// open opens the database that the options name, and notes what it found.
func (s *Store) open(ctx context.Context, o *Options) (writes, reads *sql.DB, err error) {
	if o.Database == "" {
		e, writes, reads, err := openEmbedded(ctx, *o)
		if err == nil {
			s.db, s.dir = e, o.Dir
		}
		return writes, reads, err
	}
	p, writes, reads, err := openPostgres(ctx, *o)
	if err == nil {
		s.db, o.pooled = p, p.pooled
	}
	return writes, reads, err
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
	if s.db != nil {
		errs = append(errs, s.db.release())
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
	_, free, err := s.db.size(ctx, s.reads.db)
	if err != nil {
		return err
	}
	if free >= 0 && free < lowDisk {
		return fmt.Errorf("the disk is full: %d bytes are free", free)
	}
	if s.w.trouble() != nil {
		if err := s.w.try(ctx); err != nil {
			return err
		}
	}
	var one int
	return s.queryRow(ctx, "SELECT 1", nil, &one)
}

// Quiet tells whether nothing but house-keeping was written for a while, so
// that there is no need to pause between its steps.
func (s *Store) Quiet() bool { return s.w.quiet() }

// ErrLocked says that another process serves this store.
var ErrLocked = errors.New("the store is in use")
