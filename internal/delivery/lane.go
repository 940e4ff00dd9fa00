package delivery

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"tidings"
	"tidings/webhook"
)

const (
	ringFactor   = 8               // deliveries held in memory for each attempt that may run
	ringMost     = 128             // but so many in all, where they have to be read
	wokenMost    = 16_384          // and so many where the wakes bring them
	ringsMost    = 24_000          // and so many of all lanes, as there may be thousands; at least two for each attempt
	firstWindow  = 2               // attempts at the same time before the first success
	probeFrom    = 5               // failures in a row from which on an endpoint is failing: one delivery at a time probes
	maxUrgent    = 64              // deliveries of a lane that somebody wants tried now
	probeSilence = 5 * time.Minute // the longest time without a probe while something is due
)

// lane is what the engine holds of one endpoint's queue. Only the engine's
// goroutine touches it.
//
// Of the rows in the store, those up to position from have been read: they
// stand in ring, are held, or are finished. unread is a lower bound for the due
// time of the others, far when there are none. It is only a hint: wakes lower
// it, and every so often the lane is read from its start again.
type lane struct {
	key      int64
	epoch    int64                   // at which its shard is held
	yielding bool                    // it was given up: nothing starts
	gone     bool                    // it was dropped: what refers to it still is out of date
	lanes    map[int64]*lane         // all of them: there is not room for any number
	target   *target                 // nil until it was read
	stale    bool                    // the endpoint changed: read the target again before the next attempt
	changes  int                     // how often it did: one more may come while it is being read
	urgent   []tidings.QueuePosition // somebody wants these tried now
	health   tidings.Health
	window   int // attempts allowed at the same time
	flying   int // attempts running
	ring     []tidings.PendingDelivery
	inRing   map[int64]struct{} // their keys
	held     map[int64]struct{} // started and not known to be recorded
	busy     map[int64]struct{} // issuances with an event that must end before their next
	from     tidings.QueuePosition
	reached  tidings.QueuePosition // the furthest place that from had: what is held or in the ring stands before it
	unread   time.Time
	loading  bool
	lowered  time.Time          // wakes that came while loading: their smallest due
	done     []int64            // recorded while loading: what is being read may still show them
	moved    map[int64]struct{} // issuances that failed while loading: their rows are read with an old due time
	checked  time.Time          // when the lane was last read from its start
	slot     time.Time          // the rate limit lets the next attempt start then
	muted    time.Time          // nothing is started before then: a record that failed
	queued   bool               // waits for the engine to start its next attempt
	turn     int                // attempts left of its turn
	turnEnds time.Time          // when it is over at the latest
	behind   bool               // it had a turn since it had last caught up, or a backlog from the beginning
	timer    time.Time          // the engine looks at the lane then; zero: no timer is set
	place    int                // of the timer among all of them
	idle     time.Time          // since when it has had nothing to do
}

// target is where and how a lane sends.
type target struct {
	tidings.Lane
	signer  *webhook.Signer
	limiter *rate.Limiter // nil: no limit
	until   time.Time     // a secret runs out then: read the target again
}

// far is later than every due time.
var far = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func newLane(key int64) *lane {
	return &lane{key: key, window: firstWindow, inRing: map[int64]struct{}{}, held: map[int64]struct{}{}, busy: map[int64]struct{}{}, moved: map[int64]struct{}{}, unread: far, lowered: far}
}

// wake takes note of new rows. Those at hand go straight into the ring if
// nothing unread stands before them and there is room.
func (l *lane) wake(w tidings.Wake) {
	if w.Changed {
		l.stale = true
		l.changes++
	}
	if w.Urgent != 0 && len(l.urgent) < maxUrgent {
		l.urgent = append(l.urgent, tidings.QueuePosition{Due: w.Due, Key: w.Urgent})
	}
	if l.probing() && len(w.Deliveries) > 0 && l.unread != far {
		// New rows wait behind the probe, which is set, but not for longer than a
		// silence: the oldest delivery may be due in hours only.
		l.lower(later(w.Due, l.health.LastFailureAt.Add(probeSilence)))
		return
	}
	if l.loading || l.probing() || len(w.Deliveries) == 0 {
		l.lower(w.Due)
		return
	}
	for _, d := range w.Deliveries {
		if len(l.ring) < l.wokenRoom() && d.Due.Before(l.unread) && l.from.Before(d.Position()) {
			l.add(d)
			l.goOn(d.Position())
		} else {
			l.lower(d.Due)
		}
	}
}

// goOn notes that rows up to a position have been read.
func (l *lane) goOn(to tidings.QueuePosition) {
	l.from = to
	if l.reached.Before(to) {
		l.reached = to
	}
}

// lower notes that rows due at a time may be unread.
func (l *lane) lower(due time.Time) {
	if l.loading {
		l.lowered = earlier(l.lowered, due)
		return
	}
	l.unread = earlier(l.unread, due)
	if start := (tidings.QueuePosition{Due: due}); start.Before(l.from) {
		l.from = start
	}
}

