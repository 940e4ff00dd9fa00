package store_test

import (
	"errors"
	"testing"
	"time"

	"tidings"
)

// A node that gives a shard up records what it had in flight there, and that alone;
// whoever takes the shard knows of it until it is on record, or the node is gone.
func testWhatWasInFlightIsRecorded(t *testing.T) {
	url := database(t, t.TempDir())
	giving, next := node(t, url, nil), node(t, url, nil)
	o := &opened{Store: giving, org: organisation(t, giving, "default")}
	e := o.endpoint(t, "")
	other := o.endpoint(t, "b")
	o.publish(t, tidings.IssuanceOffered, "i")
	give := func() (epoch int64) {
		t.Helper()
		before := keepLease(t, giving)
		renew(t, giving, tidings.Yield{Shards: byEpoch(before), InFlight: []int64{e.Key}}, true)
		keepLease(t, next)
		return before.Epochs[tidings.ShardOf(e.Key)]
	}
	finishing := func(want bool, when string) {
		t.Helper()
		for _, endpoint := range []tidings.Endpoint{e, other} {
			l, err := next.Lane(t.Context(), endpoint.Key)
			if err != nil || l.Finishing != (want && endpoint.Key == e.Key) {
				t.Errorf("%s, the lane of %s is finishing: %v, %v", when, endpoint.ID, l.Finishing, err)
			}
		}
	}
	record := func(of tidings.Endpoint, epoch int64) error {
		r := result(o.pending(t, of)[0], tidings.DeliveryDelivered, time.Time{})
		r.Epoch = epoch
		return giving.Record([]tidings.AttemptResult{r})[0]
	}

	epoch := give()
	finishing(true, "after the hand-over")
	renew(t, giving, tidings.Yield{InFlight: []int64{e.Key}}, true)
	finishing(true, "after another renewal")
	if err := record(other, epoch); !errors.Is(err, tidings.ErrLaneTaken) {
		t.Errorf("a result of an endpoint where nothing was in flight is answered with %v", err)
	}
	if err := record(e, epoch+1); !errors.Is(err, tidings.ErrLaneTaken) {
		t.Errorf("a result of another epoch is answered with %v", err)
	}
	if err := record(e, epoch); err != nil || len(o.pending(t, e)) != 0 {
		t.Errorf("what was in flight is not recorded: %v", err)
	}
	finishing(true, "after the result")
	renew(t, giving, tidings.Yield{}, true)
	finishing(false, "once nothing is in flight")

	o.publish(t, tidings.IssuanceOffered, "again")
	for what, end := range map[string]func() error{
		"once the node has left":     func() error { return giving.Leave(t.Context()) },
		"once its lease has run out": func() error { return giving.EndLease(t.Context()) },
	} {
		if err := next.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		epoch = give()
		finishing(true, "after the next hand-over")
		if err := end(); err != nil {
			t.Fatal(err)
		}
		keepLease(t, next)
		finishing(false, what)
		if err := record(e, epoch); !errors.Is(err, tidings.ErrLaneTaken) {
			t.Errorf("%s, its result is answered with %v", what, err)
		}
	}
}

// A node that takes a shard again may not have heard of it yet when it says once
// more that it gives it up: it may send by the time that this is written.
func testAShardThatIsTakenAgainIsKept(t *testing.T) {
	s := node(t, database(t, t.TempDir()), nil)
	given := keepLease(t, s)
	again := renew(t, s, tidings.Yield{Shards: byEpoch(given)}, false)
	if again.Epochs[0] <= given.Epochs[0] {
		t.Fatalf("a shard that nobody else takes is held at epoch %d, and was at %d", again.Epochs[0], given.Epochs[0])
	}
	if kept := renew(t, s, tidings.Yield{Shards: byEpoch(given)}, false); *kept.Epochs != *again.Epochs {
		t.Errorf("the shard that is held at epoch %d since is given up, too, and held at %d", again.Epochs[0], kept.Epochs[0])
	}
}

// A node that cannot listen learns with its lease that an endpoint has changed.
func testALeaseTellsOfChanges(t *testing.T) {
	url := database(t, t.TempDir())
	one, two := node(t, url, nil), node(t, url, nil)
	o := &opened{Store: two, org: organisation(t, one, "default")}
	e, moved := o.endpoint(t, "a"), "https://elsewhere.example/"
	before := keepLease(t, one).Changes
	o.publish(t, tidings.IssuanceOffered, "i")
	if now := keepLease(t, one).Changes; now != before {
		t.Errorf("the node hears of %d changes although none was made", now-before)
	}
	if _, err := two.UpdateEndpoint(t.Context(), o.org.Key, e.ID, tidings.EndpointPatch{URL: &moved}); err != nil {
		t.Fatal(err)
	}
	if now := keepLease(t, one).Changes; now != before+1 {
		t.Errorf("the node hears of %d changes, want that of another", now-before)
	}
}
