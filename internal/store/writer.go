package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"tidings"
)

// maxBatchRows bounds one transaction.
const maxBatchRows = 2000

// writer is the one goroutine that writes. It drains what has queued up, runs
// it in one transaction, commits (which syncs to disk), and only then releases
// those who wait and wakes the lanes. There is no timer: while one sync runs,
// the next batch collects itself.
type writer struct {
	d          database
	db         *sql.DB
	conn       *sql.Conn
	lost       bool                    // the connection broke
	asked      bool                    // for the commit of the batch that runs
	node       int64                   // the number of this server among those who share the database; 0: a visitor
	holding    atomic.Pointer[holding] // nil: it has not begun to deliver
	herald     *herald                 // nil: there are no other nodes
	clock      *clock
	corrected  bool // the clock, by the database's
	stmts      map[string]*sql.Stmt
	bulk       bulk                                    // what the batch that runs has collected
	scanWhole  func(scanner) (tidings.Issuance, error) // see Store.scanWhole; there before the first item with foresight
	remote     bool                                    // the database is another process: round trips count, and others may write to it
	recent     *recent                                 // see there
	version    uint32                                  // of the database, which changes when another process writes
	in         *inlets
	keys       keys
	keysKept   int64 // see tx.keepKeys
	shared     bool  // this process visits a store that a server may hold open
	now        func() time.Time
	log        *slog.Logger
	onWake     func([]tidings.Wake)
	onCommit   func(Commit)
	trace      func(context.Context) (string, func(error)) // nil: nothing is traced
	onFatal    func(error)
	limit      time.Duration                 // for one transaction; 0: none
	unprepared bool                          // see [behindPooler]
	failing    atomic.Pointer[error]         // the storage trouble of the newest batch, nil when it went well
	retention  time.Duration                 // see late
	pace       time.Duration                 // how long a batch takes until its commit, the newest weighing most; without house-keeping: a slow disk gives that no more to do
	traffic    atomic.Int64                  // when the newest batch with more than house-keeping was committed, in nanoseconds since 1970
	changed    atomic.Pointer[chan struct{}] // closed and renewed when events were committed
	tallies    tallies
	expander
	stopped chan struct{}
}

func newWriter(ctx context.Context, d database, db *sql.DB, c *clock, o Options) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the writer's connection: %w", err)
	}
	w := &writer{
		d: d, db: db, conn: conn, stmts: map[string]*sql.Stmt{}, in: newInlets(),
		expander: expander{expanding: true}, keys: keys{node: serverNode}, remote: o.Database != "", retention: o.Retention, limit: o.Timeout, unprepared: o.pooled, shared: o.Shared, clock: c, corrected: o.Correct, now: c.now, log: o.Log, onWake: o.OnWake, onCommit: o.OnCommit, trace: o.Trace, onFatal: o.OnFatal, stopped: make(chan struct{}),
	}
	if !w.remote && !w.shared {
		w.recent = &recent{}
	}
	if w.onCommit == nil {
		w.onCommit = func(Commit) {}
	}
	if w.onWake == nil {
		w.onWake = func([]tidings.Wake) {}
	}
	if w.onFatal == nil {
		w.onFatal = func(err error) { panic(err) }
	}
	changed := make(chan struct{})
	w.changed.Store(&changed)
	if o.Shared {
		w.keys.node = visitorNode
	}
	go w.run()
	return w, nil
}

// submit queues a write and waits until it is durable. When ctx ends, or a
// transition has waited too long, it is withdrawn if the writer has not begun
// it; otherwise its outcome is awaited, so that the answer is always true.
func (w *writer) submit(ctx context.Context, c class, organisation int64, rows int, do func(*tx) error) error {
	return w.await(ctx, &item{class: c, organisation: organisation, rows: rows, do: do})
}

// wait queues an item and waits for it, as submit says.
func (w *writer) wait(ctx context.Context, it *item) error {
	it.done = make(chan struct{})
	if err := w.in.push(it); err != nil {
		return err
	}
	var patience <-chan time.Time
	if it.class == classTransition {
		timer := time.NewTimer(transitionPatience)
		defer timer.Stop()
		patience = timer.C
	}
	select {
	case <-it.done:
		return it.err
	case <-patience:
		if w.in.withdraw(it) {
			return tidings.Unavailable(time.Second, nil, "The store is overloaded; try again.")
		}
	case <-ctx.Done():
		if w.in.withdraw(it) {
			return tidings.Unavailable(time.Second, ctx.Err(), "The request ended before it was stored.")
		}
	}
	<-it.done
	return it.err
}

// submitAll queues several writes and waits until each is durable or refused.
func (w *writer) submitAll(c class, rows int, writes []func(*tx) error) []error {
	errs := make([]error, len(writes))
	items := make([]item, len(writes))
	for i, do := range writes {
		items[i] = item{class: c, rows: rows, do: do, done: make(chan struct{})}
		errs[i] = w.in.push(&items[i])
	}
	for i := range items {
		if errs[i] == nil {
			<-items[i].done
			errs[i] = items[i].err
		}
	}
	return errs
}

