package delivery

import (
	"container/heap"
	"container/list"
	"time"
)

// slowAfter is when an attempt in flight counts as slow: it then makes room
// for others, so that many hanging endpoints do not use up the limit.
const slowAfter = time.Second

// flight counts attempts in flight, those that are slow apart.
type flight struct {
	limit, slowLimit int
	slow             int
	fresh            list.List // of *attempt, by start
}

func (f *flight) start(a *attempt) { a.place = f.fresh.PushBack(a) }

func (f *flight) end(a *attempt) {
	if a.place == nil {
		f.slow--
		return
	}
	f.fresh.Remove(a.place)
}

func (f *flight) count() int { return f.fresh.Len() + f.slow }

// room tells whether another attempt may start.
func (f *flight) room(now time.Time) bool {
	for f.fresh.Len() >= f.limit && f.slow < f.slowLimit {
		oldest := f.fresh.Front().Value.(*attempt)
		if now.Sub(oldest.started) < slowAfter {
			return false
		}
		f.fresh.Remove(oldest.place)
		oldest.place = nil
		f.slow++
	}
	return f.fresh.Len() < f.limit
}

// nextSlow is when the oldest fresh attempt will count as slow and make room;
// far if no room is needed or there is none.
func (f *flight) nextSlow() time.Time {
	if f.fresh.Len() < f.limit || f.slow >= f.slowLimit {
		return far
	}
	return f.fresh.Front().Value.(*attempt).started.Add(slowAfter)
}

// timers has each lane looked at when its time comes. A lane has one at most, so
// that they take no more memory than the lanes.
type timers struct{ heap timerHeap }

func (t *timers) set(l *lane, at time.Time) {
	switch {
	case l.timer.IsZero():
		l.timer = at
		heap.Push(&t.heap, l)
	case at.Before(l.timer): // else it is looked at sooner, and set again then
		l.timer = at
		heap.Fix(&t.heap, l.place)
	}
}

func (t *timers) drop(l *lane) {
	if !l.timer.IsZero() {
		heap.Remove(&t.heap, l.place)
		l.timer = time.Time{}
	}
}

// first is when the earliest timer ends; far if there is none.
func (t *timers) first() time.Time {
	if len(t.heap) == 0 {
		return far
	}
	return t.heap[0].timer
}

// due gives the lanes whose time has come.
func (t *timers) due(now time.Time) (out []*lane) {
	for len(t.heap) > 0 && !t.heap[0].timer.After(now) {
		l := t.heap[0]
		t.drop(l)
		out = append(out, l)
	}
	return out
}

// timerHeap orders lanes by their timers.
type timerHeap []*lane

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].timer.Before(h[j].timer) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *timerHeap) Push(x any) {
	l := x.(*lane)
	l.place = len(*h)
	*h = append(*h, l)
}

func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
