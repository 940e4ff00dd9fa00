package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// opened is a store in a folder of its own, with one organisation.
type opened struct {
	*store.Store
	org   tidings.Organisation
	clock *clock
	mu    sync.Mutex
	wakes []tidings.Wake
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, dir string) *opened {
	t.Helper()
	o := &opened{clock: newClock()}
	var err error
	o.Store, err = store.Open(t.Context(), store.Options{Dir: dir, Database: database(t, dir), Now: o.clock.Now, OnWake: func(w []tidings.Wake) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.wakes = append(o.wakes, w...)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Store.Close() })
	o.org = organisation(t, o.Store, "default")
	return o
}

func organisation(t *testing.T, s *store.Store, slug string) tidings.Organisation {
	t.Helper()
	_, err := s.CreateClient(t.Context(), slug, tidings.Client{ID: "client-" + slug, Scopes: tidings.AllScopes})
	if err != nil && tidings.KindOf(err) != tidings.KindConflict {
		t.Fatal(err)
	}
	org, err := s.OrganisationBySlug(t.Context(), slug)
	if err != nil {
		t.Fatal(err)
	}
	return org
}

func (o *opened) endpoint(t *testing.T, id string, types ...tidings.EventType) tidings.Endpoint {
	t.Helper()
	e, err := o.CreateEndpoint(t.Context(), o.org.Key, tidings.NewEndpoint{ID: id, Settings: tidings.Settings{URL: "https://receiver.example/" + id, FilterTypes: types}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (o *opened) publish(t *testing.T, typ tidings.EventType, issuance string) tidings.Event {
	t.Helper()
	out, err := o.Publish(t.Context(), o.org.Key, []tidings.NewEvent{{Type: typ, IssuanceID: issuance}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func (o *opened) pending(t *testing.T, e tidings.Endpoint) []tidings.PendingDelivery {
	t.Helper()
	out, err := o.Pending(t.Context(), e.Key, tidings.QueuePosition{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (o *opened) record(t *testing.T, results ...tidings.AttemptResult) {
	t.Helper()
	if err := errors.Join(o.Record(results)...); err != nil {
		t.Fatal(err)
	}
}

// result is an attempt of d that came to status.
func result(d tidings.PendingDelivery, status tidings.DeliveryStatus, due time.Time) tidings.AttemptResult {
	n := d.AttemptCount + 1
	return tidings.AttemptResult{Delivery: d, Status: status, Due: due, Hold: n <= tidings.HeldRetries,
		Attempt: tidings.Attempt{Number: n, StartedAt: d.Due, Duration: time.Millisecond, StatusCode: 500}}
}

func TestPublishMakesADeliveryPerMatchingEndpoint(t *testing.T) {
	o := open(t, t.TempDir())
	all := o.endpoint(t, "all")
	completed := o.endpoint(t, "completed", tidings.IssuanceCompleted)
	offered := o.publish(t, tidings.IssuanceOffered, "a")
	done := o.publish(t, tidings.IssuanceCompleted, "a")

	if got := eventIDs(o.pending(t, all)); got != offered.ID+" "+done.ID {
		t.Errorf("the endpoint without a filter holds %q", got)
	}
	if got := eventIDs(o.pending(t, completed)); got != done.ID {
		t.Errorf("the filtered endpoint holds %q", got)
	}
	e, err := o.Endpoint(t.Context(), o.org.Key, "all")
	if err != nil || e.Backlog.Count != 2 {
		t.Errorf("backlog %d, %v; want 2", e.Backlog.Count, err)
	}
}

func eventIDs(pending []tidings.PendingDelivery) string {
	ids := make([]string, len(pending))
	for i, d := range pending {
		ids[i] = d.EventID
	}
	return strings.Join(ids, " ")
}

func TestALaterEventWaitsForTheFirstRetriesOfAnEarlierOne(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "e")
	o.publish(t, tidings.IssuanceOffered, "a")
	o.publish(t, tidings.IssuanceCompleted, "a")
	other := o.publish(t, tidings.IssuanceOffered, "b")
	first := o.pending(t, e)[0]
	due := o.clock.Now().Add(5 * time.Second)
	o.record(t, result(first, tidings.DeliveryPending, due))

	got := o.pending(t, e)
	if got[0].EventID != other.ID {
		t.Fatal("another issuance's event has to go on")
	}
	if got[1].EventID != first.EventID || !got[2].Due.Equal(due) {
		t.Fatalf("the later event is due %v, want with the first one's retry %v", got[2].Due, due)
	}
	failed := o.publish(t, tidings.IssuanceFailed, "a")
	if last := o.pending(t, e)[3]; last.EventID != failed.ID || !last.Due.Equal(due) {
		t.Fatalf("an event that comes meanwhile is due %v, want %v", last.Due, due)
	}
	// From the third failure on, later events may overtake.
	first = o.pending(t, e)[1]
	first.AttemptCount = 2
	o.record(t, result(first, tidings.DeliveryPending, due.Add(time.Hour)))
	if got := o.pending(t, e)[1]; !got.Due.Equal(due) || got.EventID == first.EventID {
		t.Fatalf("a later event still waits until %v", got.Due)
	}
}

func TestAnEndedDeliveryStandsInTheHistory(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "e")
	o.publish(t, tidings.IssuanceOffered, "a")
	d := o.pending(t, e)[0]
	o.record(t, result(d, tidings.DeliveryDelivered, time.Time{}))
	o.record(t, result(d, tidings.DeliveryDelivered, time.Time{})) // again: nothing happens

	page, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{}, tidings.Page{})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d deliveries, %v; want 1", len(page.Items), err)
	}
	got, err := o.Delivery(t.Context(), o.org.Key, page.Items[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != tidings.DeliveryDelivered || len(got.Attempts) != 1 || got.EndpointID != "e" || got.EndedAt == nil {
		t.Errorf("got %+v", got)
	}
	if left := o.pending(t, e); len(left) != 0 {
		t.Errorf("%d still pending", len(left))
	}
}

// TestResultsShareABatchWithThoseThatNoLongerFit: what is written in bulk takes
// rows to be where they were read. One that is not harms no other.
func TestResultsShareABatchWithThoseThatNoLongerFit(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "e")
	for range 70 {
		o.publish(t, tidings.IssuanceOffered, "a")
	}
	rows := o.pending(t, e)
	results := make([]tidings.AttemptResult, len(rows))
	for i, d := range rows {
		results[i] = result(d, tidings.DeliveryDelivered, time.Time{})
	}
	o.record(t, results[3])                                                             // has ended
	results[5].Delivery.Due = results[5].Delivery.Due.Add(time.Second)                  // is due at another time
	results[7] = result(rows[7], tidings.DeliveryPending, o.clock.Now().Add(time.Hour)) // failed
	o.record(t, append(results, results[9])...)                                         // and one twice
	if left := o.pending(t, e); len(left) != 1 || left[0].Key != rows[7].Key || left[0].AttemptCount != 1 {
		t.Errorf("pending are %+v, want the one that failed", left)
	}
	if _, deliveries := o.counts(t); deliveries != len(rows) {
		t.Errorf("%d deliveries, want %d", deliveries, len(rows))
	}
	o.sound(t)
}

func TestASecondServerOnTheFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := store.Open(t.Context(), store.Options{Dir: dir})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v", err)
	}
}

func TestAnIdempotencyKeyGivesTheFirstEventAgain(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "e")
	n := tidings.NewEvent{Type: tidings.IssuanceOffered, IssuanceID: "a", IdempotencyKey: "k"}
	publish := func(n tidings.NewEvent, idem *tidings.Idempotency) (tidings.Event, error) {
		out, err := o.Publish(context.Background(), o.org.Key, []tidings.NewEvent{n}, idem)
		if err != nil {
			return tidings.Event{}, err
		}
		return out[0], nil
	}
	first, err := publish(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := publish(n, nil)
	if err != nil || again != first {
		t.Fatalf("got %+v, %v; want %+v", again, err, first)
	}
	if got := len(o.pending(t, e)); got != 1 {
		t.Fatalf("%d deliveries, want 1", got)
	}
	n.IssuanceID = "b"
	_, err = publish(n, nil)
	if tidings.KindOf(err) != tidings.KindConflict {
		t.Fatalf("another event under the same key gives %v", err)
	}
	o.clock.Advance(25 * time.Hour)
	if _, err := publish(n, nil); err != nil {
		t.Fatalf("after a day the key is free again, got %v", err)
	}
}

// Where the answer to a commit was lost, the same results are recorded again.
func TestAResultThatIsRecordedTwiceIsTakenOnce(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "a")
	for _, status := range []tidings.DeliveryStatus{tidings.DeliveryPending, tidings.DeliveryFailed, tidings.DeliveryDelivered} {
		o.publish(t, tidings.IssuanceOffered, string(status))
		d := o.pending(t, e)[0]
		r := result(d, status, d.Due.Add(time.Hour))
		if status == tidings.DeliveryFailed {
			r.Reason = tidings.ReasonExhausted
		}
		for range 2 {
			if errs := o.Record([]tidings.AttemptResult{r}); errs[0] != nil {
				t.Errorf("a result that is %s: %v", status, errs[0])
			}
		}
		if status == tidings.DeliveryPending {
			o.record(t, result(o.pending(t, e)[0], tidings.DeliveryDelivered, time.Time{}))
		}
	}
	o.sound(t)
}

// What nobody has tried for long counts as forgotten, but not while attempts at the
// same endpoint time out one after the other.
func TestCheckKnowsWhatIsForgotten(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "")
	want := func(when string, forgotten int) {
		t.Helper()
		breaches, err := o.Check(t.Context(), 10)
		if err != nil || len(breaches) != forgotten {
			t.Errorf("%s, %d deliveries are forgotten, want %d: %v %q", when, len(breaches), forgotten, err, breaches)
		}
	}
	o.publish(t, tidings.IssuanceOffered, "a")
	o.publish(t, tidings.IssuanceOffered, "b")
	want("at first", 0)
	o.clock.Advance(5 * time.Minute)
	want("after five minutes", 2)
	r := result(o.pending(t, e)[0], tidings.DeliveryPending, o.clock.Now().Add(5*time.Second))
	r.Health = &tidings.Health{Failures: 1, FirstFailureAt: o.clock.Now(), LastFailureAt: o.clock.Now()}
	o.record(t, r)
	want("right after a failure", 0)
	o.clock.Advance(5 * time.Minute)
	want("five minutes later", 2)
}
