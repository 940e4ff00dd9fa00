package delivery

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"tidings"
)

// Where several nodes deliver, the engine runs the lanes of those shards only
// that its node holds. It starts nothing that may not end before the lease does,
// so that no two nodes ever send to one endpoint at the same time. A shard that is
// to be given up is free at once: attempts that are in flight there go on and are
// recorded, and whoever takes the shard starts nothing at their endpoints until then.

// leaseMargin is how much of the lease is left when the last attempt ends that
// may have begun: what is measured on two machines is never the same.
const leaseMargin = 5 * time.Second

// takenOver is for how long after a take-over a lane that is met for the first time
// is read from its start: by then all that have something waiting are known.
const takenOver = 10 * time.Second

// finishingLook is how often it is looked whether an attempt of the node that held
// a lane before has ended: a wake says so, too, unless it is lost.
const finishingLook = 2 * time.Second

// laneAt is a lane as it was held at an epoch.
type laneAt struct{ endpoint, epoch int64 }

// shards is what an engine knows of them.
type shards struct {
	tenure tidings.Tenure
	gained [tidings.Shards]time.Time // since when, of those that are held

	mu        sync.Mutex       // for writing by the engine's goroutine, and for reading by others
	free      map[int]int64    // to be given up, with their epochs: nothing starts there
	finishing map[laneAt]*lane // that were given up with attempts in flight, until those are on record
}

// Hold tells the engine what its node holds from now on. It never blocks.
func (e *Engine) Hold(t tidings.Tenure) { e.tenures.put(t) }

// Free gives what is to be given up. A shard is given until the node no longer
// holds it, and an endpoint until nothing is in flight there.
func (e *Engine) Free() (y tidings.Yield) {
	s := &e.shards
	s.mu.Lock()
	defer s.mu.Unlock()
	y.Shards = maps.Clone(s.free)
	for at := range s.finishing {
		y.InFlight = append(y.InFlight, at.endpoint)
	}
	return y
}

// Doubt says where a wake may have been lost, besides lanes that seem to have
// nothing to do.
type Doubt struct {
	Lanes     bool // in any lane
	Endpoints bool // of a change of any endpoint
}

// Look has the engine look whether a wake was lost: for lanes that have pending
// rows, and where there is doubt.
func (e *Engine) Look(where Doubt) { e.looks.put(where) }

func (e *Engine) onLook(looks []Doubt, now time.Time) {
	if len(looks) == 0 || e.draining {
		return
	}
	for _, where := range looks {
		e.doubtAll(where, now)
	}
	e.group.Go(func() { e.findForgotten(context.Background()) })
}

// epoch is at which epoch a shard is held; ok is false where its lanes are not to
// be run here.
func (e *Engine) epoch(shard int) (epoch int64, ok bool) {
	if !e.cfg.Sharded {
		return 0, true
	}
	if e.shards.tenure.Epochs == nil || e.shards.free[shard] != 0 {
		return 0, false
	}
	epoch = e.shards.tenure.Epochs[shard]
	return epoch, epoch != 0
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
	e.yield(t.Surplus)
}

// yield gives up so many of the shards in all: those with the least in flight
// first, as what waits behind an attempt there waits for its end.
func (e *Engine) yield(surplus int) {
	s := &e.shards
	more := surplus - len(s.free)
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
		if epoch != 0 && s.free[shard] == 0 {
			candidates = append(candidates, shard)
		}
	}
	slices.SortStableFunc(candidates, func(a, b int) int { return busy[a] - busy[b] })
	s.mu.Lock()
	for _, shard := range candidates[:min(more, len(candidates))] {
		s.free[shard] = s.tenure.Epochs[shard]
	}
	for _, l := range e.lanes {
		if s.free[tidings.ShardOf(l.key)] != 0 {
			e.part(l)
		}
	}
	s.mu.Unlock()
	e.cfg.OnFree()
}

// part forgets a lane that is given up, once what is in flight of it has ended.
func (e *Engine) part(l *lane) {
	if !l.busyHere() {
		e.drop(l)
		return
	}
	e.timers.drop(l)
	delete(e.lanes, l.key)
	l.yielding, l.ring = true, nil
	e.shards.finishing[laneAt{l.key, l.epoch}] = l
}

// of gives the lane that a result belongs to; nil where it is forgotten.
func (e *Engine) of(r *tidings.AttemptResult) *lane {
	if l := e.lanes[r.Delivery.EndpointKey]; l != nil && l.epoch == r.Epoch {
		return l
	}
	return e.shards.finishing[laneAt{r.Delivery.EndpointKey, r.Epoch}]
}

// settled forgets a lane that was given up, where what was in flight is on record.
func (e *Engine) settled(l *lane) {
	if !l.yielding || l.gone || l.busyHere() {
		return
	}
	l.gone = true
	e.shards.mu.Lock()
	delete(e.shards.finishing, laneAt{l.key, l.epoch})
	e.shards.mu.Unlock()
	e.cfg.OnFree()
}

// drop forgets a lane. What is in flight of it ends without it.
func (e *Engine) drop(l *lane) {
	e.timers.drop(l)
	delete(e.lanes, l.key)
	l.gone, l.target, l.ring = true, nil, nil
}

// busyHere tells whether something of the lane is in flight or not on record yet.
func (l *lane) busyHere() bool { return l.flying > 0 || len(l.held) > 0 }
