package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

func (o *opened) accept(t *testing.T, n int, prefix string) (out []tidings.Event) {
	t.Helper()
	for i := range n {
		got, err := o.Publish(t.Context(), o.org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: fmt.Sprint(prefix, i)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, got...)
	}
	return out
}

func (o *opened) counts(t *testing.T) (events, deliveries int) {
	t.Helper()
	e, err := o.Events(t.Context(), o.org.Key, tidings.EventFilter{}, tidings.Page{Size: 100})
	d, err2 := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{}, tidings.Page{Size: 100})
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return len(e.Items), len(d.Items)
}

func TestEndedDeliveriesAndTheirEventsGoWithTime(t *testing.T) {
	o := openKeeping(t, 720*time.Hour)
	e := o.endpoint(t, "a")
	o.accept(t, 25, "old")
	o.deliver(t, e, tidings.DeliveryDelivered)
	o.clock.Advance(719 * time.Hour)
	o.accept(t, 5, "young")
	o.deliver(t, e, tidings.DeliveryDelivered)
	if rounds := o.retain(t); rounds != 1 {
		t.Errorf("%d rounds before anything is too old", rounds)
	}
	o.sound(t)
	o.clock.Advance(72 * time.Hour)
	if rounds := o.retain(t); server == "" && rounds < 4 || rounds < 2 { // a partition goes at once
		t.Errorf("25 events went in %d rounds of 10", rounds)
	}
	o.sound(t)
	if events, deliveries := o.counts(t); events != 5 || deliveries != 5 {
		t.Errorf("%d events and %d deliveries are left, want 5 and 5", events, deliveries)
	}
}

// A repeated request gets its first result also where retention has dropped that
// since.
func TestARepeatedEventOutlivesItsRetention(t *testing.T) {
	o := openKeeping(t, 2*time.Hour)
	idem := &tidings.Idempotency{Route: "POST /events", Key: "k"}
	publish := func() tidings.Event {
		t.Helper()
		got, err := o.Publish(t.Context(), o.org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: "i"}}, idem)
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	first := publish()
	o.clock.Advance(12 * time.Hour)
	o.retain(t)
	if events, _ := o.counts(t); events != 0 {
		t.Fatalf("%d events are left", events)
	}
	if again := publish(); again != first {
		t.Errorf("again %+v, first %+v", again, first)
	}
}

// A disabled endpoint collects up to the retention time.
func TestWhatIsPendingForTooLongIsGivenUp(t *testing.T) {
	o := openKeeping(t, 720*time.Hour)
	e := o.endpoint(t, "a")
	o.disable(t, "a")
	o.accept(t, 25, "old")
	o.clock.Advance(719 * time.Hour)
	young := o.accept(t, 1, "young")
	o.retain(t)
	if left := len(o.pending(t, e)); left != 26 {
		t.Errorf("%d deliveries are pending within the retention time, want 26", left)
	}
	o.clock.Advance(2 * time.Hour)
	o.retain(t)
	o.sound(t)
	if left := o.pending(t, e); len(left) != 1 || left[0].EventID != young[0].ID {
		t.Errorf("pending are %+v", left)
	}
	// Whoever looks for what became of them finds it for a while.
	given, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{EndpointID: "a", Status: tidings.DeliveryFailed}, tidings.Page{})
	if err != nil || len(given.Items) != 25 || given.Items[0].Reason != tidings.ReasonRetention || !given.Items[0].EndedAt.Equal(o.clock.Now()) {
		t.Fatalf("%d deliveries have failed, %v; want 25 that ended now for retention: %+v", len(given.Items), err, given.Items)
	}
	o.clock.Advance(6 * 24 * time.Hour)
	o.retain(t)
	if d, err := o.Delivery(t.Context(), o.org.Key, given.Items[24].ID); err != nil || d.Reason != tidings.ReasonRetention {
		t.Errorf("after six days it is %+v, %v", d, err)
	}
	if _, err := o.RetryDelivery(t.Context(), o.org.Key, given.Items[0].ID, tidings.Origin{}); err != nil {
		t.Errorf("sending one again after all gives %v", err)
	}
	o.deliver(t, e, tidings.DeliveryDelivered)
	o.clock.Advance(25 * time.Hour)
	o.retain(t)
	o.sound(t)
	if events, deliveries := o.counts(t); events != 2 || deliveries != 2 {
		t.Errorf("%d events and %d deliveries are left, want the young ones", events, deliveries)
	}
}

