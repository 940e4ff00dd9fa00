package delivery

import (
	"context"
	"time"
)

// This file is the safety net: a wake that was lost costs seconds and not a
// delivery.

// onSweep is the safety net: it has lanes read from their start, and forgets
// those that have nothing to do.
func (e *Engine) onSweep(now time.Time) {
	e.swept = now
	e.count()
	for key, l := range e.lanes {
		every := e.cfg.SweepEvery
		if l.flying == 0 && len(l.ring) == 0 {
			every *= dormantFactor
		}
		switch {
		case l.quiet() && !l.idle.IsZero() && now.Sub(l.idle) >= idleAfter && !now.Before(l.slot):
			e.timers.drop(l)
			delete(e.lanes, key)
			continue
		case !l.quiet() && !l.probing() && now.Sub(l.checked) >= every:
			l.restart(now)
		}
		e.touch(l, now)
	}
	e.group.Go(func() { e.findForgotten(context.Background()) })
}

// doubtAll has every lane that waits for something read from its start, and every
// endpoint before the next attempt, where those are in doubt.
func (e *Engine) doubtAll(where Doubt, now time.Time) {
	if where == (Doubt{}) {
		return
	}
	for _, l := range e.lanes {
		l.doubt(where, now)
		if !l.quiet() {
			e.touch(l, now)
		}
	}
}

// findForgotten wakes the lanes that have pending rows, so that a wake that was
// lost costs seconds and not a delivery.
func (e *Engine) findForgotten(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.SweepEvery)
	defer cancel()
	busy, err := e.store.BusyLanes(ctx)
	if err != nil {
		e.cfg.Log.Error("looking for lanes with pending deliveries", "error", err)
		return
	}
	e.busy.put(busy...)
}

// onBusy hears that a lane has pending rows, and has it read if it seemed to
// have none.
func (e *Engine) onBusy(key int64, now time.Time) {
	l := e.lane(key)
	if l == nil {
		return
	}
	if l.quiet() && (l.target == nil || l.target.Enabled) {
		l.restart(now)
	}
	e.touch(l, now)
}

// sweep begins with the lanes that have pending deliveries at the start.
func (e *Engine) sweep(ctx context.Context) error {
	busy, err := e.store.BusyLanes(ctx)
	if err != nil {
		return err
	}
	now := e.cfg.Now()
	e.swept = now
	for _, key := range busy {
		if l := e.lane(key); l != nil {
			l.restart(now)
			l.behind = true
			e.touch(l, now)
		}
	}
	return nil
}
