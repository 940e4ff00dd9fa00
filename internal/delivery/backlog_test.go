package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"tidings"
	"tidings/internal/delivery"
)

// patchOf enables or disables.
func patchOf(status tidings.EndpointStatus) tidings.EndpointPatch {
	return tidings.EndpointPatch{Status: &status}
}

// Of many endpoints with a backlog each is drained some way before the next one,
// and none of them holds up an endpoint that has none.
func TestABacklogIsDrainedLaneByLane(t *testing.T) {
	const lanes, events = 20, 50
	inWorld(t, delivery.Config{MaxInFlight: 4}, func(s sent) delivery.Answer {
		time.Sleep(10 * time.Millisecond)
		return fine(s)
	}, func(t *testing.T, w *world) {
		for i := range lanes {
			w.endpoint(fmt.Sprint("behind", i))
		}
		for i := range lanes {
			w.change(fmt.Sprint("behind", i), patchOf(tidings.EndpointDisabled))
		}
		for i := range events {
			w.publish(1, fmt.Sprint("i", i))
		}
		for i := range lanes {
			w.change(fmt.Sprint("behind", i), patchOf(tidings.EndpointEnabled))
		}
		after(time.Second) // of the two and a half that it takes
		w.endpoint("idle")
		w.publish(1, "new")
		published := time.Since(w.start)
		after(time.Minute)
		log, met := w.sent(), 0 // lanes in each stretch of so many attempts
		for i := 0; i+lanes <= len(log); i += lanes {
			seen := map[string]bool{}
			for _, s := range log[i : i+lanes] {
				seen[s.url] = true
				if waited := s.at - published; s.url == "https://idle" && waited > 50*time.Millisecond {
					t.Errorf("an event for an endpoint without a backlog waited %v", waited)
				}
			}
			met += len(seen)
		}
		if want := lanes * (events + 1); len(log) != want+1 {
			t.Fatalf("%d attempts, want %d", len(log), want+1)
		}
		if average := met / (len(log) / lanes); average > lanes/2 {
			t.Errorf("%d attempts in a row are of %d lanes, want few lanes with many each", lanes, average)
		}
	})
}

// What is read and has no room is read again: of a backlog no more is read than
// there is room for.
func TestABacklogIsReadOnce(t *testing.T) {
	const events = 500
	inWorld(t, delivery.Config{SweepEvery: time.Hour}, func(s sent) delivery.Answer {
		time.Sleep(10 * time.Millisecond)
		return fine(s)
	}, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.change("a", patchOf(tidings.EndpointDisabled))
		for i := range events {
			w.publish(1, fmt.Sprint("i", i))
		}
		w.change("a", patchOf(tidings.EndpointEnabled))
		after(time.Minute)
		if n := len(w.sent()); n != events {
			t.Fatalf("%d attempts, want %d", n, events)
		}
		if n := w.rows.Load(); n > events*5/4 {
			t.Errorf("%d rows were read for %d deliveries", n, events)
		}
	})
}
