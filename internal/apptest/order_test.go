package apptest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/internal/apptest"
	"tidings/internal/delivery"
	"tidings/internal/store"
)

// trial is the real engine on the real store, in a bubble of its own time, with
// a far side that fails, a store that answers late, and crashes, all drawn from
// a seed.
type trial struct {
	*store.Store
	t       *testing.T
	org     int64
	seed    uint64
	engine  atomic.Pointer[delivery.Engine]
	crashed atomic.Bool
	end     func()

	mu       sync.Mutex
	luck     *rand.Rand
	story    map[string][]string     // ids of an issuance's events in order of their acceptance
	reached  map[string]*reachedness // by endpoint and event
	attempts int
	failures int
}

// reachedness is how far an event has come at an endpoint.
type reachedness struct {
	delivered bool
	failed    int // the highest number of an attempt that failed
}

func (w *trial) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.luck.IntN(n)
}

// pause takes up to so much of the bubble's time.
func (w *trial) pause(most time.Duration) { time.Sleep(time.Duration(w.draw(int(most) + 1))) }

// Pending answers late: what it read can be out of date by then.
func (w *trial) Pending(ctx context.Context, endpoint int64, after tidings.QueuePosition, limit int) ([]tidings.PendingDelivery, error) {
	rows, err := w.Store.Pending(ctx, endpoint, after, limit)
	w.pause(20 * time.Millisecond)
	return rows, err
}

// Record takes nothing once the process has crashed.
func (w *trial) Record(results []tidings.AttemptResult) []error {
	w.pause(5 * time.Millisecond)
	if !w.crashed.Load() {
		return w.Store.Record(results)
	}
	errs := make([]error, len(results))
	for i := range errs {
		errs[i] = tidings.Unavailable(time.Second, nil, "crashed")
	}
	return errs
}

// Post is the far side: it holds the engine to the order of an issuance's
// events, and fails as it likes.
func (w *trial) Post(ctx context.Context, _ time.Time, url string, header http.Header, body []byte) delivery.Answer {
	id := header.Get("webhook-id")
	number, _ := strconv.Atoi(header.Get("webhook-attempt"))
	w.inOrder(url, id, body)
	w.pause(30 * time.Millisecond)
	if ctx.Err() != nil {
		return delivery.Answer{ErrorCode: delivery.ErrorCanceled}
	}
	fails := w.draw(4) == 0
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts++
	r := w.reach(url, id)
	if fails {
		w.failures++
		r.failed = max(r.failed, number)
		return delivery.Answer{StatusCode: 500}
	}
	r.delivered = true
	return delivery.Answer{StatusCode: 204}
}

func (w *trial) reach(url, id string) *reachedness {
	key := url + " " + id
	if w.reached[key] == nil {
		w.reached[key] = &reachedness{}
	}
	return w.reached[key]
}

// inOrder wants that each earlier event of the issuance has arrived at the
// endpoint, or has used up the retries for which later ones wait.
func (w *trial) inOrder(url, id string, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, rest, _ := strings.Cut(string(body), `"openId4VcIssuanceId":"`)
	issuance, _, _ := strings.Cut(rest, `"`)
	for n, earlier := range w.story[issuance] {
		if earlier == id || earlier == "" { // its publisher has not heard of it yet
			return
		}
		if r := w.reach(url, earlier); !r.delivered && r.failed <= tidings.HeldRetries {
			w.t.Errorf("seed %d: an event of %s was sent although event %d before it had not arrived and was tried %d times", w.seed, issuance, n, r.failed)
		}
	}
}

// start starts an engine, as a process does.
func (w *trial) start() {
	e := delivery.New(w, w, delivery.Config{DrainTimeout: time.Millisecond, AttemptTimeout: time.Second, Log: slog.New(slog.DiscardHandler),
		Policy: delivery.Policy{RetrySchedule: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second,
			5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second}}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w.crashed.Store(false)
	w.engine.Store(e)
	go func() { done <- e.Run(ctx) }()
	w.end = func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// crash ends the engine with everything lost that is not recorded.
func (w *trial) crash() {
	w.crashed.Store(true)
	w.end()
}

func (w *trial) publish(issuances int) {
	types := []tidings.EventType{tidings.IssuanceOffered, tidings.IssuancePartiallyIssued, tidings.IssuanceCompleted}
	var group sync.WaitGroup
	for n := range issuances {
		group.Go(func() {
			name := fmt.Sprint("issuance-", n)
			for _, typ := range types {
				w.pause(500 * time.Millisecond)
				w.mu.Lock()
				w.story[name] = append(w.story[name], "")
				w.mu.Unlock()
				out, err := w.Publish(context.Background(), w.org, []tidings.NewEvent{{Type: typ, IssuanceID: name}}, nil)
				if err != nil {
					w.t.Error(err)
					return
				}
				w.mu.Lock()
				w.story[name][len(w.story[name])-1] = out[0].ID
				w.mu.Unlock()
			}
		})
	}
	group.Wait()
}

func TestOrderAndDeliveryOverFailuresAndCrashes(t *testing.T) {
	var attempts, failures int
	for seed := range uint64(setting(t, "TIDINGS_ORDER_SEEDS", 12)) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			w := newTrial(t, dir, seed)
			w.run()
			attempts, failures = attempts+w.attempts, failures+w.failures
		})
	}
	t.Logf("%d attempts, %d of which failed", attempts, failures)
}

func newTrial(t *testing.T, dir string, seed uint64) *trial {
	w := &trial{t: t, seed: seed, luck: rand.New(rand.NewPCG(seed, 1)), story: map[string][]string{}, reached: map[string]*reachedness{}}
	var err error
	w.Store, err = store.Open(t.Context(), store.Options{Dir: dir, Database: apptest.Database(t, dir), OnWake: func(wakes []tidings.Wake) {
		if e := w.engine.Load(); e != nil {
			e.Wake(wakes)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.CreateClient(t.Context(), "default", tidings.Client{ID: "c"})
	org, orgErr := w.OrganisationBySlug(t.Context(), "default")
	if err := errors.Join(err, orgErr); err != nil {
		t.Fatal(err)
	}
	w.org = org.Key
	for n := range 2 {
		if _, err := w.CreateEndpoint(t.Context(), w.org, tidings.NewEndpoint{Settings: tidings.Settings{URL: fmt.Sprint("https://receiver.example/", n)}}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// run publishes, crashes a few times, and waits until nothing is pending.
func (w *trial) run() {
	defer w.Close()
	w.start()
	var publishing sync.WaitGroup
	publishing.Go(func() { w.publish(12) })
	for range 1 + w.draw(3) {
		w.pause(2 * time.Second)
		w.crash()
		w.start()
	}
	publishing.Wait()
	for until := time.Now().Add(time.Hour); ; time.Sleep(time.Second) {
		busy, err := w.BusyLanes(context.Background())
		if err != nil || time.Now().After(until) {
			w.t.Fatalf("seed %d: after an hour %d lanes have pending deliveries, %v", w.seed, len(busy), err)
		}
		if len(busy) == 0 {
			break
		}
	}
	w.end()
	for name, ids := range w.story {
		for _, id := range ids {
			for n := range 2 {
				if !w.reach(fmt.Sprint("https://receiver.example/", n), id).delivered {
					w.t.Errorf("seed %d: an event of %s never arrived at endpoint %d", w.seed, name, n)
				}
			}
		}
	}
	if breaches, err := w.Check(context.Background(), 10); err != nil || len(breaches) > 0 {
		w.t.Errorf("seed %d: the store's invariants: %v %q", w.seed, err, breaches)
	}
}
