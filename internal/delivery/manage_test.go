package delivery_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/delivery"
)

func (w *world) make(id string, s tidings.Settings) {
	w.t.Helper()
	s.URL = "https://" + id
	if _, err := w.store.CreateEndpoint(w.t.Context(), w.org, tidings.NewEndpoint{ID: id, Settings: s}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) change(id string, p tidings.EndpointPatch) {
	w.t.Helper()
	if _, err := w.store.UpdateEndpoint(w.t.Context(), w.org, id, p); err != nil {
		w.t.Fatal(err)
	}
}

func TestARateLimitHolds(t *testing.T) {
	for _, rate := range []float64{0.01, 0.5, 1, 10} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			inWorld(t, delivery.Config{}, fine, func(t *testing.T, w *world) {
				w.make("limited", tidings.Settings{RateLimit: rate})
				for i := range 30 {
					w.publish(1, fmt.Sprint("i", i))
				}
				after(time.Duration(float64(time.Second) * 40 / rate))
				log := w.sent()
				if len(log) != 30 {
					t.Fatalf("%d of 30 sent", len(log))
				}
				burst := max(int(rate), 1)
				for i := burst; i < len(log); i++ {
					if gap := log[i].at - log[i-burst].at; gap < time.Duration(float64(time.Second)*float64(burst)/rate)-time.Millisecond {
						t.Fatalf("attempts %d and %d are %v apart", i-burst+1, i+1, gap)
					}
				}
			})
		})
	}
}

// A lane that has nothing to do is forgotten, but not when it sent last.
func TestASlowRateLimitHoldsOverIdleTimes(t *testing.T) {
	inWorld(t, delivery.Config{}, fine, func(t *testing.T, w *world) {
		w.make("slow", tidings.Settings{RateLimit: 0.01})
		for i := range 4 {
			w.publish(1, fmt.Sprint("i", i))
			after(80 * time.Second)
		}
		after(5 * time.Minute)
		log := w.sent()
		for i := 1; i < len(log); i++ {
			if gap := log[i].at - log[i-1].at; gap < 100*time.Second-time.Millisecond {
				t.Errorf("attempts %d and %d are %v apart, want 100 s", i, i+1, gap)
			}
		}
		if len(log) != 4 {
			t.Errorf("%d of 4 sent", len(log))
		}
	})
}

func TestNeverTwoAtOnceWithOneInFlight(t *testing.T) {
	var flying, most atomic.Int64
	inWorld(t, delivery.Config{}, func(s sent) delivery.Answer {
		most.Store(max(most.Load(), flying.Add(1)))
		time.Sleep(time.Second)
		flying.Add(-1)
		return fine(s)
	}, func(t *testing.T, w *world) {
		w.make("single", tidings.Settings{MaxInFlight: 1})
		for i := range 20 {
			w.publish(1, fmt.Sprint("i", i))
		}
		after(time.Minute)
		if n := len(w.sent()); n != 20 || most.Load() != 1 {
			t.Errorf("%d of 20 sent, up to %d at once; want one", n, most.Load())
		}
	})
}

func TestAnEndpointsOwnRetrySchedule(t *testing.T) {
	inWorld(t, delivery.Config{}, broken, func(t *testing.T, w *world) {
		w.make("own", tidings.Settings{RetrySchedule: []time.Duration{10 * time.Second, time.Minute}})
		w.publish(1, "i")
		after(time.Hour)
		log := w.sent()
		if len(log) != 3 {
			t.Fatalf("%d attempts, want 3", len(log))
		}
		for i, delay := range []time.Duration{10 * time.Second, time.Minute} {
			if gap := log[i+1].at - log[i].at; gap < delay*8/10 || gap > delay*12/10+time.Second {
				t.Errorf("attempt %d came after %v, want %v ±20 %%", i+2, gap, delay)
			}
		}
		if failed := w.deliveries(tidings.DeliveryFailed); len(failed) != 1 || failed[0].Reason != tidings.ReasonExhausted {
			t.Errorf("ended as %+v", failed)
		}
	})
}

func TestOperationalEventsTellTheOthersOncePerRun(t *testing.T) {
	down := func(s sent) delivery.Answer {
		if s.url == "https://broken" {
			return broken(s)
		}
		return fine(s)
	}
	all := []tidings.EventType{tidings.EndpointFailing, tidings.EndpointWasDisabled, tidings.EndpointWasEnabled}
	inWorld(t, delivery.Config{SweepEvery: 10 * time.Minute}, down, func(t *testing.T, w *world) {
		w.make("broken", tidings.Settings{FilterTypes: append([]tidings.EventType{tidings.IssuanceOffered}, all...)})
		w.make("watch", tidings.Settings{FilterTypes: all})
		w.endpoint("plain")
		told := func() (out []string) {
			for _, s := range w.sent() {
				if !strings.Contains(s.body, "tidings.endpoint.") {
					continue
				}
				if s.url != "https://watch" {
					t.Errorf("%s was told %s", s.url, s.body)
				}
				out = append(out, s.body)
			}
			return out
		}
		body := func(typ, reason string) string {
			if reason != "" {
				reason = `,"reason":"` + reason + `"`
			}
			return `{"eventType":"tidings.endpoint.` + typ + `","payload":{"endpointId":"broken"` + reason + `}}`
		}
		want := func(bodies ...string) {
			t.Helper()
			if got := told(); fmt.Sprint(got) != fmt.Sprint(bodies) {
				t.Fatalf("told %v, want %v", got, bodies)
			}
		}
		for i := range 10 {
			w.publish(1, fmt.Sprint("i", i))
		}
		after(3 * time.Hour)
		want(body("failing", ""))
		for day := range 7 {
			w.publish(1, fmt.Sprint("day", day))
			after(24 * time.Hour)
		}
		want(body("failing", ""), body("disabled", "failing"))
		w.become(fine)
		enabled, disabled := tidings.EndpointEnabled, tidings.EndpointDisabled
		w.change("broken", tidings.EndpointPatch{Status: &enabled})
		after(time.Minute)
		if e := w.get("broken"); e.FirstFailureAt != nil || e.Backlog.Count != 0 {
			t.Errorf("once enabled the endpoint is %+v", e)
		}
		w.change("broken", tidings.EndpointPatch{Status: &enabled})
		w.change("broken", tidings.EndpointPatch{Status: &disabled})
		after(time.Minute)
		want(body("failing", ""), body("disabled", "failing"), body("enabled", ""), body("disabled", "manual"))
		w.become(down)
		w.change("broken", tidings.EndpointPatch{Status: &enabled})
		for i := range 10 {
			w.publish(1, fmt.Sprint("again", i))
		}
		after(3 * time.Hour)
		want(body("failing", ""), body("disabled", "failing"), body("enabled", ""), body("disabled", "manual"), body("enabled", ""), body("failing", ""))
	})
}
