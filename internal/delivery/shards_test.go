package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"tidings"
	"tidings/internal/delivery"
)

// hold tells the engine that it holds all shards at an epoch, for a time.
func (w *world) hold(epoch int64, lease time.Duration, surplus int) {
	held := &tidings.Epochs{}
	for shard := range held {
		held[shard] = epoch
	}
	w.engine.Hold(tidings.Tenure{Epochs: held, Until: time.Now().Add(lease), Nodes: 2, Others: true, Surplus: surplus})
	after(0)
}

func (w *world) expect(t *testing.T, n int, why string) {
	t.Helper()
	if got := len(w.sent()); got != n {
		t.Fatalf("%d attempts %s, want %d", got, why, n)
	}
}

func TestNothingIsSentBeyondTheLease(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true, AttemptTimeout: 10 * time.Second}, fine, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "i")
		after(time.Minute)
		w.expect(t, 0, "by a node that holds nothing")
		w.hold(1, 15*time.Second-time.Millisecond, 0)
		after(time.Minute)
		w.expect(t, 0, "with less of the lease left than an attempt takes and 5 s")
		w.hold(1, 15*time.Second+time.Millisecond, 0)
		w.expect(t, 1, "once the lease is renewed")
		after(time.Second)
		w.publish(1, "i")
		after(time.Minute)
		w.expect(t, 1, "by a node whose lease has run out")
		w.hold(1, time.Minute, 0)
		w.expect(t, 2, "once it is renewed again")
	})
}

// A shard is given up at once, and what is in flight there ends here: until then it
// is told, and nothing else starts.
func TestAShardIsFreeAtOnce(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		answer := make(chan delivery.Answer)
		w.endpoint("a")
		w.hold(1, time.Hour, 0)
		w.become(func(sent) delivery.Answer { return <-answer })
		w.publish(1, "i")
		after(time.Second)
		w.expect(t, 1, "at first")
		w.hold(1, time.Hour, tidings.Shards)
		if y := w.engine.Free(); len(y.Shards) != tidings.Shards || !slices.Equal(y.InFlight, []int64{w.get("a").Key}) {
			t.Fatalf("%d shards are free, with attempts in flight at %v", len(y.Shards), y.InFlight)
		}
		w.publish(1, "other")
		after(time.Second)
		w.engine.Hold(tidings.Tenure{Epochs: &tidings.Epochs{}, Until: time.Now().Add(time.Hour), Others: true})
		after(time.Minute / 6)
		if y := w.engine.Free(); len(y.Shards) != 0 || len(y.InFlight) != 1 {
			t.Errorf("once the shards are given up, %+v is to be given up", y)
		}
		answer <- delivery.Answer{StatusCode: 204}
		after(time.Second)
		if y := w.engine.Free(); len(y.InFlight) != 0 {
			t.Errorf("once the attempt is on record, there are some in flight at %v", y.InFlight)
		}
		if len(w.deliveries(tidings.DeliveryDelivered)) != 1 || len(w.deliveries(tidings.DeliveryPending)) != 1 {
			t.Error("the attempt that was in flight is not on record")
		}
		w.become(fine)
		after(time.Minute)
		w.expect(t, 1, "by a node that has given everything up")
		w.hold(2, time.Hour, 0)
		w.expect(t, 2, "once the shards are taken again")
	})
}

// Whoever takes a shard starts nothing at an endpoint where the node before has
// something in flight; it goes on at once when it hears of the end, and soon where it
// does not.
func TestWhatANodeBeforeHasInFlightHoldsALaneUp(t *testing.T) {
	for how, tell := range map[string]bool{"told": true, "not told": false} {
		t.Run(how, func(t *testing.T) {
			inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
				w.endpoint("a")
				w.publish(1, "before")
				w.other.Store(true)
				w.hold(2, time.Hour, 0)
				after(30 * time.Second)
				w.publish(1, "meanwhile")
				after(30 * time.Second)
				w.expect(t, 0, "while another node has one in flight")
				w.other.Store(false)
				if tell {
					w.engine.Wake([]tidings.Wake{{EndpointKey: w.get("a").Key, Due: time.Now(), Changed: true}})
					after(0)
				} else {
					after(2 * time.Second)
				}
				w.expect(t, 2, "afterwards")
			})
		})
	}
}

