package store_test

import (
	"testing"
	"time"

	"tidings"
	"tidings/internal/pgtest"
	"tidings/internal/store"
)

// openKeeping opens a store that keeps things for a time.
func openKeeping(t *testing.T, retention time.Duration) *opened {
	t.Helper()
	o := &opened{clock: newClock()}
	dir := t.TempDir()
	var err error
	if o.Store, err = store.Open(t.Context(), store.Options{Database: database(t, dir), Dir: dir, Now: o.clock.Now, Retention: retention}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Store.Close() })
	o.org = organisation(t, o.Store, "default")
	return o
}

// finish calls a chore of the store until it finds nothing more to do.
func finish(t *testing.T, chore func(limit int) (int, error)) (rounds int) {
	t.Helper()
	for {
		n, err := chore(10)
		if err != nil {
			t.Fatal(err)
		}
		if rounds++; n == 0 {
			return rounds
		}
		if rounds > 50_000 { // each does little where the disk is slow
			t.Fatal("the chore comes to no end")
		}
	}
}

func (o *opened) retain(t *testing.T) (rounds int) {
	t.Helper()
	o.Hush()
	return finish(t, func(limit int) (int, error) { return o.Retain(t.Context(), limit) })
}

func (o *opened) recovering(t *testing.T) (rounds int) {
	t.Helper()
	o.Hush()
	return finish(t, func(limit int) (int, error) { return o.Recovering(t.Context(), limit) })
}

// sound fails where an invariant of the store is broken.
func (o *opened) sound(t *testing.T) {
	t.Helper()
	if breaches, err := o.Check(t.Context(), 10); err != nil || len(breaches) > 0 {
		t.Errorf("the store's invariants: %v %q", err, breaches)
	}
}

// Where rows go one by one, many of them go with few round trips, so that retention
// keeps up on a database at the far end of a network, too.
func testRetentionTakesFewRoundTrips(t *testing.T) {
	proxy := pgtest.NewProxy(t, database(t, t.TempDir()))
	o := &opened{clock: newClock()}
	var err error
	if o.Store, err = store.Open(t.Context(), store.Options{Database: proxy.URL, Now: o.clock.Now, Retention: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Store.Close() })
	o.org = organisation(t, o.Store, "default")
	e := o.endpoint(t, "a")
	const many = 60
	o.clock.Advance(168 * time.Hour) // for which no partitions are made
	o.retain(t)
	o.accept(t, many, "old")
	var results []tidings.AttemptResult
	for _, d := range o.pending(t, e) {
		results = append(results, result(d, tidings.DeliveryDelivered, time.Time{}))
	}
	o.record(t, results...)
	o.clock.Advance(48 * time.Hour)
	o.Hush()
	before, touched := proxy.Answers(), 0
	for n := 1; n > 0; touched += n {
		if n, err = o.Retain(t.Context(), 200); err != nil {
			t.Fatal(err)
		}
	}
	if trips := proxy.Answers() - before; touched != 2*many || trips > 3*many/2 { // one by one they take more than three each
		t.Errorf("%d rows went in %d round trips", touched, trips)
	}
	if events, deliveries := o.counts(t); events != 0 || deliveries != 0 {
		t.Errorf("%d events and %d deliveries are left", events, deliveries)
	}
	o.sound(t)
}

// deliver ends the pending deliveries of an endpoint.
func (o *opened) deliver(t *testing.T, e tidings.Endpoint, status tidings.DeliveryStatus) {
	t.Helper()
	for _, d := range o.pending(t, e) {
		r := result(d, status, time.Time{})
		if status == tidings.DeliveryFailed {
			r.Reason = tidings.ReasonExhausted
		}
		o.record(t, r)
	}
}

func (o *opened) events(t *testing.T) []tidings.Event {
	t.Helper()
	l, err := o.Events(t.Context(), o.org.Key, tidings.EventFilter{}, tidings.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	return l.Items
}

func TestAnIssuanceOutlivesItsEvents(t *testing.T) {
	o := openKeeping(t, 24*time.Hour)
	template, err := o.CreateTemplate(t.Context(), o.org.Key, tidings.NewTemplate{Name: "T", Code: "t"})
	if err != nil {
		t.Fatal(err)
	}
	offer := func(life time.Duration) {
		_, err := o.CreateIssuance(t.Context(), o.org, tidings.NewIssuance{Credentials: []tidings.NewCredential{{Template: template}}, Life: life})
		if err != nil {
			t.Fatal(err)
		}
	}
	offer(time.Hour)      // ends long before
	offer(47 * time.Hour) // tells of its end when its beginning is forgotten
	offer(72 * time.Hour) // has not ended
	for range 48 {
		o.clock.Advance(time.Hour)
		if _, _, err := o.SweepDeadlines(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		o.retain(t)
		o.sound(t)
	}
	if left := o.events(t); len(left) != 1 || left[0].Type != tidings.IssuanceExpired {
		t.Errorf("%d events are left, want the one that is young", len(left))
	}
}

// An event goes with the last delivery of it, and those without any go too.
func TestAnEventLivesAsLongAsItsDeliveries(t *testing.T) {
	o := openKeeping(t, 24*time.Hour)
	a := o.endpoint(t, "a")
	b := o.endpoint(t, "b", tidings.IssuanceFailed)
	for range 25 {
		o.publish(t, tidings.IssuanceCompleted, "i")
		o.publish(t, tidings.IssuanceFailed, "j")
	}
	o.deliver(t, a, tidings.DeliveryFailed)
	again := o.publish(t, tidings.IssuanceFailed, "kept")
	o.deliver(t, a, tidings.DeliveryDelivered)
	o.clock.Advance(23 * time.Hour)
	l, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{EventID: again.ID, EndpointID: "a"}, tidings.Page{})
	if err != nil || len(l.Items) != 1 {
		t.Fatalf("%v %v", l, err)
	}
	if _, err := o.RetryDelivery(t.Context(), o.org.Key, l.Items[0].ID, tidings.Origin{}); err != nil {
		t.Fatal(err)
	}
	o.clock.Advance(8 * time.Hour)
	o.retain(t)
	if left := len(o.events(t)); left != 26 {
		t.Errorf("%d events are left, want those that b did not get and the one that is sent again", left)
	}
	if left := len(o.pending(t, b)); left != 0 {
		t.Errorf("%d deliveries are pending that are too old", left)
	}
	o.clock.Advance(13 * time.Hour) // what b did not get could be read for long enough
	o.retain(t)
	if left := o.events(t); len(left) != 1 || left[0].ID != again.ID {
		t.Errorf("%d events are left, want the one that is sent again", len(left))
	}
	o.deliver(t, a, tidings.DeliveryDelivered)
	o.retain(t)
	o.sound(t)
	o.clock.Advance(25 * time.Hour)
	o.retain(t)
	o.sound(t)
	if left := len(o.events(t)); left != 0 {
		t.Errorf("%d events are left of a delivery that is gone", left)
	}
}