func (w *writer) run() {
	defer close(w.stopped)
	for range w.in.ready {
		// Who can run has mostly something to add to the batch, and a commit costs
		// nearly the same for many as for one. Where nobody can, it takes no time.
		runtime.Gosched()
		items, open := w.in.drain(maxBatchRows)
		items, step := w.withStep(items)
		for len(items) > 0 {
			n := w.commit(items)
			runtime.Gosched() // whoever was woken: what goes to a receiver now shall not wait for the answers
			for _, it := range items[:n] {
				close(it.done)
			}
			items = items[n:]
		}
		if !open {
			return
		}
		w.goOn(step)
	}
}

// commit runs items in one transaction, as many as fit, and tells how many. An
// item that fails harms no neighbour: then the batch runs again, each item in a
// savepoint of its own. That costs only those batches in which one fails. Where the
// connection is found to be gone before a commit was asked for, nothing has
// happened, and another connection is tried.
func (w *writer) commit(items []*item) int {
	n, err := w.batch(items, false)
	if gone(err) && !w.asked {
		n, err = w.batch(items, false)
	}
	if errors.Is(err, errIsolate) {
		n, err = w.batch(items[:n], true)
	}
	if err != nil {
		w.recent.forget() // nobody knows what was committed
		err = w.storageError(err)
		for _, it := range items[:n] {
			it.err = err
		}
		return n
	}
	if w.failing.Swap(nil) != nil {
		w.log.Info("storage works again")
	}
	return n
}

// errIsolate asks for the batch to be run again with savepoints.
var errIsolate = errors.New("an item of the batch failed")

func (w *writer) batch(items []*item, isolate bool) (n int, err error) {
	begun := time.Now()
	w.asked = false
	t := &tx{w: w, isolate: isolate, alone: houseOnly(items), now: w.now().UnixMilli(), keys: w.keys, keysKept: w.keysKept, endpoints: map[int64][]fanEndpoint{}, waiting: map[int64]bool{}, postponing: w.postponing()}
	w.bulk.reset()
	var end context.CancelFunc
	t.ctx, end = bounded(context.Background(), w.limit)
	defer end()
	if err := t.begin(); err != nil {
		return len(items), err
	}
	t.noteOthers()
	for n < len(items) && t.rows < maxBatchRows {
		it := items[n]
		n++
		it.err = nil
		err := t.lookAhead(items[n-1:])
		if err == nil {
			err = t.run(it)
		}
		if err != nil {
			w.rollback()
			if errors.Is(err, errIsolate) {
				return n, err
			}
			return len(items), err
		}
	}
	err = t.flush()
	if err == nil {
		err = t.send()
	}
	if err != nil {
		w.rollback()
		if errors.Is(err, errIsolate) {
			return n, err
		}
		return len(items), err
	}
	ran := time.Since(begun)
	w.asked = true
	if err := t.control("COMMIT"); err != nil {
		w.rollback()
		return len(items), err
	}
	w.keys, w.keysKept, w.expanding = t.keys, t.keysKept, t.expanding || t.postponed
	if t.holding != nil {
		w.holding.Store(t.holding)
	}
	w.tallies.add(t.tallies)
	t.keepRecent()
	if !t.alone {
		w.traffic.Store(time.Now().UnixNano())
		w.pace += (ran - t.house - w.pace) / 8
	}
	if t.told {
		w.announce()
	}
	w.herald.tell(t)
	if len(t.wakes) > 0 {
		w.onWake(t.wakes)
	}
	w.onCommit(Commit{Rows: t.rows, Took: time.Since(begun), Events: t.events, States: t.states, Ended: t.ended})
	return n, nil
}

// announce tells those who wait for events in this process.
func (w *writer) announce() {
	fresh := make(chan struct{})
	close(*w.changed.Swap(&fresh))
}

func (w *writer) rollback() {
	ctx, end := bounded(context.Background(), w.limit)
	defer end()
	// Some errors have rolled back already; then this finds nothing to do.
	_, err := w.conn.ExecContext(ctx, "ROLLBACK")
	w.lost = lost(err)
}

func (w *writer) close() error {
	w.in.close()
	<-w.stopped
	for _, s := range w.stmts {
		s.Close()
	}
	err := w.conn.Close()
	if w.lost {
		err = nil
	}
	return errors.Join(err, w.db.Close())
}

// tx is the writer's transaction while a batch runs.
type tx struct {
	w         *writer
	ctx       context.Context
	now       int64 // epoch milliseconds; goes back with the clock, unlike the keys
	keys      keys
	keysKept  int64
	rows      int           // written so far, or collected
	waits     pipeline      // written, but not sent yet
	isolate   bool          // each item stands in a savepoint
	direct    bool          // nothing is collected: the item is done statement by statement
	alone     bool          // it holds house-keeping only
	house     time.Duration // spent on that
	until     time.Time     // when the present step of it has to end
	told      bool          // an event was accepted
	wakes     []tidings.Wake
	backlog   []backlogChange
	tallies   []counted
	freed     bool                    // shards were given free
	holding   *holding                // not nil: what this node holds once this is committed
	events    []tidings.EventType     // accepted
	states    []tidings.IssuanceState // that issuances entered
	ended     []Ended                 // deliveries
	endpoints map[int64][]fanEndpoint // by organisation, as read in this batch
	trace     string                  // of the item that runs
	ahead     bool                    // what the items will ask for was read
	stirred   bool                    // issuances may have changed in a way that known says nothing of
	made      []recentIssuance
	known     known
	waiting   map[int64]bool // by issuance, whether an event of it was pending then
	postponing
}