// An answer that comes when the lane has changed hands changes nothing: whoever
// holds the lane sends again.
func TestAnAnswerThatComesTooLateIsDropped(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, hang, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.hold(1, time.Hour, 0)
		w.publish(1, "i")
		after(time.Second)
		w.expect(t, 1, "at first")
		w.become(fine)
		w.hold(3, time.Hour, 0)
		w.expect(t, 2, "at the new epoch")
		after(time.Minute) // the first attempt times out meanwhile
		got := w.deliveries(tidings.DeliveryDelivered)
		if len(got) != 1 || got[0].AttemptCount != 1 {
			t.Errorf("ended as %+v, want one attempt on record", got)
		}
		if e := w.get("a"); e.FirstFailureAt != nil {
			t.Error("the late time-out counts as a failure")
		}
	})
}

func TestATakeOverBeginsWithAnEmptyBucket(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		rate := 0.5
		w.endpoint("a")
		if _, err := w.store.UpdateEndpoint(context.Background(), w.org, "a", tidings.EndpointPatch{RateLimit: &rate}); err != nil {
			t.Fatal(err)
		}
		w.publish(3, "i")
		for epoch := range int64(3) {
			w.hold(epoch+1, time.Hour, 0)
			after(time.Second)
			w.expect(t, int(epoch), "right after a take-over")
			after(time.Second + 100*time.Millisecond)
			w.expect(t, int(epoch)+1, "two seconds after it")
		}
	})
}

// move changes an endpoint's address, and lastTo tells where the last webhook went.
func (w *world) move(id, url string) {
	w.t.Helper()
	w.change(id, tidings.EndpointPatch{URL: &url})
}

func (w *world) lastTo() string {
	all := w.sent()
	return all[len(all)-1].url
}

// A change of an endpoint whose message was lost, as the node that made it crashed
// or this one did not hear, holds at once where the loss is known, and soon
// where it is not.
func TestAChangeThatNobodyToldOf(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		w.hold(1, time.Hour, 0)
		w.endpoint("a")
		w.publish(1, "i")
		after(time.Second)

		w.deaf.Store(true)
		w.move("a", "https://b")
		w.deaf.Store(false)
		w.engine.Look(delivery.Doubt{Lanes: true, Endpoints: true})
		w.publish(1, "i")
		after(time.Second)
		if got := w.lastTo(); got != "https://b" {
			t.Errorf("after a look the webhook still goes to %s", got)
		}

		w.deaf.Store(true)
		w.move("a", "https://c")
		w.deaf.Store(false)
		for range 10 {
			after(10 * time.Second)
			w.publish(1, "i")
		}
		after(time.Second)
		if got := w.lastTo(); got != "https://c" {
			t.Errorf("after 100 s the webhook still goes to %s", got)
		}
	})
}

// A node that does not hear finds what comes by looking at its lanes, and reads their
// endpoints only where one has changed.
func TestALookReadsEndpointsOnlyWhereTheyChanged(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true, SweepEvery: time.Hour}, hang, func(t *testing.T, w *world) {
		w.hold(1, 10*time.Hour, 0)
		w.endpoint("a")
		w.publish(1, "i")
		after(time.Second)
		w.deaf.Store(true)
		w.publish(1, "unheard")
		read := w.reads.Load()
		for range 10 {
			w.engine.Look(delivery.Doubt{Lanes: true})
			after(time.Second)
		}
		w.expect(t, 2, "after a look at the lanes")
		if got := w.reads.Load(); got != read {
			t.Errorf("the endpoint was read %d times although it has not changed", got-read)
		}
		w.engine.Look(delivery.Doubt{Lanes: true, Endpoints: true})
		after(time.Second)
		if got := w.reads.Load(); got != read+1 {
			t.Errorf("the endpoint was read %d times, want once", got-read)
		}
	})
}

