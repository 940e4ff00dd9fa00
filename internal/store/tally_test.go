package store_test

import (
	"testing"
	"time"

	"tidings"
)

// What was recorded is counted per minute, for its endpoint and for the
// organisation, whether it has been written or not, and over a restart.
func TestResultsAreCounted(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	a, b := o.endpoint(t, "a"), o.endpoint(t, "b", tidings.IssuanceFailed)
	since := o.clock.Now()
	for _, id := range []string{"1", "2", "3"} {
		o.publish(t, tidings.IssuanceOffered, id)
	}
	o.publish(t, tidings.IssuanceFailed, "4")
	o.clock.Advance(200 * time.Millisecond)
	waiting := o.pending(t, a)
	o.record(t, result(waiting[0], tidings.DeliveryDelivered, time.Time{}), result(waiting[1], tidings.DeliveryPending, o.clock.Now().Add(time.Hour)))
	if n, err := o.WriteTallies(t.Context(), 1); n != 1 || err != nil {
		t.Fatalf("%d rows written, %v; want 1", n, err)
	}
	o.clock.Advance(time.Minute)
	o.record(t, result(waiting[2], tidings.DeliveryFailed, time.Time{}), result(o.pending(t, b)[0], tidings.DeliveryDelivered, time.Time{}))

	check := func(endpoint string, want ...tidings.Tally) {
		t.Helper()
		got, err := o.Tallies(t.Context(), o.org.Key, endpoint, since, time.Minute)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d minutes, %v; want %d", len(got), err, len(want))
		}
		for i := range want {
			if want[i].At = since.Add(time.Duration(i) * time.Minute); got[i] != want[i] {
				t.Errorf("endpoint %q, minute %d: %+v, want %+v", endpoint, i, got[i], want[i])
			}
		}
	}
	quick, late := tidings.Latency{4: 1}, tidings.Latency{10: 1} // 200 ms, and a minute more
	all := func() {
		t.Helper()
		check("", tidings.Tally{Delivered: 1, FailedAttempts: 1, Latency: quick}, tidings.Tally{Delivered: 1, Failed: 1, FailedAttempts: 1, Latency: late})
		check("a", tidings.Tally{Delivered: 1, FailedAttempts: 1, Latency: quick}, tidings.Tally{Failed: 1, FailedAttempts: 1})
		check("b", tidings.Tally{}, tidings.Tally{Delivered: 1, Latency: late})
	}
	all()
	clock := o.clock
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, dir)
	o.clock.Advance(clock.Now().Sub(o.clock.Now()))
	all()

	o.clock.Advance(tidings.TallyLife + time.Minute)
	for n := 1; n > 0; {
		var err error
		if n, err = o.WriteTallies(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
	}
	got, err := o.Tallies(t.Context(), o.org.Key, "", since, tidings.TallyLife)
	if err != nil {
		t.Fatal(err)
	}
	for _, sum := range got {
		if !sum.Empty() {
			t.Errorf("after two days there is still %+v", sum)
		}
	}
}

// Writing what was counted ends although traffic goes on, and then, too, what is
// too old goes.
func TestCountingNeverKeepsTheHouse(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "e")
	since := o.clock.Now()
	for range 2 {
		o.publish(t, tidings.IssuanceOffered, tidings.NewEndpointID())
		o.record(t, result(o.pending(t, e)[0], tidings.DeliveryDelivered, time.Time{}))
		if n, err := o.WriteTallies(t.Context(), 100); n != 0 || err != nil {
			t.Errorf("%d rows and more to do, %v; want an end", n, err)
		}
		o.clock.Advance(tidings.TallyLife + time.Minute)
	}
	got, err := o.Tallies(t.Context(), o.org.Key, "", since, 4*tidings.TallyLife)
	if err != nil || len(got) == 0 {
		t.Fatalf("%d sums, %v", len(got), err)
	}
	if sum := got[0].Delivered; sum != 1 {
		t.Errorf("%d deliveries are counted since %v, want 1: the other is too old", sum, since)
	}
}

// A sample is no traffic, and another organisation's endpoint has no numbers.
func TestSamplesAreNotCounted(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "e")
	if _, err := o.TestEndpoint(t.Context(), o.org.Key, "e", tidings.IssuanceCompleted, tidings.Origin{}); err != nil {
		t.Fatal(err)
	}
	o.record(t, result(o.pending(t, e)[0], tidings.DeliveryDelivered, time.Time{}))
	got, err := o.Tallies(t.Context(), o.org.Key, "e", o.clock.Now(), time.Minute)
	if err != nil || !got[0].Empty() {
		t.Errorf("a sample was counted: %+v, %v", got, err)
	}
	other := organisation(t, o.Store, "other")
	if _, err := o.Tallies(t.Context(), other.Key, "e", o.clock.Now(), time.Minute); tidings.KindOf(err) != tidings.KindNotFound {
		t.Errorf("another organisation's endpoint gives %v", err)
	}
}
