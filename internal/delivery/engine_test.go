package delivery_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/internal/delivery"
	"tidings/internal/store"
)

// world is the real engine on a real store in a bubble of its own time; only
// the far side is made up.
type world struct {
	t        *testing.T
	store    *store.Store
	engine   *delivery.Engine
	deaf     atomic.Bool  // wakes are lost
	other    atomic.Bool  // another node has attempts in flight everywhere
	reads    atomic.Int64 // of endpoints
	rows     atomic.Int64 // pending deliveries read
	org      int64
	receiver func(sent) delivery.Answer
	mu       sync.Mutex
	log      []sent
	start    time.Time
}

// sent is one request as the far side sees it.
type sent struct {
	at      time.Duration // since the world began
	url     string
	id      string
	attempt string
	body    string
}

func (s sent) String() string {
	return fmt.Sprintf("%v %s #%s", s.at.Round(time.Second), s.url, s.attempt)
}

// inWorld runs a test in a bubble. answer is the far side.
func inWorld(t *testing.T, cfg delivery.Config, answer func(sent) delivery.Answer, test func(*testing.T, *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, receiver: answer, start: time.Now()}
		var err error
		w.store, err = store.Open(t.Context(), store.Options{Dir: dir, OnWake: func(wakes []tidings.Wake) {
			if w.engine != nil && !w.deaf.Load() {
				w.engine.Wake(wakes)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.CreateClient(t.Context(), "default", tidings.Client{ID: "c"}); err != nil {
			t.Fatal(err)
		}
		org, err := w.store.OrganisationBySlug(t.Context(), "default")
		if err != nil {
			t.Fatal(err)
		}
		w.org = org.Key
		w.engine = delivery.New(shared{w.store, w}, w, cfg)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.engine.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if breaches, err := w.store.Check(context.Background(), 10); err != nil || len(breaches) > 0 {
				t.Errorf("the store's invariants: %v %q", err, breaches)
			}
			w.store.Close()
		}()
		test(t, w)
	})
}

// shared is a store that other nodes seem to work on.
type shared struct {
	*store.Store
	w *world
}

func (s shared) Lane(ctx context.Context, endpoint int64) (tidings.Lane, error) {
	s.w.reads.Add(1)
	l, err := s.Store.Lane(ctx, endpoint)
	l.Finishing = s.w.other.Load()
	return l, err
}

func (s shared) Pending(ctx context.Context, endpoint int64, after tidings.QueuePosition, limit int) ([]tidings.PendingDelivery, error) {
	rows, err := s.Store.Pending(ctx, endpoint, after, limit)
	s.w.rows.Add(int64(len(rows)))
	return rows, err
}

// Post is the far side.
func (w *world) Post(ctx context.Context, deadline time.Time, url string, header http.Header, body []byte) delivery.Answer {
	w.mu.Lock()
	s := sent{at: time.Since(w.start), url: url, id: header.Get("webhook-id"), attempt: header.Get("webhook-attempt"), body: string(body)}
	w.log = append(w.log, s)
	receiver := w.receiver
	w.mu.Unlock()
	answer := receiver(s)
	if answer.ErrorCode != "hang" {
		return answer
	}
	select {
	case <-ctx.Done():
		return delivery.Answer{ErrorCode: delivery.ErrorCanceled}
	case <-time.After(time.Until(deadline)):
		return delivery.Answer{ErrorCode: delivery.ErrorTimeout, Error: "no answer in time"}
	}
}

// become changes the far side.
func (w *world) become(receiver func(sent) delivery.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.receiver = receiver
}

func (w *world) sent() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]sent(nil), w.log...)
}

func (w *world) endpoint(id string) {
	w.t.Helper()
	if _, err := w.store.CreateEndpoint(w.t.Context(), w.org, tidings.NewEndpoint{ID: id, Settings: tidings.Settings{URL: "https://" + id}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) publish(n int, issuance string) (ids []string) {
	w.t.Helper()
	for range n {
		out, err := w.store.Publish(w.t.Context(), w.org, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: issuance}}, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, out[0].ID)
	}
	return ids
}

