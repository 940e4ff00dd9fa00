package store_test

import (
	"testing"
	"time"

	"tidings"
)

func (o *opened) recover(t *testing.T, id string, since, until time.Time) tidings.Recovery {
	t.Helper()
	r, err := o.Recover(t.Context(), o.org.Key, id, tidings.NewRecovery{Since: since, Until: until})
	if err != nil {
		t.Fatal(err)
	}
	o.recovering(t)
	if r, err = o.Recovery(t.Context(), o.org.Key, id, r.ID); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARecoveryLooksAtItsPeriodOnly(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "a")
	start := o.clock.Now()
	for range 60 {
		o.publish(t, tidings.IssuanceCompleted, "i")
		o.clock.Advance(time.Hour)
	}
	o.deliver(t, e, tidings.DeliveryFailed)
	r := o.recover(t, "a", start.Add(10*time.Hour), start.Add(29*time.Hour))
	if r.Status != tidings.RecoveryCompleted || r.Examined != 20 || r.Recovered != 20 {
		t.Errorf("the recovery is %s after %d events, of which %d are sent again; want 20 each", r.Status, r.Examined, r.Recovered)
	}
	if got := len(o.pending(t, e)); got != 20 {
		t.Errorf("%d deliveries are pending, want 20", got)
	}
	o.sound(t)
}

func TestARecoveryBeginsInThePast(t *testing.T) {
	o := open(t, t.TempDir())
	o.endpoint(t, "a")
	for _, since := range []time.Time{o.clock.Now().Add(time.Hour), time.Date(8000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		_, err := o.Recover(t.Context(), o.org.Key, "a", tidings.NewRecovery{Since: since, Until: since.Add(time.Hour)})
		if tidings.KindOf(err) != tidings.KindInvalid || err == nil {
			t.Errorf("a recovery from %v on gives %v, want a refusal", since, err)
		}
	}
}

func TestARecoveryTellsNoEndpointOfItself(t *testing.T) {
	o := open(t, t.TempDir())
	o.endpoint(t, "other", tidings.EndpointWasDisabled, tidings.EndpointWasEnabled)
	e := o.endpoint(t, "a", tidings.EndpointWasDisabled, tidings.EndpointWasEnabled)
	start := o.clock.Now()
	disabled, enabled := tidings.EndpointDisabled, tidings.EndpointEnabled
	for _, status := range []*tidings.EndpointStatus{&disabled, &enabled} {
		if _, err := o.UpdateEndpoint(t.Context(), o.org.Key, "a", tidings.EndpointPatch{Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	o.clock.Advance(time.Second)
	if r := o.recover(t, "a", start, time.Time{}); r.Recovered != 0 {
		t.Errorf("%d events about the endpoint are sent to it", r.Recovered)
	}
	if got := len(o.pending(t, e)); got != 0 {
		t.Errorf("%d deliveries are pending, want none", got)
	}
	o.sound(t)
}

// A sample is about no issuance: it waits for no other one.
func TestASampleIsSentNowAlsoWhileAnotherWaits(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "a")
	sample := func() tidings.Delivery {
		d, err := o.TestEndpoint(t.Context(), o.org.Key, "a", tidings.IssuanceCompleted, tidings.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := sample()
	second := sample()
	o.record(t, func() tidings.AttemptResult {
		r := result(o.pending(t, e)[0], tidings.DeliveryPending, o.clock.Now().Add(5*time.Minute))
		r.Hold = true
		return r
	}())
	third := sample()
	for _, d := range []tidings.Delivery{second, third} {
		d, err := o.Delivery(t.Context(), o.org.Key, d.ID)
		if err != nil || d.NextAttemptAt == nil || d.NextAttemptAt.After(o.clock.Now()) {
			t.Errorf("a sample is due at %v behind the failed one %s (%v)", d.NextAttemptAt, first.ID, err)
		}
	}
}

// A clock that was ahead for a moment and is set right must not hold up what is
// accepted from then on.
func TestAClockThatWasAheadHoldsUpNothing(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "a")
	o.clock.Advance(time.Hour)
	o.publish(t, tidings.IssuanceCompleted, "i")
	o.deliver(t, e, tidings.DeliveryDelivered)
	o.clock.Advance(-time.Hour)
	second := o.publish(t, tidings.IssuanceCompleted, "j")
	pending := o.pending(t, e)
	if len(pending) != 1 || pending[0].Due.After(o.clock.Now()) {
		t.Errorf("the event is due at %v, an hour after it was accepted", pending[0].Due)
	}
	all := o.events(t)
	if len(all) != 2 || all[1].ID != second.ID {
		t.Error("the feed is not in the order of the commits")
	}
}

// An attempt that was on its way while its endpoint was enabled again must not
// bring the old failure clock back.
func TestAnOldAttemptBringsNoOldClockBack(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "a")
	o.publish(t, tidings.IssuanceCompleted, "i")
	d := o.pending(t, e)[0]
	start := o.clock.Now()
	failed := func(n int) tidings.AttemptResult {
		r := result(d, tidings.DeliveryPending, o.clock.Now())
		r.Health = &tidings.Health{Failures: n, FirstFailureAt: start, LastFailureAt: o.clock.Now(), SpacedFailures: n, SpacedAt: o.clock.Now()}
		return r
	}
	o.record(t, failed(1))
	o.clock.Advance(100 * time.Hour)
	o.disable(t, "a")
	enabled := tidings.EndpointEnabled
	if _, err := o.UpdateEndpoint(t.Context(), o.org.Key, "a", tidings.EndpointPatch{Status: &enabled}); err != nil {
		t.Fatal(err)
	}
	d = o.pending(t, e)[0]
	o.record(t, failed(2))
	lane, err := o.Lane(t.Context(), e.Key)
	if err != nil || lane.Health.Failures != 1 || !lane.Health.FirstFailureAt.Equal(o.clock.Now()) {
		t.Errorf("the clock says %+v, %v; want one failure, now", lane.Health, err)
	}
}
