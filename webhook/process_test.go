package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errTrouble = errors.New("trouble")

func TestDecide(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for name, row := range map[string]struct {
		attempt int
		err     error
		want    Verdict
	}{
		"processed":     {3, nil, Verdict{State: Processed, At: now, Attempts: 3}},
		"first trouble": {1, errTrouble, Verdict{State: Pending, At: now, Due: now.Add(time.Second), Attempts: 1, Reason: "trouble"}},
		"third trouble": {3, errTrouble, Verdict{State: Pending, At: now, Due: now.Add(4 * time.Second), Attempts: 3, Reason: "trouble"}},
		"last trouble":  {5, errTrouble, Verdict{State: Failed, At: now, Attempts: 5, Reason: "trouble"}},
		"one too many":  {6, errDied, Verdict{State: Failed, At: now, Attempts: 6, Reason: errDied.Error()}},
		"permanent":     {1, fmt.Errorf("x: %w", ErrPermanent), Verdict{State: Failed, At: now, Attempts: 1, Reason: "x: " + ErrPermanent.Error()}},
		"stopped":       {2, errStopped, Verdict{State: Pending, At: now, Due: now, Attempts: 1, Reason: errStopped.Error()}},
		"stopped last":  {5, errStopped, Verdict{State: Pending, At: now, Due: now, Attempts: 4, Reason: errStopped.Error()}},
	} {
		if got := decide(row.attempt, 5, row.err, now, 0.5); got != row.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestPauseAfter(t *testing.T) {
	for attempt, want := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 12: 2048 * time.Second,
		13: time.Hour, 14: time.Hour, 64: time.Hour, 1 << 40: time.Hour,
	} {
		for dice, factor := range map[float64]float64{0: 0.8, 0.5: 1, 1: 1.2} {
			if got := pauseAfter(attempt, dice); (got - time.Duration(float64(want)*factor)).Abs() > time.Microsecond {
				t.Errorf("after attempt %d with %.1f: %s", attempt, dice, got)
			}
		}
	}
}

// worker is a Handler that runs in a bubble.
type worker struct {
	*Handler
	mu   sync.Mutex
	seen []string // "id" per call of Process
	at   map[string][]time.Time
	stop func() // ends Run and waits for it
}

// startWorker runs a Handler whose Process is process.
func startWorker(t *testing.T, in Inbox, process func(ctx context.Context, event Event) error) *worker {
	w := &worker{at: map[string][]time.Time{}}
	w.Handler = &Handler{Inbox: in, Log: quiet(), Process: func(ctx context.Context, event Event) error {
		w.mu.Lock()
		w.seen = append(w.seen, event.ID)
		w.at[event.ID] = append(w.at[event.ID], time.Now())
		w.mu.Unlock()
		return process(ctx, event)
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	w.stop = func() { cancel(); <-ended }
	go func() {
		defer close(ended)
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	return w
}

func (w *worker) seenNow() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func (w *worker) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := w.seenNow(); !slices.Equal(got, want) {
		t.Errorf("processed %v, want %v", got, want)
	}
}

// put stores an event as ServeHTTP does.
func (w *worker) put(t *testing.T, id, issuance string) {
	t.Helper()
	if _, err := w.Inbox.Put(t.Context(), Event{ID: id, IssuanceID: issuance, Received: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w.rouse()
}

// TestRunBacksOff measures the pauses between twenty attempts, and that the
// event is parked then, told and forgotten by nobody.
func TestRunBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &MemoryInbox{}
		w := startWorker(t, in, func(context.Context, Event) error { return errTrouble })
		told := 0
		w.Failed = func(_ context.Context, event Event, err error) {
			if told++; event.ID != "e1" || !errors.Is(err, errTrouble) {
				t.Errorf("told of %s: %v", event.ID, err)
			}
		}
		w.put(t, "e1", "i1")
		time.Sleep(48 * time.Hour)
		w.stop()
		times := w.at["e1"]
		if len(times) != DefaultMaxAttempts || told != 1 {
			t.Fatalf("%d attempts, told %d times", len(times), told)
		}
		for n := 1; n < len(times); n++ {
			pause := times[n].Sub(times[n-1])
			low, high := pauseAfter(n, 0), pauseAfter(n, 1)
			if pause < low || pause > high {
				t.Errorf("after attempt %d: %s, want %s to %s", n, pause, low, high)
			}
		}
		if total := times[len(times)-1].Sub(times[0]); total < 6*time.Hour || total > 10*time.Hour {
			t.Errorf("all in %s", total)
		}
		if failed := in.Failed(); len(failed) != 1 || failed[0].ID != "e1" {
			t.Errorf("parked: %v", failed)
		}
	})
}

// TestRunKeepsOrder: an event in trouble holds up its own issuance, nobody
// else, until it is through.
func TestRunKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 3
		w := startWorker(t, &MemoryInbox{}, func(_ context.Context, event Event) error {
			if event.ID == "a1" && left > 0 {
				left--
				return errTrouble
			}
			return nil
		})
		for _, id := range []string{"a1", "a2", "b1", "b2"} {
			w.put(t, id, id[:1])
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		w.expect(t, "a1", "b1", "b2", "a1", "a1", "a1", "a2")
		w.stop()
	})
}

