package store_test

import (
	"context"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// inTrace says where in a trace a request stands.
type inTrace struct{}

// traced opens the store again; it keeps what inTrace says, where it is to.
func (o *opened) traced(t *testing.T, dir string, on bool) {
	t.Helper()
	options := store.Options{Dir: dir, Database: database(t, dir), Now: o.clock.Now, OnWake: func(w []tidings.Wake) { o.wakes = w }}
	if on {
		options.Trace = func(ctx context.Context) (string, func(error)) {
			traceparent, _ := ctx.Value(inTrace{}).(string)
			return traceparent, func(error) {}
		}
	}
	if err := o.Store.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.Store, err = store.Open(t.Context(), options); err != nil {
		t.Fatal(err)
	}
}

// Where an event was accepted is told with its deliveries: at once, when they are
// read, after a restart, and when they are sent again; for longer than retries last.
func TestAnEventKeepsItsPlaceInATrace(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	o.traced(t, dir, true)
	e := o.endpoint(t, "one")
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	want := func(when string, d tidings.PendingDelivery, want string) {
		t.Helper()
		if d.Trace != want {
			t.Errorf("%s the delivery stands at %q in a trace, want %q", when, d.Trace, want)
		}
	}
	ctx := context.WithValue(t.Context(), inTrace{}, traceparent)
	if _, err := o.Publish(ctx, o.org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: "i"}}, nil); err != nil {
		t.Fatal(err)
	}
	want("at once", o.wakes[0].Deliveries[0], traceparent)
	o.publish(t, tidings.IssuanceOffered, "other")
	want("outside a trace", o.wakes[0].Deliveries[0], "")

	o.traced(t, dir, true)
	read := o.pending(t, e)
	want("after a restart", read[0], traceparent)
	want("after a restart, outside a trace,", read[1], "")
	oldest, err := o.OldestPending(t.Context(), e.Key)
	if err != nil {
		t.Fatal(err)
	}
	want("as the oldest one", oldest, traceparent)

	o.record(t, result(read[0], tidings.DeliveryFailed, time.Time{}), result(read[1], tidings.DeliveryDelivered, time.Time{}))
	failed, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{Status: tidings.DeliveryFailed}, tidings.Page{Size: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.RetryDelivery(t.Context(), o.org.Key, failed.Items[0].ID, tidings.Origin{}); err != nil {
		t.Fatal(err)
	}
	want("sent again", o.wakes[0].Deliveries[0], traceparent)

	o.traced(t, dir, false)
	want("where nothing is traced", o.pending(t, e)[0], "")
	for _, step := range []struct{ days, pruned int }{{6, 0}, {2, 1}, {0, 0}} {
		o.clock.Advance(time.Duration(step.days) * 24 * time.Hour)
		if n, err := o.PruneTraces(t.Context(), 100); n != step.pruned || err != nil {
			t.Errorf("%d days later %d traces are forgotten, want %d: %v", step.days, n, step.pruned, err)
		}
	}
	o.traced(t, dir, true)
	want("once it is forgotten", o.pending(t, e)[0], "")
}