// restart has the lane read from its start.
func (l *lane) restart(now time.Time) {
	l.checked = now
	l.lower(time.Time{})
}

// doubt has the lane or its endpoint read again: wakes may have been lost.
func (l *lane) doubt(where Doubt, now time.Time) {
	if where.Endpoints {
		l.stale = true
		l.changes++
	}
	if where.Lanes && !l.quiet() { // else the next wake has it read
		l.restart(now)
	}
}

// loaded takes over rows that were read behind from. limit is how many were
// asked for.
func (l *lane) loaded(rows []tidings.PendingDelivery, limit int, now time.Time) {
	l.loading = false
	l.urgent = nil // they are read like all others
	l.unread = far
	for i, d := range rows {
		if d.Due.After(now) || len(l.ring) >= l.room() && !l.has(d.Key) {
			l.unread = d.Due
			break
		}
		if _, moved := l.moved[d.IssuanceKey]; moved {
			l.lowered = earlier(l.lowered, d.Due)
		} else if !l.has(d.Key) {
			l.add(d)
		}
		if l.from.Before(d.Position()) {
			l.goOn(d.Position())
		}
		if i == limit-1 {
			l.unread = d.Due
		}
	}
	slices.SortFunc(l.ring, func(a, b tidings.PendingDelivery) int {
		if a.Position().Before(b.Position()) {
			return -1
		}
		return 1
	})
	l.settle()
}

// loadedProbe takes over the delivery that probes, if one may now, and when to
// look again. urgent is the one that was asked for, if one was.
func (l *lane) loadedProbe(rows []tidings.PendingDelivery, again time.Time, urgent tidings.QueuePosition) {
	l.unread = again
	l.urgent = slices.DeleteFunc(l.urgent, func(p tidings.QueuePosition) bool { return p == urgent })
	if len(l.urgent) > 0 {
		l.unread = time.Time{}
	}
	for _, d := range rows {
		if !l.has(d.Key) {
			l.add(d)
		}
	}
	l.settle()
}

// settle does what had to wait for a read to end.
func (l *lane) settle() {
	l.loading = false
	for _, key := range l.done {
		delete(l.held, key)
	}
	l.done = l.done[:0]
	clear(l.moved)
	if l.lowered != far {
		due := l.lowered
		l.lowered = far
		l.lower(due)
	}
}

// has tells whether a row stands in the ring or is held.
func (l *lane) has(key int64) bool {
	if _, ok := l.held[key]; ok {
		return true
	}
	_, ok := l.inRing[key]
	return ok
}

func (l *lane) add(d tidings.PendingDelivery) {
	l.ring = append(l.ring, d)
	l.inRing[d.Key] = struct{}{}
}

// probing tells whether only one delivery at a time is tried.
func (l *lane) probing() bool { return l.health.Failures >= probeFrom }

// room is how many deliveries the ring may hold: a fast lane is read in larger
// pieces, a slow one keeps little, and each of many keeps half of its share, the
// rest of which is for its turn.
func (l *lane) room() int {
	waiting := min(ringFactor*l.window, ringMost, l.share()/2)
	return max(min(waiting+l.turn, l.share()), 2*l.window)
}

// toRead is how many rows to read behind a position: as many as there is room for,
// and one more, which tells whether there are others. Where rows that are known
// stand there, they are read again.
func (l *lane) toRead(from tidings.QueuePosition) int {
	if from.Before(l.reached) {
		return l.room() + len(l.held) + 1
	}
	return max(l.room()-len(l.ring), 0) + 1
}

// wokenRoom is the same for rows that wakes bring: to read them would cost more.
func (l *lane) wokenRoom() int { return max(l.room(), min(wokenMost, l.share())) }

// share is how many deliveries a ring may hold where all lanes hold as many.
func (l *lane) share() int { return ringsMost / max(len(l.lanes), 1) }

// limit is how many attempts may run at the same time.
func (l *lane) limit() int {
	if l.probing() {
		return 1
	}
	return min(l.window, l.target.MaxInFlight)
}

// startable gives the index in the ring of the next delivery that may start, or
// -1: an event never starts before an earlier one of its issuance has ended.
func (l *lane) startable(now time.Time) int {
	if l.yielding || l.target == nil || l.stale || !l.target.Enabled || l.target.Finishing || l.flying >= l.limit() ||
		now.Before(l.blocked()) || !now.Before(l.target.until) {
		return -1
	}
	for i := range l.ring {
		if _, busy := l.busy[l.ring[i].IssuanceKey]; !busy {
			return i
		}
	}
	return -1
}

// blocked is until when nothing may start: the receiver asked for a pause, a
// result could not be recorded, or the rate limit is used up.
func (l *lane) blocked() time.Time {
	at := l.muted
	for _, other := range []time.Time{l.health.PausedUntil, l.slot} {
		if other.After(at) {
			at = other
		}
	}
	return at
}