// TestRunIsPrompt: what this process receives it processes at once, what
// another one put there soon.
func TestRunIsPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &MemoryInbox{}
		w := startWorker(t, in, func(context.Context, Event) error { return nil })
		defer w.stop()
		synctest.Wait()
		secret := NewSecret()
		w.Verifier = &Verifier{Secrets: []Secret{secret}}
		r := request(t, mustSigner(t, secret), eventBody)
		r.Header = signedHeader(t, mustSigner(t, secret), "e1", time.Now().Unix(), eventBody)
		if got := serve(w, r); got.Code != http.StatusNoContent {
			t.Fatal(got.Code, got.Body)
		}
		w.expect(t, "e1")
		if _, err := in.Put(t.Context(), Event{ID: "e2", Received: time.Now()}); err != nil {
			t.Fatal(err)
		}
		w.expect(t, "e1")
		time.Sleep(jitter(pollEvery, 1))
		w.expect(t, "e1", "e2")
	})
}

func TestRunIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := startWorker(t, &MemoryInbox{}, func(context.Context, Event) error { <-release; return nil })
		for n := range DefaultConcurrency + 5 {
			w.put(t, fmt.Sprint(n), "")
		}
		if got := len(w.seenNow()); got != DefaultConcurrency {
			t.Errorf("%d at the same time", got)
		}
		release <- struct{}{}
		if got := len(w.seenNow()); got != DefaultConcurrency+1 {
			t.Errorf("then %d", got)
		}
		close(release)
		if got := len(w.seenNow()); got != DefaultConcurrency+5 {
			t.Errorf("in the end %d", got)
		}
		w.stop()
	})
}

// TestRunStops: Run waits for what it started; what ends with an error by then
// is given back uncounted, and what ends well is processed.
func TestRunStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &MemoryInbox{}
		w := startWorker(t, in, func(ctx context.Context, event Event) error {
			<-ctx.Done()
			time.Sleep(10 * time.Second) // cleaning up
			if event.ID == "finishes" {
				return nil
			}
			return ctx.Err()
		})
		w.put(t, "finishes", "a")
		w.put(t, "gives up", "b")
		synctest.Wait()
		before := time.Now()
		w.stop()
		if took := time.Since(before); took != 10*time.Second {
			t.Errorf("Run returned after %s", took)
		}
		if state := in.byID["finishes"].state; state != Processed {
			t.Errorf("finishes: %s", state)
		}
		if e := in.byID["gives up"]; e.state != Pending || e.attempts != 0 || e.due.After(time.Now()) {
			t.Errorf("gives up: %+v", e)
		}
	})
}

// endingInbox ends the program just when it hands out a claim, and then heeds
// its context, as a database does.
type endingInbox struct {
	MemoryInbox
	end func()
}

func (e *endingInbox) Claim(ctx context.Context, now time.Time, lease time.Duration) (*Claim, time.Time, error) {
	c, next, err := e.MemoryInbox.Claim(ctx, now, lease)
	if c != nil {
		e.end()
		err = ctx.Err()
	}
	return c, next, err
}