func (w *world) get(id string) tidings.Endpoint {
	w.t.Helper()
	e, err := w.store.Endpoint(w.t.Context(), w.org, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) deliveries(status tidings.DeliveryStatus) []tidings.Delivery {
	w.t.Helper()
	page, err := w.store.Deliveries(w.t.Context(), w.org, tidings.DeliveryFilter{Status: status}, tidings.Page{Size: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	return page.Items
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d) // inside the bubble: nobody waits
	synctest.Wait()
}

func fine(sent) delivery.Answer   { return delivery.Answer{StatusCode: 204} }
func broken(sent) delivery.Answer { return delivery.Answer{StatusCode: 500} }
func hang(sent) delivery.Answer   { return delivery.Answer{ErrorCode: "hang"} }

func TestAnIdleEngineStaysUp(t *testing.T) {
	inWorld(t, delivery.Config{}, fine, func(t *testing.T, w *world) {
		w.endpoint("a")
		after(10 * time.Minute)
		w.publish(1, "i")
		after(time.Second)
		if got := len(w.sent()); got != 1 {
			t.Fatalf("%d attempts after ten idle minutes, want 1", got)
		}
	})
}

func TestADeliveryIsTriedTenTimesByTheSchedule(t *testing.T) {
	inWorld(t, delivery.Config{SweepEvery: 10 * time.Minute}, broken, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "i")
		after(100 * time.Hour)
		log := w.sent()
		if len(log) != 10 {
			t.Fatalf("%d attempts, want 10: %v", len(log), log)
		}
		for i, delay := range delivery.DefaultPolicy.RetrySchedule {
			got := log[i+1].at - log[i].at
			if got < delay*8/10 || got > delay*12/10+time.Second {
				t.Errorf("attempt %d came %v after the one before, want %v ±20 %%", i+2, got, delay)
			}
			if log[i+1].id != log[0].id || log[i+1].body != log[0].body {
				t.Errorf("attempt %d has another id or body", i+2)
			}
		}
		failed := w.deliveries(tidings.DeliveryFailed)
		if len(failed) != 1 || failed[0].Reason != tidings.ReasonExhausted || failed[0].AttemptCount != 10 {
			t.Errorf("ended as %+v", failed)
		}
	})
}

func TestAFailingLaneProbesWithItsOldestDeliveryOnly(t *testing.T) {
	inWorld(t, delivery.Config{}, broken, func(t *testing.T, w *world) {
		w.endpoint("a")
		for i := range 100 {
			w.publish(1, fmt.Sprint("i", i))
		}
		after(4 * time.Minute)
		tried := map[string]int{}
		for _, s := range w.sent() {
			tried[s.id]++
		}
		if len(tried) > 16 {
			t.Errorf("%d of 100 deliveries spent attempts on a dead endpoint", len(tried))
		}
		w.become(fine)
		after(6 * time.Minute) // at most five minutes pass without a probe
		if left := w.get("a").Backlog.Count; left != 0 {
			t.Errorf("%d deliveries wait six minutes after the endpoint came back", left)
		}
	})
}

func TestAnEventForAFailingEndpointIsTriedSoonAlsoWhileTheOldestWaitsForHours(t *testing.T) {
	inWorld(t, delivery.Config{}, broken, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "old")
		after(4 * time.Hour)
		if got := len(w.sent()); got != 5 { // the sixth comes five hours after the fifth
			t.Fatalf("%d attempts, want 5", got)
		}
		w.become(fine)
		w.publish(1, "new")
		after(6 * time.Minute)
		if got := len(w.sent()); got != 6 {
			t.Errorf("%d attempts six minutes after the endpoint came back and an event for it, want 6", got)
		}
	})
}

func TestAHangingEndpointHoldsUpNobodyElse(t *testing.T) {
	inWorld(t, delivery.Config{MaxInFlight: 64}, func(s sent) delivery.Answer {
		if strings.Contains(s.url, "hang") {
			return hang(s)
		}
		return fine(s)
	}, func(t *testing.T, w *world) {
		for i := range 90 {
			w.endpoint(fmt.Sprint("hang", i))
		}
		w.endpoint("healthy")
		for i := range 50 {
			w.publish(1, fmt.Sprint("i", i))
		}
		after(3 * time.Second) // of the 15 that an attempt may take
		healthy := 0
		for _, s := range w.sent() {
			if s.url == "https://healthy" {
				healthy++
			}
		}
		if healthy != 50 {
			t.Errorf("%d of 50 events have reached the healthy endpoint", healthy)
		}
		w.become(fine)
		after(time.Hour)
	})
}

// All attempts that may run hang and more could start: a stop must sleep until
// something ends. In a bubble an engine that does not sleep never gets there.
func TestAStopWithFullFlightSleeps(t *testing.T) {
	inWorld(t, delivery.Config{MaxInFlight: 1}, hang, func(t *testing.T, w *world) {
		for i := range 3 {
			w.endpoint(fmt.Sprint("hang", i))
		}
		w.publish(1, "i")
		after(500 * time.Millisecond)
	})
}