func (o *opened) disable(t *testing.T, id string) {
	t.Helper()
	disabled := tidings.EndpointDisabled
	if _, err := o.UpdateEndpoint(t.Context(), o.org.Key, id, tidings.EndpointPatch{Status: &disabled}); err != nil {
		t.Fatal(err)
	}
}

func TestAnEventLivesAsLongAsItsRetry(t *testing.T) {
	o := openKeeping(t, 720*time.Hour)
	e := o.endpoint(t, "a")
	event := o.accept(t, 1, "old")[0]
	o.deliver(t, e, tidings.DeliveryFailed)
	first, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{}, tidings.Page{})
	if err != nil {
		t.Fatal(err)
	}
	o.disable(t, "a")
	o.clock.Advance(700 * time.Hour)
	again, err := o.RetryDelivery(t.Context(), o.org.Key, first.Items[0].ID, tidings.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	for _, delivered := range []bool{false, true} { // pending first, then ended
		if delivered {
			o.deliver(t, e, tidings.DeliveryDelivered)
		}
		o.clock.Advance(100 * time.Hour)
		o.retain(t)
		o.sound(t)
		if _, err := o.Event(t.Context(), o.org.Key, event.ID); err != nil {
			t.Errorf("the event of a living retry: %v", err)
		}
		if d, err := o.Delivery(t.Context(), o.org.Key, again.ID); err != nil || d.RetryOf != first.Items[0].ID {
			t.Errorf("the retry: %+v, %v", d, err)
		}
		if _, err := o.Delivery(t.Context(), o.org.Key, first.Items[0].ID); tidings.KindOf(err) != tidings.KindNotFound {
			t.Errorf("the first delivery: %v, want that it is gone", err)
		}
	}
	o.clock.Advance(1000 * time.Hour)
	o.retain(t)
	o.sound(t)
	if events, deliveries := o.counts(t); events != 0 || deliveries != 0 {
		t.Errorf("%d events and %d deliveries are left", events, deliveries)
	}
}

func TestTheFileShrinks(t *testing.T) {
	dir := t.TempDir()
	clock := newClock()
	run := func(do func(o *opened)) int64 {
		s, err := store.Open(t.Context(), store.Options{Dir: dir, Now: clock.Now, Retention: 720 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		o := &opened{Store: s, clock: clock, org: organisation(t, s, "default")}
		do(o)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "tidings.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	full := run(func(o *opened) {
		e := o.endpoint(t, "a")
		o.accept(t, 800, "old")
		o.deliver(t, e, tidings.DeliveryDelivered)
	})
	clock.Advance(1000 * time.Hour)
	left := run(func(o *opened) {
		o.retain(t)
		finish(t, func(limit int) (int, error) { return o.Shrink(t.Context(), limit) })
	})
	if left > full/2 {
		t.Errorf("the file had %d bytes and has %d after all of it was dropped", full, left)
	}
}

func TestSizeTellsOfTheStore(t *testing.T) {
	o := openKeeping(t, 720*time.Hour)
	before, err := o.Size(t.Context())
	if err != nil || before.Bytes <= 0 || (before.Free <= 0) != (server != "") || before.OldestEvent != nil {
		t.Errorf("an empty store: %+v, %v", before, err)
	}
	first := o.accept(t, 1, "a")[0]
	o.clock.Advance(time.Hour)
	o.accept(t, 1, "b")
	after, err := o.Size(t.Context())
	if err != nil || after.Bytes < before.Bytes || after.OldestEvent == nil || !after.OldestEvent.Equal(first.CreatedAt) {
		t.Errorf("after two events: %+v, %v", after, err)
	}
}