// takeSlot counts an attempt that starts against the rate limit, and notes when
// the next may start.
func (l *lane) takeSlot(now time.Time) {
	if l.target.limiter == nil {
		return
	}
	l.target.limiter.AllowN(now, 1)
	if missing := 1 - l.target.limiter.TokensAt(now); missing > 0 {
		l.slot = now.Add(time.Duration(missing/l.target.RateLimit*float64(time.Second)) + time.Millisecond)
	}
}

// start takes a delivery out of the ring to be attempted.
func (l *lane) start(i int) tidings.PendingDelivery {
	d := l.ring[i]
	copy(l.ring[1:i+1], l.ring[:i]) // i is small: what stands before waits for its issuance
	l.ring[0] = tidings.PendingDelivery{}
	l.ring = l.ring[1:]
	delete(l.inRing, d.Key)
	l.held[d.Key] = struct{}{}
	l.busy[d.IssuanceKey] = struct{}{}
	l.flying++
	return d
}

// ended takes note of a decision. After a failure the issuance stays busy until
// the store has moved its later events along.
func (l *lane) ended(d tidings.PendingDelivery, verdict Decision) {
	if verdict.Disable != "" && l.target.Enabled { // at once, not only when it is recorded
		disabled := *l.target
		disabled.Enabled = false
		l.target = &disabled
	}
	l.flying--
	if verdict.Outcome == OutcomeDelivered {
		if l.probing() {
			l.lower(time.Time{}) // the endpoint is back: read all that waits
		}
		l.health = verdict.Health
		l.window = min(2*l.window, l.target.MaxInFlight)
		delete(l.busy, d.IssuanceKey)
		return
	}
	entered := !l.probing()
	l.health = verdict.Health
	if verdict.Outcome == OutcomeTimeout {
		l.window = 1
	}
	if entered && l.probing() || verdict.Disable != "" {
		l.empty()
	}
}

// canceled takes note of an attempt that we gave up ourselves.
func (l *lane) canceled(d tidings.PendingDelivery) {
	l.flying--
	delete(l.busy, d.IssuanceKey)
	delete(l.held, d.Key)
	l.lower(d.Due)
}

// empty forgets what is in the ring; the store still has it.
func (l *lane) empty() {
	for _, d := range l.ring {
		l.lower(d.Due)
	}
	l.ring = nil
	clear(l.inRing)
}

// recorded takes note that a result is durable.
func (l *lane) recorded(r *tidings.AttemptResult) {
	d := &r.Delivery
	if r.Status != tidings.DeliveryDelivered {
		delete(l.busy, d.IssuanceKey)
		// The later events of the issuance are due later now: what the ring has
		// of them is out of date.
		l.ring = slices.DeleteFunc(l.ring, func(o tidings.PendingDelivery) bool {
			if o.IssuanceKey == d.IssuanceKey {
				delete(l.inRing, o.Key)
			}
			return o.IssuanceKey == d.IssuanceKey
		})
		l.lower(d.Due)
	}
	if l.loading {
		if r.Status != tidings.DeliveryDelivered {
			l.moved[d.IssuanceKey] = struct{}{}
		}
		l.done = append(l.done, d.Key)
	} else {
		delete(l.held, d.Key)
	}
}

// wantsLoad tells whether the store should be read.
func (l *lane) wantsLoad(now time.Time) bool {
	switch {
	case l.loading || now.Before(l.muted):
		return false
	case l.target == nil || l.stale || !now.Before(l.target.until):
		return true
	case !l.target.Enabled || l.target.Finishing:
		return false
	}
	return l.wantsRows(now)
}

// wantsRows tells whether rows should be read. A probing lane waits until its
// last result is recorded: before that, the store shows the delivery as still
// due.
func (l *lane) wantsRows(now time.Time) bool {
	if l.unread.After(now) {
		return false
	}
	if l.probing() {
		return len(l.held) == 0 && len(l.ring) == 0
	}
	return len(l.ring) <= l.room()/2
}

// nextLook is when the lane has to be looked at without anything having
// happened; far if never.
func (l *lane) nextLook(now time.Time) time.Time {
	switch {
	case l.target == nil || l.stale:
		return l.muted
	case !l.target.Enabled:
		return far
	case l.target.Finishing:
		return later(l.target.until, l.muted)
	}
	at, blocked := earlier(l.unread, l.target.until), l.blocked()
	if len(l.ring) > 0 && blocked.After(now) || at.Before(blocked) {
		at = blocked
	}
	return at
}

// caughtUp tells whether nothing waits for its turn.
func (l *lane) caughtUp(now time.Time) bool {
	return len(l.ring) == 0 && !l.loading && l.unread.After(now)
}

// quiet tells whether the lane has nothing to do and nothing to wait for.
func (l *lane) quiet() bool {
	return !l.loading && !l.queued && l.flying == 0 && len(l.held) == 0 &&
		(l.target != nil && !l.target.Enabled || len(l.ring) == 0 && l.unread == far)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