type backlogChange struct {
	endpoint int64
	by       int
}

// run runs one item. Refusals that wrote nothing need no undoing.
func (t *tx) run(it *item) error {
	rows, wakes, backlog, tallies := t.rows, len(t.wakes), len(t.backlog), len(t.tallies)
	events, states, ended := len(t.events), len(t.states), len(t.ended)
	if t.isolate {
		if err := t.control("SAVEPOINT item"); err != nil {
			return err
		}
	}
	if it.class == classHouse {
		begun := time.Now()
		t.until = begun.Add(t.w.houseShare(t.alone))
		defer func() { t.house += time.Since(begun) }()
	}
	t.direct, t.trace, t.class, t.fanned = t.isolate, it.trace, it.class, 0
	var err error
	if it.class != classResult && it.class != classExpansion && !it.foresees() {
		err = t.oneByOne()
		t.forget()
		t.stirred = true
	}
	if err == nil {
		err = it.do(t)
	}
	if err == nil && t.isolate {
		err = t.send() // its faults shall be its own
	}
	switch {
	case errors.Is(err, errIsolate):
		return err
	case err == nil || t.rows == rows && judge(err) == faultNone:
		it.err = err
	case judge(err) > faultRow:
		return err // the storage, not the item
	case !t.isolate:
		return errIsolate
	default:
		it.err = err
		t.wakes, t.backlog, t.tallies = t.wakes[:wakes], t.backlog[:backlog], t.tallies[:tallies]
		t.events, t.states, t.ended = t.events[:events], t.states[:states], t.ended[:ended]
		clear(t.endpoints)
		t.forget()
		t.expanding, t.audiences = t.expanding || it.class == classExpansion, nil
		t.waits = pipeline{}
		if err := t.control("ROLLBACK TO item"); err != nil {
			return err
		}
	}
	if t.isolate {
		return t.control("RELEASE item")
	}
	return nil
}

// flush writes what is kept per batch: the lanes' counts and the last key.
func (t *tx) flush() error {
	if err := t.settle(); err != nil {
		return err
	}
	sums := map[int64]int{}
	for _, c := range t.backlog {
		sums[c.endpoint] += c.by
	}
	var changes rows
	for endpoint, by := range sums {
		if by != 0 {
			changes.add(endpoint, by)
		}
	}
	if err := t.writeRows(countLanes, &changes); err != nil {
		return err
	}
	if t.w.remote && slices.ContainsFunc(t.wakes, func(w tidings.Wake) bool { return w.Changed }) {
		if err := t.later("INSERT INTO counter (name, value) VALUES ('changes', $1) ON CONFLICT (name) DO UPDATE SET value = counter.value + 1", 1); err != nil {
			return err
		}
	}
	return t.keepKeys()
}

// begin opens the transaction.
func (t *tx) begin() error {
	if err := t.connect(); err != nil {
		return err
	}
	for _, statement := range t.w.d.begin() {
		if err := t.later(statement); err != nil {
			t.w.rollback()
			return err
		}
	}
	if t.w.remote {
		err := t.look()
		if err != nil {
			t.w.rollback()
		}
		return err
	}
	if !t.w.shared && t.keys.last != 0 {
		return nil
	}
	// The first batch, or other processes give out keys of this node too.
	err := t.queryRow("SELECT value FROM counter WHERE name = $1", []any{t.keys.counter()}, &t.keys.last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.w.rollback()
		return err
	}
	t.w.keys.last = t.keys.last
	return nil
}

// control runs a statement that changes no row.
func (t *tx) control(statement string) error {
	stmt, err := t.stmt(statement)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(t.ctx)
	return err
}

// key gives a new key.
func (t *tx) key() int64 { return t.keys.next(t.now) }

// wake asks for a wake of the lane after the commit.
func (t *tx) wake(w tidings.Wake) { t.wakes = append(t.wakes, w) }

// count changes a lane's backlog when the batch is flushed.
func (t *tx) count(endpoint int64, by int) {
	t.backlog = append(t.backlog, backlogChange{endpoint, by})
}

// exec runs a statement and tells how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	stmt, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	t.rows += int(n)
	return n, err
}

// queryRow reads one row, as the transaction sees it.
func (t *tx) queryRow(query string, args []any, dest ...any) error {
	stmt, err := t.stmt(query)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(t.ctx, args...).Scan(dest...)
}

// query reads rows and hands each to scan.
func (t *tx) query(query string, args []any, scan func(scanner) error) error {
	stmt, err := t.stmt(query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(t.ctx, args...)
	if err != nil {
		return err
	}
	return eachRow(rows, scan)
}
