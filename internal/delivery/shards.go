package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"tidings"
)

// Where several nodes deliver, the engine runs the lanes of those shards only
// that its node holds. It starts nothing that may not end before the lease does,
// so that no two nodes ever send to one endpoint at the same time; a shard that is
// to be given up is free once what is in flight in it is on record.

// leaseMargin is how much of the lease is left when the last attempt ends that
// may have begun: what is measured on two machines is never the same.
const leaseMargin = 5 * time.Second

// takenOver is for how long after a take-over a lane that is met for the first time
// is read from its start: by then all that have something waiting are known.
const takenOver = 10 * time.Second

// shards is what an engine knows of them.
type shards struct {
	tenure   tidings.Tenure
	gained   [tidings.Shards]time.Time // since when, of those that are held
	yielding map[int]int               // shards to be given up, with how many lanes are busy

	mu   sync.Mutex
	free map[int]bool // of those to be given up, what is idle; it stays so
}

// Hold tells the engine what its node holds from now on. It never blocks.
func (e *Engine) Hold(t tidings.Tenure) { e.tenures.put(t) }

// Free gives the shards that may be given up: nothing of them is in flight, and
// nothing starts again. They are given until the node no longer holds them.
func (e *Engine) Free() (out []int) {
	e.shards.mu.Lock()
	defer e.shards.mu.Unlock()
	for shard := range e.shards.free {
		out = append(out, shard)
	}
	return out
}

// Look has the engine look whether a wake was lost: for lanes that have pending
// rows, or, where all wakes were, in every lane and its endpoint as well.
func (e *Engine) Look(every bool) { e.looks.put(every) }

func (e *Engine) onLook(looks []bool, now time.Time) {
	if len(looks) == 0 || e.draining {
		return
	}
	if slices.Contains(looks, true) {
		e.doubtAll(now)
	}
	e.group.Go(func() { e.findForgotten(context.Background()) })
}

// epoch is at which epoch a shard is held; ok is false where its lanes are not to
// be run here.
func (e *Engine) epoch(shard int) (epoch int64, ok bool) {
	if !e.cfg.Sharded {
		return 0, true
	}
	if e.shards.tenure.Epochs == nil || e.shards.givingUp(shard) {
		return 0, false
	}
	epoch = e.shards.tenure.Epochs[shard]
	return epoch, epoch != 0
}

func (s *shards) givingUp(shard int) bool {
	_, yielding := s.yielding[shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	return yielding || s.free[shard]
}

// leased tells whether an attempt that starts now ends well before the lease.
func (e *Engine) leased() bool {
	return !e.cfg.Sharded || time.Until(e.shards.tenure.Until) >= e.cfg.AttemptTimeout+leaseMargin
}

// onTenure takes in what the node holds now: lanes that it no longer holds are
// dropped, and those that it has gained are looked for.
func (e *Engine) onTenure(t tidings.Tenure, now time.Time) {
	s := &e.shards
	before := s.tenure.Epochs
	if before == nil {
		before = &tidings.Epochs{}
	}
	s.tenure = t
	gained := false
	for shard, epoch := range t.Epochs {
		if epoch == before[shard] {
			continue
		}
		delete(s.yielding, shard)
		s.mu.Lock()
		delete(s.free, shard)
		s.mu.Unlock()
		if epoch != 0 {
			s.gained[shard], gained = now, true
		}
	}
	if *before != *t.Epochs {
		for _, l := range e.lanes {
			if l.epoch != t.Epochs[tidings.ShardOf(l.key)] {
				e.drop(l)
			}
		}
	}
	if gained {
		e.group.Go(func() { e.findForgotten(context.Background()) })
	}
	e.yield(t.Surplus, now)
}

// yield gives up so many of the shards in all: those with nothing in flight
// first. Where fewer are to be given up than was said before, the rest goes on.
func (e *Engine) yield(surplus int, now time.Time) {
	s := &e.shards
	s.mu.Lock()
	more := surplus - len(s.yielding) - len(s.free)
	s.mu.Unlock()
	if more < 0 {
		e.keep(-more, now)
	}
	if more <= 0 {
		return
	}
	busy := [tidings.Shards]int{}
	for _, l := range e.lanes {
		if l.busyHere() {
			busy[tidings.ShardOf(l.key)]++
		}
	}
	var candidates []int
	for shard, epoch := range s.tenure.Epochs {
		if epoch != 0 && !s.givingUp(shard) {
			candidates = append(candidates, shard)
		}
	}
	slices.SortStableFunc(candidates, func(a, b int) int { return busy[a] - busy[b] })
	for _, shard := range candidates[:min(more, len(candidates))] {
		s.yielding[shard] = busy[shard]
	}
	for _, l := range e.lanes {
		if _, yielding := s.yielding[tidings.ShardOf(l.key)]; yielding && !l.yielding {
			if l.yielding = true; !l.busyHere() {
				e.drop(l)
			}
		}
	}
	for shard, lanes := range s.yielding {
		if lanes == 0 {
			e.yielded(shard)
		}
	}
}

// keep goes on with up to n shards that were to be given up.
func (e *Engine) keep(n int, now time.Time) {
	kept := map[int]bool{}
	for shard := range e.shards.yielding {
		if len(kept) == n {
			break
		}
		kept[shard] = true
		delete(e.shards.yielding, shard)
	}
	for _, l := range e.lanes {
		if l.yielding && kept[tidings.ShardOf(l.key)] {
			l.yielding = false
			l.doubt(now) // its wakes were for whoever would have it next
			e.touch(l, now)
		}
	}
	if len(kept) > 0 {
		e.group.Go(func() { e.findForgotten(context.Background()) })
	}
}

// yielded notes that nothing of a shard is in flight any more.
func (e *Engine) yielded(shard int) {
	delete(e.shards.yielding, shard)
	e.shards.mu.Lock()
	e.shards.free[shard] = true
	e.shards.mu.Unlock()
	e.cfg.OnFree()
}

// settled drops a lane that was to be given up once it is idle.
func (e *Engine) settled(l *lane) {
	if !l.yielding || l.gone || l.busyHere() {
		return
	}
	e.drop(l)
	shard := tidings.ShardOf(l.key)
	if e.shards.yielding[shard]--; e.shards.yielding[shard] <= 0 {
		e.yielded(shard)
	}
}

// drop forgets a lane. What is in flight of it ends without it.
func (e *Engine) drop(l *lane) {
	e.timers.drop(l)
	delete(e.lanes, l.key)
	l.gone, l.target, l.ring = true, nil, nil
}

// busyHere tells whether something of the lane is in flight or not on record yet.
func (l *lane) busyHere() bool { return l.flying > 0 || len(l.held) > 0 }