// A shard that was given up with something in flight, and is taken again, goes on
// with what is so by now.
func TestAChangeBeforeAShardIsTakenAgain(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		w.hold(1, time.Hour, 0)
		w.endpoint("a")
		w.become(hang)
		w.publish(1, "i")
		after(time.Second)
		w.hold(1, time.Hour, tidings.Shards)
		after(time.Second)
		w.move("a", "https://b")
		w.other.Store(true)
		w.hold(2, time.Hour, 0)
		w.become(fine)
		w.publish(1, "other")
		after(10 * time.Second)
		w.expect(t, 1, "while the first attempt is in flight")
		after(10 * time.Second) // it times out
		w.other.Store(false)
		after(10 * time.Second)
		if all := w.sent(); len(all) != 3 || all[1].url != "https://b" || all[2].url != "https://b" {
			t.Errorf("the webhooks went %v", all)
		}
		if got := w.deliveries(tidings.DeliveryDelivered); len(got) != 2 {
			t.Errorf("%d deliveries ended well, want 2", len(got))
		}
	})
}

// A node that takes a shard over and commits something for it at the same moment
// still finds at once what waits there from before.
func TestWhatWaitsIsFoundBesideWhatComes(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "before")
		w.publish(1, "beside")
		rows, err := w.store.Pending(context.Background(), w.get("a").Key, tidings.QueuePosition{}, 2)
		if err != nil || len(rows) != 2 {
			t.Fatal(err)
		}
		after(time.Second)
		held := &tidings.Epochs{}
		for shard := range held {
			held[shard] = 1
		}
		w.engine.Hold(tidings.Tenure{Epochs: held, Until: time.Now().Add(time.Hour), Others: true})
		w.engine.Wake([]tidings.Wake{{EndpointKey: rows[1].EndpointKey, Due: rows[1].Due, Deliveries: rows[1:]}})
		after(time.Second)
		w.expect(t, 2, "within a second of the take-over")
	})
}

// Of two events of an issuance that other nodes accepted the first was not heard
// of; something else has the lane read behind it. It is sent first all the same.
func TestWhatIsReadNeverPassesWhatWasNotHeardOf(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		w.hold(1, time.Hour, 0)
		w.endpoint("a")
		w.publish(1, "before")
		after(time.Second)
		unheard := func(issuance string) string {
			w.deaf.Store(true)
			defer w.deaf.Store(false)
			return w.publish(1, issuance)[0]
		}
		first := unheard("i")
		after(10 * time.Millisecond)
		w.publish(1, "beside")
		after(10 * time.Millisecond)
		second := unheard("i")
		w.engine.Wake([]tidings.Wake{{EndpointKey: w.get("a").Key, Due: time.Now()}})
		after(time.Second)
		var got []string
		for _, s := range w.sent() {
			if s.id == first || s.id == second {
				got = append(got, s.id)
			}
		}
		if !slices.Equal(got, []string{first, second}) {
			t.Errorf("sent %v, want %s and then %s", got, first, second)
		}
	})
}

// An endpoint's failure clock, and how often it may be tried, are the same whoever
// holds its lane: taking it over every few hours neither spares an endpoint that only
// fails nor tries it more often.
func TestTheFailureClockHoldsOverTakeOvers(t *testing.T) {
	attempts := map[bool]int{}
	for _, moves := range []bool{false, true} {
		inWorld(t, delivery.Config{Sharded: true, SweepEvery: 10 * time.Minute}, broken, func(t *testing.T, w *world) {
			w.endpoint("a")
			w.hold(1, 1000*time.Hour, 0)
			for hour := range int64(150) {
				if hour%24 == 0 {
					w.publish(1, fmt.Sprint("i", hour))
				}
				if moves && hour%5 == 4 {
					w.engine.Hold(tidings.Tenure{Epochs: &tidings.Epochs{}, Until: time.Now().Add(time.Hour), Others: true})
					after(time.Second)
					w.hold(hour, 1000*time.Hour, 0)
				}
				after(time.Hour)
			}
			e := w.get("a")
			if e.Status != tidings.EndpointDisabled || e.DisabledReason != tidings.DisabledFailing {
				t.Fatalf("after 150 hours of failures the endpoint is %s", e.Status)
			}
			if age := e.DisabledAt.Sub(*e.FirstFailureAt); age < 120*time.Hour || age > 144*time.Hour {
				t.Errorf("disabled %v after the first failure, want 120h and until the next attempt", age)
			}
			attempts[moves] = len(w.sent())
		})
	}
	if still, moved := attempts[false], attempts[true]; moved > still*11/10 {
		t.Errorf("%d attempts with take-overs, %d without", moved, still)
	}
}
