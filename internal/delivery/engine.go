// Package delivery sends pending deliveries to their endpoints, decides what
// follows from each answer, and records it.
//
// One goroutine, the engine's, owns all lanes. It hears of new rows by wakes
// after each commit, has lanes read by a few loaders, hands deliveries to
// workers, and collects their results, which a recorder makes durable in
// batches:
//
//	store ──wake──▶ engine ──▶ worker: sign, send, decide ──▶ engine ──▶ recorder ──▶ store
//	                   └─────▶ loader: read a lane ─────────────▲
//
// A retry is the same row, due again: there is no second path.
package delivery

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
)

// Store is what the engine needs of the store.
type Store interface {
	BusyLanes(ctx context.Context) ([]int64, error)
	Lane(ctx context.Context, endpoint int64) (tidings.Lane, error)
	Pending(ctx context.Context, endpoint int64, after tidings.QueuePosition, limit int) ([]tidings.PendingDelivery, error)
	OldestPending(ctx context.Context, endpoint int64) (tidings.PendingDelivery, error)
	Record(results []tidings.AttemptResult) []error
}

// Sender posts to strangers. It never follows a redirect, bounds what it reads,
// and gives up at the deadline, or when ctx ends.
type Sender interface {
	Post(ctx context.Context, deadline time.Time, url string, header http.Header, body []byte) Answer
}

// Config says how the engine works.
type Config struct {
	Policy         Policy                      // default DefaultPolicy
	AttemptTimeout time.Duration               // for one request, from dialling to the end of the answer; default 15 s
	MaxInFlight    int                         // attempts of all endpoints at the same time, but for slow ones; default 480
	DrainTimeout   time.Duration               // how long a stop waits for attempts in flight; default 20 s
	SweepEvery     time.Duration               // the safety net: how often lanes are read from their start; default 5 s
	UserAgent      string                      // default "Tidings"
	Sharded        bool                        // other nodes deliver too: nothing is sent but what [Engine.Hold] allows
	OnFree         func()                      // called, by the engine's goroutine, when [Engine.Free] has more to give; must not block
	OnResult       func(tidings.AttemptResult) // called, by the engine's goroutine, for each attempt that is on record; must not block
	Now            func() time.Time            // default time.Now
	Log            *slog.Logger                // default slog.Default()

	// Trace begins the span of an attempt at a URL whose event is traced. It gives
	// the traceparent that the receiver is sent, if one, and what is told of the
	// attempt's end. nil: nothing is traced.
	Trace func(d *tidings.PendingDelivery, url string) (traceparent string, end func(Answer))
}