// TestRunStopsWhileItClaims: what is claimed at that moment is given back, so
// that it need not wait for its claim to run out.
func TestRunStopsWhileItClaims(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := &endingInbox{end: cancel}
	if _, err := in.Put(t.Context(), Event{ID: "e1", Received: time.Now()}); err != nil {
		t.Fatal(err)
	}
	h := &Handler{Inbox: in, Log: quiet(), Process: func(context.Context, Event) error {
		t.Error("begun when everything ends")
		return nil
	}}
	if err := h.Run(ctx); err != nil {
		t.Error(err)
	}
	if e := in.byID["e1"]; e.attempts != 0 || e.token != "" || e.due.After(time.Now()) {
		t.Errorf("%+v", e)
	}
}

// TestRunTimesOut: a Process that hangs is cut off and tried again.
func TestRunTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &MemoryInbox{}
		calls := 0
		w := startWorker(t, in, func(ctx context.Context, _ Event) error {
			if calls++; calls > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		w.put(t, "e1", "")
		time.Sleep(DefaultTimeout + jitter(firstPause, 1))
		w.expect(t, "e1", "e1")
		if e := in.byID["e1"]; e.state != Processed || e.attempts != 2 {
			t.Errorf("%+v", e)
		}
		w.stop()
	})
}

// TestRunSurvivesPanics of Process and of Failed.
func TestRunSurvivesPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		in := &MemoryInbox{}
		w := startWorker(t, in, func(_ context.Context, event Event) error {
			if event.ID == "bad" {
				panic("boom")
			}
			return nil
		})
		w.Log = slog.New(slog.NewTextHandler(&out, nil))
		w.MaxAttempts = 2
		w.Failed = func(context.Context, Event, error) { panic("bang") }
		w.put(t, "bad", "a")
		w.put(t, "good", "a")
		time.Sleep(time.Minute)
		w.expect(t, "bad", "bad", "good")
		w.stop()
		if len(in.Failed()) != 1 {
			t.Error("not parked")
		}
		for _, want := range []string{"boom", "bang", "process_test.go"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in the log", want)
			}
		}
	})
}

// flakyInbox fails while broken is set.
type flakyInbox struct {
	MemoryInbox
	mu     sync.Mutex
	broken error
	claims int
}

func (f *flakyInbox) trouble(counts int, set ...error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.claims += counts
	for _, err := range set {
		f.broken = err
	}
	return f.broken
}

func (f *flakyInbox) Claim(ctx context.Context, now time.Time, lease time.Duration) (*Claim, time.Time, error) {
	if err := f.trouble(1); err != nil {
		return nil, time.Time{}, err
	}
	return f.MemoryInbox.Claim(ctx, now, lease)
}

func (f *flakyInbox) Settle(ctx context.Context, c Claim, v Verdict) error {
	if err := f.trouble(0); err != nil {
		return err
	}
	return f.MemoryInbox.Settle(ctx, c, v)
}

// TestRunOutlivesItsInbox: while the inbox is away Run asks now and then; a
// verdict that was lost means that the event is processed once more.
func TestRunOutlivesItsInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &flakyInbox{}
		w := startWorker(t, in, func(context.Context, Event) error {
			in.trouble(0, errTrouble) // the database goes away during the work
			return nil
		})
		w.put(t, "e1", "i")
		w.expect(t, "e1")
		in.mu.Lock()
		in.claims = 0
		in.mu.Unlock()
		time.Sleep(time.Minute)
		in.mu.Lock()
		if in.claims < 9 || in.claims > 16 {
			t.Errorf("asked %d times in a minute", in.claims)
		}
		in.broken = nil
		in.mu.Unlock()
		time.Sleep(DefaultTimeout + leaseMargin)
		w.expect(t, "e1", "e1")
		w.stop()
	})
}

func TestRunNotSetUp(t *testing.T) {
	process := func(context.Context, Event) error { return nil }
	for _, h := range []*Handler{{}, {Process: process}, {Inbox: &MemoryInbox{}}} {
		if err := h.Run(t.Context()); !errors.Is(err, ErrNotSetUp) {
			t.Errorf("%v", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Handler{Process: process, Inbox: failingInbox{}}).Run(ended); err != nil {
		t.Error(err)
	}
}
