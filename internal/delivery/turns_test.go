package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings"
)

// A lane of many is drained some way before the next one begins, as its rows stand
// together; the others have their turn behind it, each the same.
func TestALaneWithABacklogHasItsTurnBeforeTheNext(t *testing.T) {
	var all turns
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for key := range int64(3) {
		all.add(behindLane(key), now)
	}
	want := strings.Repeat("0", turnAttempts) + strings.Repeat("1", turnAttempts) + strings.Repeat("2", turnAttempts) + "0"
	if got := taken(&all, now, len(want)); got != want {
		t.Errorf("the attempts are of the lanes %s, want %s", got, want)
	}
}

// A receiver that takes its time shall not have others wait for its whole turn.
func TestATurnEndsAlsoByTime(t *testing.T) {
	var all turns
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	slow, other := behindLane(0), behindLane(1)
	all.add(slow, now)
	all.add(other, now)
	if l := all.next(now); l != slow {
		t.Fatalf("lane %d is first", l.key)
	}
	now = now.Add(turnTime) // an attempt has ended
	all.add(slow, now)
	if l := all.next(now); l != other {
		t.Errorf("the slow lane goes on, want another one's turn after %v", turnTime)
	}
}

// What comes to a lane that had caught up does not wait for the turns of those
// that have a backlog, and a stream of it does not hold those up.
func TestALaneThatHadCaughtUpGoesFirst(t *testing.T) {
	var all turns
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for key := range int64(5) {
		all.add(behindLane(key), now)
	}
	taken(&all, now, 1) // a turn has begun
	for key := range int64(4) {
		l := newLane(5 + key)
		l.target = &target{Lane: tidings.Lane{Settings: tidings.Settings{MaxInFlight: 1}}}
		all.add(l, now)
	}
	got := taken(&all, now, 8)
	for key := 5; key < 9; key++ {
		if !strings.Contains(got, fmt.Sprint(key)) {
			t.Errorf("lane %d, which had caught up, is not among the next attempts: %s", key, got)
		}
	}
	if n := strings.Count(got, "0"); n != 4 {
		t.Errorf("the lane whose turn it is has %d of the attempts %s, want each second one", n, got)
	}
}

func behindLane(key int64) *lane {
	l := newLane(key)
	l.behind = true
	return l
}

// taken has the next lanes start an attempt each and wait again, and names them.
func taken(all *turns, now time.Time, n int) (out string) {
	for range n {
		l := all.next(now)
		l.turn--
		out += fmt.Sprint(l.key)
		all.add(l, now)
	}
	return out
}