func (c Config) withDefaults() Config {
	if c.Policy.RetrySchedule == nil {
		c.Policy = DefaultPolicy
	}
	if c.AttemptTimeout == 0 {
		c.AttemptTimeout = 15 * time.Second
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 480 // with connections that are about to be closed, fewer than 500 are open
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 20 * time.Second
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = 5 * time.Second
	}
	if c.UserAgent == "" {
		c.UserAgent = "Tidings"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.OnFree == nil {
		c.OnFree = func() {}
	}
	if c.OnResult == nil {
		c.OnResult = func(tidings.AttemptResult) {}
	}
	return c
}

const (
	loaders       = 4                      // lanes read at the same time
	maxUnrecorded = 2000                   // results that wait to be recorded; at that, nothing starts
	dormantFactor = 3                      // lanes with nothing due are swept so many times less often
	sleepPart     = 5                      // the longest sleep is this part of a sweep: a clock that is moved is noticed
	mutedAfter    = 15 * time.Second       // how long a lane rests whose result could not be recorded
	idleAfter     = time.Minute            // a lane with nothing to do is forgotten then
	targetLife    = 90 * time.Second       // how long an endpoint counts as read where another node may have changed it and crashed before it told; longer than a lane idles
	idleWorkers   = 64                     // workers kept for the next attempt
	slowLimit     = 4                      // slow attempts there may be, in multiples of MaxInFlight
	recordRetry   = 250 * time.Millisecond // between two tries to record
)

// Engine delivers. Make one with [New], then [Engine.Run] it.
type Engine struct {
	cfg    Config
	store  Store
	sender Sender

	userAgent []string // as every attempt's header has it

	happened chan struct{} // the signal of all mailboxes that the engine's goroutine reads
	wakes    *mailbox[tidings.Wake]
	finished *mailbox[attempted]
	recorded *mailbox[recording]
	loads    *mailbox[loaded]
	busy     *mailbox[int64]                 // lanes that have pending rows, from the safety net
	tenures  *mailbox[tidings.Tenure]        // what this node holds
	looks    *mailbox[Doubt]                 // wakes may have been lost
	results  *mailbox[tidings.AttemptResult] // towards the recorder
	loadJobs chan loadJob
	attempts chan *attempt // towards idle workers; nil ends one
	group    sync.WaitGroup

	// What follows belongs to the engine's goroutine.
	lanes       map[int64]*lane
	turns       turns
	timers      timers
	waitingLoad []*lane // want to be read, no loader is free
	freeLoaders int
	idle        int // workers that wait
	flight      flight
	shards      shards
	unrecorded  int
	troubled    bool // results cannot be recorded: nothing starts
	draining    bool
	swept       time.Time

	stats atomic.Pointer[Stats] // as of the last sweep
}

// New makes an engine.
func New(store Store, sender Sender, cfg Config) *Engine {
	cfg = cfg.withDefaults()
	happened := newSignal()
	return &Engine{
		cfg: cfg, store: store, sender: sender, userAgent: []string{cfg.UserAgent},
		happened: happened, wakes: newMailbox[tidings.Wake](happened), finished: newMailbox[attempted](happened), recorded: newMailbox[recording](happened),
		loads: newMailbox[loaded](happened), busy: newMailbox[int64](happened), results: newMailbox[tidings.AttemptResult](newSignal()),
		tenures: newMailbox[tidings.Tenure](happened), looks: newMailbox[Doubt](happened), shards: shards{free: map[int]int64{}, finishing: map[laneAt]*lane{}},
		loadJobs: make(chan loadJob, loaders), attempts: make(chan *attempt, (1+slowLimit)*cfg.MaxInFlight+idleWorkers),
		lanes: map[int64]*lane{}, freeLoaders: loaders, flight: flight{limit: cfg.MaxInFlight, slowLimit: slowLimit * cfg.MaxInFlight},
	}
}

// Wake tells of lanes that have something to do. It never blocks: the store
// calls it after each commit.
func (e *Engine) Wake(wakes []tidings.Wake) { e.wakes.put(wakes...) }

// Run delivers until ctx ends, then drains: nothing new starts, attempts in
// flight end and are recorded, or are given up when the drain time is over.
func (e *Engine) Run(ctx context.Context) error {
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	for range loaders {
		e.group.Go(func() { e.load(work) })
	}
	recorderDone := make(chan struct{})
	stopRecorder := make(chan struct{})
	go func() {
		defer close(recorderDone)
		e.record(stopRecorder)
	}()

	var err error
	if err = e.sweep(ctx); err == nil {
		e.loop(ctx, work)
	}
	giveUp()
	e.awaitAttempts()
	close(stopRecorder)
	<-recorderDone
	close(e.loadJobs)
	close(e.attempts)
	e.group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// loop is the engine's goroutine: it takes what happened, then starts what may
// start, then sleeps.
func (e *Engine) loop(ctx, work context.Context) {
	var deadline <-chan time.Time
	sleep := time.NewTimer(0)
	defer sleep.Stop()
	stop := ctx.Done()
	for {
		e.takeAll(work)
		if e.draining && e.flight.count() == 0 {
			return
		}
		sleep.Reset(e.untilNext())
		select {
		case <-e.happened:
		case <-sleep.C:
		case <-stop:
			stop, e.draining = nil, true
			if e.cfg.Sharded && e.shards.tenure.Epochs != nil {
				e.yield(tidings.Shards)
			}
			deadline = time.After(e.cfg.DrainTimeout)
		case <-deadline:
			e.cfg.Log.Warn("the drain time is over: attempts are given up", "attempts", e.flight.count())
			return
		}
	}
}

// takeAll takes in all that has happened, and starts what may start.
func (e *Engine) takeAll(work context.Context) {
	now := e.cfg.Now()
	// Wakes are taken last and looked at first: a row's own wake is known by the
	// time that a result is, with which the row was moved.
	finished, recorded, loads := e.finished.take(), e.recorded.take(), e.loads.take()
	wakes := e.wakes.take()
	for _, t := range e.tenures.take() { // first: wakes are for lanes that are held
		e.onTenure(t, now)
	}
	for _, w := range wakes {
		e.onWake(w, now)
	}
	for _, f := range finished {
		e.onFinished(f, now)
	}
	for _, r := range recorded {
		e.onRecorded(r, now)
	}
	for _, l := range loads {
		e.onLoaded(l, now)
	}
	for _, key := range e.busy.take() {
		e.onBusy(key, now)
	}
	e.wakes.back(wakes)
	e.finished.back(finished)
	e.recorded.back(recorded)
	e.onLook(e.looks.take(), now)
	for _, l := range e.timers.due(now) {
		e.touch(l, now)
	}
	if e.draining {
		return
	}
	if now.Sub(e.swept) >= e.cfg.SweepEvery || now.Before(e.swept) {
		e.onSweep(now)
	}
	e.dispatch(work, now)
}

// untilNext is how long the engine may sleep.
func (e *Engine) untilNext() time.Duration {
	now, at := e.cfg.Now(), e.timers.first()
	if slow := e.flight.nextSlow(); e.turns.any() && e.mayStart() && slow.Before(at) {
		at = slow
	}
	return min(max(at.Sub(now), 0), e.cfg.SweepEvery/sleepPart)
}

// lane gives a lane, or nil where another node runs it.
func (e *Engine) lane(key int64) *lane {
	l := e.lanes[key]
	if l == nil {
		epoch, ok := e.epoch(tidings.ShardOf(key))
		if !ok {
			return nil
		}
		now := e.cfg.Now()
		l = newLane(key)
		l.epoch = epoch
		l.lanes = e.lanes
		l.checked = now
		if e.cfg.Sharded && now.Sub(e.shards.gained[tidings.ShardOf(key)]) < takenOver {
			l.restart(now) // something may wait from before
		}
		e.lanes[key] = l
	}
	return l
}

func (e *Engine) onWake(w tidings.Wake, now time.Time) {
	if l := e.lane(w.EndpointKey); l != nil {
		l.wake(w)
		e.touch(l, now)
	}
}

func (e *Engine) onFinished(f attempted, now time.Time) {
	e.idle++
	if e.idle > idleWorkers {
		e.idle--
		e.attempts <- nil
	}
	e.flight.end(f.attempt)
	l := f.attempt.lane
	if l.gone { // another node has taken it over, and sends again
		return
	}
	e.conclude(l, f, now)
	e.settled(l)
	e.touch(l, now)
}

// conclude decides what follows from an attempt, and has it recorded.
func (e *Engine) conclude(l *lane, f attempted, now time.Time) {
	d := f.attempt.delivery
	if f.answer.ErrorCode == ErrorCanceled && f.answer.StatusCode == 0 {
		l.canceled(d)
		return
	}
	before := l.health
	policy := e.cfg.Policy
	if schedule := f.attempt.target.RetrySchedule; len(schedule) > 0 {
		policy.RetrySchedule = schedule
	}
	decision := policy.Decide(d.AttemptCount+1, f.answer, before, now, luck())
	if f.attempt.target.URL != l.target.URL {
		decision.Disable = "" // an address that the endpoint has left says nothing of the one it has now
	}
	l.ended(d, decision)
	e.unrecorded++
	e.results.put(f.result(decision, before))
}

func (e *Engine) onRecorded(r recording, now time.Time) {
	e.troubled = r.troubled
	for i := range r.results {
		result := &r.results[i]
		e.unrecorded--
		if r.errs[i] == nil {
			e.cfg.OnResult(*result)
		}
		l := e.of(result)
		if l == nil {
			continue // it was taken over
		}
		l.recorded(result)
		if r.errs[i] != nil { // the row is still as it was: try again, but not at once
			l.muted = now.Add(mutedAfter)
			l.lower(result.Delivery.Due)
		}
		e.settled(l)
		e.touch(l, now)
	}
	e.results.back(r.results)
}

// touch does what a lane needs after anything happened to it.
func (e *Engine) touch(l *lane, now time.Time) {
	if e.draining || l.gone || l.yielding {
		return
	}
	if l.caughtUp(now) {
		l.behind = false
	}
	if l.wantsLoad(now) {
		e.requestLoad(l, now)
	}
	if !l.queued && l.startable(now) >= 0 {
		e.turns.add(l, now)
	}
	if at := l.nextLook(now); at.After(now) {
		e.timers.set(l, at)
	}
	if l.quiet() {
		l.idle = earlier(now, cmpZero(l.idle, now))
	} else {
		l.idle = time.Time{}
	}
}

func cmpZero(t, or time.Time) time.Time {
	if t.IsZero() {
		return or
	}
	return t
}

// mayStart tells whether anything may start at all.
func (e *Engine) mayStart() bool {
	return !e.draining && !e.troubled && e.unrecorded < maxUnrecorded && e.leased()
}

// dispatch starts attempts, one lane after the other.
func (e *Engine) dispatch(work context.Context, now time.Time) {
	for e.mayStart() && e.flight.room(now) {
		l := e.turns.next(now)
		if l == nil {
			return
		}
		started := 0
		for ; l.turn > 0 && e.mayStart() && e.flight.room(now); started++ {
			i := l.startable(now)
			if i < 0 {
				break
			}
			e.start(work, l, i, now)
			l.turn--
		}
		if started > 0 {
			e.touch(l, now)
		}
	}
}

func (e *Engine) start(work context.Context, l *lane, i int, now time.Time) {
	a := &attempt{delivery: l.start(i), lane: l, target: l.target, started: now}
	l.takeSlot(now)
	e.flight.start(a)
	if e.idle > 0 {
		e.idle--
		e.attempts <- a
		return
	}
	e.group.Go(func() { e.work(work, a) })
}

// awaitAttempts waits for attempts that were given up: their rows stay pending.
// What was answered at the last moment is still recorded.
func (e *Engine) awaitAttempts() {
	for e.flight.count() > 0 {
		for _, f := range e.finished.take() {
			e.flight.end(f.attempt)
			if l := f.attempt.lane; !l.gone {
				e.conclude(l, f, e.cfg.Now())
			}
		}
		if e.flight.count() > 0 {
			<-e.happened
		}
	}
}

// luck draws the jitter of one retry.
func luck() float64 { return 2*rand.Float64() - 1 }
