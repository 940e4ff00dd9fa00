package delivery

import (
	"testing"
	"time"
)

// A lane that waits for hours is looked at many times before, for its rate
// limit or for new events: what is kept for it must not grow with that.
func TestALaneHasOneTimer(t *testing.T) {
	var all timers
	l, other := newLane(1), newLane(2)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	retry := now.Add(20 * time.Hour)
	all.set(other, now.Add(time.Hour))
	for range 1000 {
		all.set(l, retry)
		now = now.Add(time.Second)
		all.set(l, now)
		all.set(l, now.Add(time.Minute)) // later than what is set: that comes first, and the lane sets it again
		if due := all.due(now); len(due) != 1 || due[0] != l {
			t.Fatalf("%d lanes are due, want the one", len(due))
		}
	}
	if n := len(all.heap); n > 2 {
		t.Errorf("%d timers are kept for two lanes", n)
	}
	all.set(l, retry)
	all.drop(other)
	if first := all.first(); !first.Equal(retry) {
		t.Errorf("the next lane is due at %v, want %v", first, retry)
	}
	all.drop(l)
	if first := all.first(); first != far {
		t.Errorf("a timer is left at %v", first)
	}
}
