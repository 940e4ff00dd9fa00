package store

import (
	"slices"
	"sync"
	"time"

	"tidings"
)

// class orders what waits for the writer: the lease first, without which nothing is
// sent; then results, so that finished work leaves the queue; then transitions,
// behind which a wallet waits; then publishes, which can be asked to come back later.
type class int

const (
	classLease class = iota
	classResult
	classTransition
	classPublish
	classHouse // house-keeping: when nobody else waits
	classes
	classExpansion // the writer's own steps, behind what waits; see expand.go
)

const (
	// publishLimit is how many events may wait for the writer. One organisation
	// may fill half of it, so that its flood leaves room for the others.
	publishLimit = 32768
	// transitionPatience is how long a transition waits for the writer before
	// its caller is told to come back.
	transitionPatience = 5 * time.Second
	// resultPatience is how long results wait for company, and resultsAtOnce how
	// many do not: nobody waits for them, and a commit of their own costs as much
	// as one that somebody waits for, and holds that up.
	resultPatience = 5 * time.Millisecond
	resultsAtOnce  = 256
	// Where no more than fewResults were taken last there is time for a commit of
	// their own, and they wait for fewPatience only: else each would go along with
	// the next publish, and be in its way.
	fewResults  = 2
	fewPatience = time.Millisecond
	// housePatience is how long house-keeping waits for a batch of others to go
	// along with: a commit of its own, and those who come meanwhile wait for it.
	housePatience = 100 * time.Millisecond
	// quietAfter is when there seems to be nobody else.
	quietAfter = 10 * time.Second
)

// item is one write. do is pure but for its transaction: it may run twice.
type item struct {
	class        class
	organisation int64
	rows         int
	issuances    []int64 // keys of those that its events are about, to be looked up together
	foresight    *foresight
	do           func(*tx) error
	err          error
	done         chan struct{}
	since        time.Time // when it was queued
	trace        string    // where in a trace it stands; empty: nowhere
	taken        bool      // guarded by inlets.mu
}

// inlets are the queues before the writer.
type inlets struct {
	mu       sync.Mutex
	ready    chan struct{} // holds a token while something waits or the inlets are closed
	queues   [classes][]*item
	riding   *time.Timer   // runs while results wait for company
	results  int           // how many were taken last
	patient  *time.Timer   // runs while house-keeping does
	waiting  int           // rows of publishes
	waitingO map[int64]int // the same per organisation
	busy     time.Time     // when anything but house-keeping was taken last
	closed   bool
}

func newInlets() *inlets {
	return &inlets{ready: make(chan struct{}, 1), waitingO: map[int64]int{}}
}

// push queues an item, or says why not.
func (in *inlets) push(it *item) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return tidings.Unavailable(time.Second, nil, "The server is stopping.")
	}
	if it.class == classPublish {
		full := in.waiting+it.rows > publishLimit
		if full || in.waitingO[it.organisation]+it.rows > publishLimit/2 {
			return tidings.Unavailable(time.Second, nil, "Too many events are waiting to be stored; try again.")
		}
		in.waiting += it.rows
		in.waitingO[it.organisation] += it.rows
	}
	it.since = time.Now()
	in.queues[it.class] = append(in.queues[it.class], it)
	in.call(it)
	return nil
}

// call calls the writer for a new item, at once or when it has waited for
// company. A call of house-keeping would take the results along, too early.
func (in *inlets) call(it *item) {
	switch {
	case it.class == classResult && len(in.queues[classResult]) < resultsAtOnce:
		if in.riding == nil {
			in.riding = time.AfterFunc(in.patience(), in.signal)
		}
	case it.class == classHouse && it.since.Sub(in.busy) < quietAfter:
		if in.patient == nil {
			in.patient = time.AfterFunc(housePatience, in.signal)
		}
	default:
		in.signal()
	}
}

// patience is how long a result waits for company.
func (in *inlets) patience() time.Duration {
	if in.results <= fewResults {
		return fewPatience
	}
	return resultPatience
}

// withdraw takes an item back, unless the writer has it already.
func (in *inlets) withdraw(it *item) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if it.taken {
		return false
	}
	q := in.queues[it.class]
	for i := range q {
		if q[i] == it {
			in.queues[it.class] = append(q[:i:i], q[i+1:]...)
			in.forget(it)
			return true
		}
	}
	return false
}

// drain takes what waits, in order of class, up to a number of rows; at least
// one item if there is any but house-keeping. open is false once nothing will
// come any more.
func (in *inlets) drain(maxRows int) (items []*item, open bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.riding != nil {
		in.riding.Stop()
		in.riding = nil
	}
	rows := 0
	for c := range classHouse {
		n := 0
		for _, it := range in.queues[c] {
			if rows > 0 && rows+it.rows > maxRows {
				break
			}
			it.taken = true
			in.forget(it)
			rows += it.rows
			n++
		}
		if c == classResult && n > 0 {
			in.results = n
		}
		items = append(items, in.queues[c][:n]...)
		clear(in.queues[c][:n])
		if in.queues[c] = in.queues[c][n:]; len(in.queues[c]) > 0 {
			in.signal()
			break
		}
		in.queues[c] = nil
	}
	more := slices.ContainsFunc(in.queues[:classHouse], func(q []*item) bool { return len(q) > 0 })
	items = append(items, in.drainHouse(len(items) > 0)...)
	if in.closed {
		in.signal()
	}
	return items, !in.closed || more
}

// drainHouse takes the house-keeping along with others, so that it costs them
// no commit; by itself once it has waited for some, or at once where there seem
// to be none. It is small: see [tx.over].
func (in *inlets) drainHouse(others bool) []*item {
	now := time.Now()
	if others {
		in.busy = now
	}
	house := in.queues[classHouse]
	if in.patient != nil {
		in.patient.Stop()
		in.patient = nil
	}
	if len(house) == 0 {
		return nil
	}
	if !others && !in.closed && now.Sub(in.busy) < quietAfter {
		if wait := housePatience - now.Sub(house[0].since); wait > 0 {
			in.patient = time.AfterFunc(wait, in.signal)
			return nil
		}
	}
	for _, it := range house {
		it.taken = true
	}
	in.queues[classHouse] = nil
	return house
}

func (in *inlets) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.signal()
}

func (in *inlets) forget(it *item) {
	if it.class != classPublish {
		return
	}
	in.waiting -= it.rows
	if in.waitingO[it.organisation] -= it.rows; in.waitingO[it.organisation] == 0 {
		delete(in.waitingO, it.organisation)
	}
}

func (in *inlets) signal() {
	select {
	case in.ready <- struct{}{}:
	default:
	}
}
