package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// many registers more endpoints than deliveries are made for at once.
func (o *opened) many(t *testing.T, types ...tidings.EventType) (out []tidings.Endpoint) {
	t.Helper()
	for i := range store.FanAtOnce + 6 {
		out = append(out, o.endpoint(t, fmt.Sprint("e", i), types...))
	}
	return out
}

func (o *opened) unexpanded(t *testing.T) int64 {
	t.Helper()
	n, err := o.Unexpanded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// expanded waits until all deliveries are made: each write brings that on.
func (o *opened) expanded(t *testing.T) {
	t.Helper()
	for o.unexpanded(t) > 0 {
		if err := o.ExpandOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// An event to many endpoints is accepted before its deliveries are made. What
// becomes of endpoints meanwhile changes nothing of where it goes.
func TestManyDeliveriesAreMadeBehindTheCommit(t *testing.T) {
	o := open(t, t.TempDir())
	all := o.many(t, tidings.IssuanceCompleted)
	few := o.endpoint(t, "few", tidings.IssuanceFailed, tidings.IssuanceCompleted)
	start := o.clock.Now()
	o.clock.Advance(time.Second)
	o.HoldExpansion()
	completed := o.publish(t, tidings.IssuanceCompleted, "a")
	if got := len(o.pending(t, all[0])); got != 0 {
		t.Fatalf("%d deliveries of the event are made already", got)
	}
	if b, err := o.Backlog(t.Context()); err != nil || b.Count != int64(len(all)+1) || b.DueAt == nil || !b.DueAt.Equal(o.clock.Now()) {
		t.Errorf("the backlog is %+v, %v; want %d", b, err, len(all)+1)
	}
	o.sound(t)

	// An event of the same issuance does not pass it, one of another does not wait.
	failed, other := o.publish(t, tidings.IssuanceFailed, "a"), o.publish(t, tidings.IssuanceFailed, "b")
	if got := eventIDs(o.pending(t, few)); got != other.ID {
		t.Errorf("pending are %q, want only the other issuance's event", got)
	}

	if err := o.DeleteEndpoint(t.Context(), o.org.Key, "e1", tidings.Origin{}); err != nil {
		t.Fatal(err)
	}
	disabled := tidings.EndpointDisabled
	for id, patch := range map[string]tidings.EndpointPatch{"e2": {Status: &disabled}, "e3": {FilterTypes: &[]tidings.EventType{tidings.IssuanceOffered}}} {
		if _, err := o.UpdateEndpoint(t.Context(), o.org.Key, id, patch); err != nil {
			t.Fatal(err)
		}
	}
	late := o.endpoint(t, "late")
	r, err := o.Recover(t.Context(), o.org.Key, "e4", tidings.NewRecovery{Since: start, Until: o.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := o.Recovering(t.Context(), 10); err != nil || n == 0 {
		t.Fatalf("the search for failures: %d, %v", n, err)
	}
	if n, err := o.Recovering(t.Context(), 10); err != nil || n != 0 {
		t.Errorf("a recovery goes on (%d, %v), although it cannot be known what is missing", n, err)
	}

	o.GoOnExpanding()
	o.expanded(t)
	for _, e := range all {
		if got := eventIDs(o.pending(t, e)); got != completed.ID {
			t.Errorf("endpoint %s holds %q, want the event", e.ID, got)
		}
	}
	if got, want := eventIDs(o.pending(t, few)), other.ID+" "+completed.ID+" "+failed.ID; got != want {
		t.Errorf("the order is %q, want %q", got, want)
	}
	if got := len(o.pending(t, late)); got != 0 {
		t.Errorf("an endpoint that came later holds %d deliveries", got)
	}
	if d := o.pending(t, few)[1]; !d.CreatedAt.Equal(completed.CreatedAt) {
		t.Errorf("a delivery was created at %v, its event accepted at %v", d.CreatedAt, completed.CreatedAt)
	}
	o.recovering(t)
	if r, err = o.Recovery(t.Context(), o.org.Key, "e4", r.ID); err != nil || r.Status != tidings.RecoveryCompleted || r.Recovered != 0 {
		t.Errorf("the recovery is %+v, %v; want nothing recovered", r, err)
	}
	for n := 1; n > 0; {
		if n, err = o.CancelDeleted(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	page, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{EndpointID: "e1"}, tidings.Page{})
	if err != nil || len(page.Items) != 1 || page.Items[0].Reason != tidings.ReasonEndpointDeleted {
		t.Errorf("of the deleted endpoint there is %+v, %v", page.Items, err)
	}
	o.sound(t)
}

// What a process has not made of the deliveries when it ends, the next one makes,
// and nothing twice. At each endpoint events come in the order of their acceptance.
func TestDeliveriesAreMadeOverRestarts(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	all := o.many(t, tidings.IssuanceOffered, tidings.IssuanceFailed)
	few := all[:2]
	for _, e := range all[2:] {
		if _, err := o.UpdateEndpoint(t.Context(), o.org.Key, e.ID, tidings.EndpointPatch{FilterTypes: &[]tidings.EventType{tidings.IssuanceOffered}}); err != nil {
			t.Fatal(err)
		}
	}
	o.HoldExpansion()
	var events []tidings.NewEvent
	for i := range 100 {
		issuance := fmt.Sprint("i", i%20)
		events = append(events, tidings.NewEvent{Type: tidings.IssuanceOffered, IssuanceID: issuance}, tidings.NewEvent{Type: tidings.IssuanceFailed, IssuanceID: issuance})
	}
	var ids []string
	for batch := range slices.Chunk(events, 40) {
		out, err := o.Publish(t.Context(), o.org.Key, batch, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out {
			ids = append(ids, e.ID)
		}
	}
	before := o.unexpanded(t)
	for range 3 {
		if err := o.ExpandOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		o.sound(t)
		now := o.unexpanded(t)
		if made := before - now; made < 1 || made > store.ExpandRows {
			t.Errorf("a step made %d deliveries", made)
		}
		before = now
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, dir)
	o.expanded(t)
	for _, e := range all {
		var want []string
		for i, id := range ids {
			if events[i].Type == tidings.IssuanceOffered || e.Key == few[0].Key || e.Key == few[1].Key {
				want = append(want, id)
			}
		}
		if got := eventIDs(o.pending(t, e)); got != strings.Join(want, " ") {
			t.Errorf("endpoint %s has not each event once and in order: %d of %d", e.ID, len(o.pending(t, e)), len(want))
		}
	}
	o.sound(t)
}

// An event waits behind an earlier one of its issuance at an endpoint that did not
// take that.
func TestDeliveriesMadeLaterWaitForRetries(t *testing.T) {
	o := open(t, t.TempDir())
	all := o.many(t)
	o.publish(t, tidings.IssuanceOffered, "a")
	o.expanded(t)
	due := o.clock.Now().Add(5 * time.Second)
	o.record(t, result(o.pending(t, all[1])[0], tidings.DeliveryPending, due), result(o.pending(t, all[0])[0], tidings.DeliveryDelivered, time.Time{}))
	o.publish(t, tidings.IssuanceCompleted, "a")
	o.expanded(t)
	if got := o.pending(t, all[0]); len(got) != 1 || !got[0].Due.Equal(o.clock.Now()) {
		t.Errorf("where the first arrived, the second is %+v", got)
	}
	if got := o.pending(t, all[1]); len(got) != 2 || !got[1].Due.Equal(due) {
		t.Errorf("where the first is retried, the second is %+v, want it due %v", got, due)
	}
	o.sound(t)
}

// Events that wait for too long are reported, and no more are taken behind them;
// nor does retention drop them.
func TestEventsThatWaitTooLong(t *testing.T) {
	o := openKeeping(t, 720*time.Hour)
	o.many(t)
	o.HoldExpansion()
	o.publish(t, tidings.IssuanceOffered, "a")
	o.clock.Advance(25 * time.Second)
	o.publish(t, tidings.IssuanceOffered, "b")
	o.sound(t)
	o.clock.Advance(2 * time.Minute)
	breaches, err := o.Check(t.Context(), 10)
	if err != nil || len(breaches) != 1 || !strings.Contains(breaches[0], "nothing was done about them for 145000 ms") {
		t.Errorf("the check says %q, %v", breaches, err)
	}
	_, err = o.Publish(t.Context(), o.org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: "c"}}, nil)
	if tidings.KindOf(err) != tidings.KindUnavailable {
		t.Errorf("one more event: %v, want a refusal", err)
	}
	o.clock.Advance(721 * time.Hour)
	o.retain(t)
	if events, _ := o.counts(t); events != 2 {
		t.Errorf("%d events are left, want those that wait", events)
	}
	o.GoOnExpanding()
	o.expanded(t)
	o.sound(t)
}

// While the 100,000 deliveries of a batch are made, another organisation's event is
// in the very next commit, and no commit is large.
func TestALargeBatchHoldsNobodyUp(t *testing.T) {
	const events, endpoints = 1000, 100
	var s *store.Store
	var mu sync.Mutex
	var commits []store.Commit
	other := make(chan error, 1)
	var otherOrg int64
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Database: database(t, dir), Now: newClock().Now, OnCommit: func(c store.Commit) {
		mu.Lock()
		defer mu.Unlock()
		if commits = append(commits, c); len(c.Events) != events {
			return
		}
		commits = []store.Commit{c}
		go func() {
			_, err := s.Publish(t.Context(), otherOrg, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: "other"}}, nil)
			other <- err
		}()
		for s.Publishes() == 0 { // only then may the next commit begin
			time.Sleep(time.Millisecond)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	org := organisation(t, s, "large")
	otherOrg = organisation(t, s, "other").Key
	register := func(org int64, n int) {
		for i := range n {
			if _, err := s.CreateEndpoint(t.Context(), org, tidings.NewEndpoint{Settings: tidings.Settings{URL: fmt.Sprint("https://receiver.example/", i)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	register(org.Key, endpoints)
	register(otherOrg, 1)
	batch := make([]tidings.NewEvent, events)
	for i := range batch {
		batch[i] = tidings.NewEvent{Type: tidings.IssuanceOffered, IssuanceID: fmt.Sprint("i", i)}
	}
	if _, err := s.Publish(t.Context(), org.Key, batch, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-other; err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := s.ExpandOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.HoldExpansion() // the rest would be more of the same
	mu.Lock()
	defer mu.Unlock()
	if rows := commits[0].Rows; rows > 3*events {
		t.Errorf("the batch was accepted with %d rows", rows)
	}
	if len(commits[1].Events) != 1 {
		t.Errorf("the other event is not in the next commit: %+v", commits[1])
	}
	for _, c := range commits[1:] {
		if c.Rows > 3*store.ExpandRows {
			t.Errorf("a commit has %d rows", c.Rows)
		}
	}
	if breaches, err := s.Check(t.Context(), 10); err != nil || len(breaches) > 0 {
		t.Error(breaches, err)
	}
}

// What a node that has died had accepted, another makes the deliveries of: with its
// next transaction, which is that of its lease at the latest. An event that it accepts
// itself does not pass what waits.
func testAnotherNodeMakesTheDeliveries(t *testing.T) {
	url := database(t, t.TempDir())
	dying, other := node(t, url, nil), node(t, url, nil)
	o := &opened{Store: dying, clock: newClock(), org: organisation(t, dying, "default")}
	all := o.many(t)
	keepLease(t, dying)
	dying.HoldExpansion()
	other.HoldExpansion()
	first := o.publish(t, tidings.IssuanceOffered, "a")
	second := (&opened{Store: other, org: o.org}).publish(t, tidings.IssuanceCompleted, "a")
	if got := len(o.pending(t, all[0])); got != 0 {
		t.Fatalf("%d deliveries are made already", got)
	}
	other.GoOnExpanding()
	keepLease(t, other)
	until(t, func() bool { return o.unexpanded(t) == 0 })
	for _, e := range all {
		if got := eventIDs(o.pending(t, e)); got != first.ID+" "+second.ID {
			t.Errorf("endpoint %s holds %q", e.ID, got)
		}
	}
	o.sound(t)
}