func TestARateLimitThatIsRaisedHoldsAtOnce(t *testing.T) {
	inWorld(t, delivery.Config{}, fine, func(t *testing.T, w *world) {
		_, err := w.store.CreateEndpoint(t.Context(), w.org, tidings.NewEndpoint{ID: "a", Settings: tidings.Settings{URL: "https://a", RateLimit: 0.01}})
		if err != nil {
			t.Fatal(err)
		}
		w.publish(2, "i")
		after(time.Second)
		none := 0.0
		if _, err := w.store.UpdateEndpoint(t.Context(), w.org, "a", tidings.EndpointPatch{RateLimit: &none}); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if got := len(w.sent()); got != 2 {
			t.Errorf("%d attempts without a limit, want 2", got)
		}
	})
}

func TestRetryAfterPausesTheWholeLane(t *testing.T) {
	var answered atomic.Bool
	inWorld(t, delivery.Config{}, func(s sent) delivery.Answer {
		if !answered.Swap(true) {
			return delivery.Answer{StatusCode: 503, RetryAfter: "60"}
		}
		return fine(s)
	}, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "first")
		after(time.Second)
		w.publish(3, "second")
		after(57 * time.Second)
		if got := len(w.sent()); got != 1 {
			t.Fatalf("%d attempts during the pause, want only the first", got)
		}
		after(5 * time.Second)
		if left := w.get("a").Backlog.Count; left != 0 {
			t.Errorf("%d deliveries are left after the pause", left)
		}
	})
}

func TestGoneDisablesAtOnce(t *testing.T) {
	inWorld(t, delivery.Config{SweepEvery: 10 * time.Minute}, func(sent) delivery.Answer { return delivery.Answer{StatusCode: 410} }, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "i")
		after(time.Second)
		w.publish(5, "i")
		after(24 * time.Hour)
		e := w.get("a")
		if e.Status != tidings.EndpointDisabled || e.DisabledReason != tidings.DisabledGone || e.Backlog.Count != 6 {
			t.Errorf("the endpoint is %s (%s) with %d pending; want disabled (gone) with 6", e.Status, e.DisabledReason, e.Backlog.Count)
		}
		if got := len(w.sent()); got != 1 {
			t.Errorf("%d attempts, want 1", got)
		}
	})
}

func TestAnEndpointThatOnlyFailsIsDisabled(t *testing.T) {
	inWorld(t, delivery.Config{SweepEvery: 10 * time.Minute}, broken, func(t *testing.T, w *world) {
		w.endpoint("a")
		for day := range 7 {
			w.publish(1, fmt.Sprint("i", day))
			after(24 * time.Hour)
		}
		e := w.get("a")
		if e.Status != tidings.EndpointDisabled || e.DisabledReason != tidings.DisabledFailing || e.DisabledAt == nil {
			t.Fatalf("after a week of failures the endpoint is %s", e.Status)
		}
		if age := e.DisabledAt.Sub(*e.FirstFailureAt); age < 120*time.Hour || age > 144*time.Hour {
			t.Errorf("disabled %v after the first failure, want 120h and until the next attempt", age)
		}
	})
}

func TestEventsOfAnIssuanceKeepTheirOrderOverTheFirstRetries(t *testing.T) {
	inWorld(t, delivery.Config{}, func(s sent) delivery.Answer {
		if strings.HasSuffix(s.attempt, "1") && strings.Contains(s.body, "i7") {
			return broken(s)
		}
		return fine(s)
	}, func(t *testing.T, w *world) {
		w.endpoint("a")
		var want []string
		for i := range 20 {
			issuance := fmt.Sprint("i", i)
			ids := w.publish(3, issuance)
			if i == 7 {
				want = ids
			}
		}
		after(10 * time.Minute)
		var got []string
		seen := map[string]bool{}
		for _, s := range w.sent() {
			if strings.Contains(s.body, `"i7"`) && s.attempt == "2" && !seen[s.id] {
				seen[s.id] = true
				got = append(got, s.id)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("delivered in the order %v, want %v", got, want)
		}
	})
}

func TestARestartGoesOnWhereItStopped(t *testing.T) {
	inWorld(t, delivery.Config{}, broken, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "i")
		after(time.Second)
		again := delivery.New(w.store, w, delivery.Config{}) // a second engine stands for the next process
		w.become(fine)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- again.Run(ctx) }()
		after(time.Minute)
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if left := w.get("a").Backlog.Count; left != 0 {
			t.Errorf("%d deliveries are left", left)
		}
	})
}
