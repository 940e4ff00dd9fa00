package delivery_test

import (
	"context"
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
	w.engine.Hold(tidings.Tenure{Epochs: held, Until: time.Now().Add(lease), Nodes: 2, Surplus: surplus})
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

func TestAShardIsFreeOnceWhatIsInFlightIsOnRecord(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		answer := make(chan delivery.Answer)
		w.endpoint("a")
		w.hold(1, time.Hour, 0)
		w.become(func(sent) delivery.Answer { return <-answer })
		w.publish(1, "i")
		after(time.Second)
		w.expect(t, 1, "at first")
		w.hold(1, time.Hour, tidings.Shards)
		w.publish(1, "other")
		after(time.Minute / 6)
		w.expect(t, 1, "while the shard is given up")
		busy := tidings.ShardOf(w.get("a").Key)
		if free := w.engine.Free(); len(free) != tidings.Shards-1 || slices.Contains(free, busy) {
			t.Fatalf("%d shards are free, with that of the attempt in flight: %v", len(free), slices.Contains(free, busy))
		}
		answer <- delivery.Answer{StatusCode: 204}
		after(time.Second)
		if free := w.engine.Free(); len(free) != tidings.Shards {
			t.Errorf("%d shards are free once the attempt is on record", len(free))
		}
		if len(w.deliveries(tidings.DeliveryDelivered)) != 1 || len(w.deliveries(tidings.DeliveryPending)) != 1 {
			t.Error("the attempt that was in flight is not on record")
		}
		w.become(fine)
		w.engine.Hold(tidings.Tenure{Epochs: &tidings.Epochs{}, Until: time.Now().Add(time.Hour), Nodes: 2})
		after(time.Minute)
		w.expect(t, 1, "by a node that has given everything up")
		w.hold(2, time.Hour, 0)
		w.expect(t, 2, "once the shards are taken again")
	})
}

// Less is to be given up than was said before: the rest goes on.
func TestWhatNeedNotBeGivenUpGoesOn(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true, AttemptTimeout: 30 * time.Second}, hang, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.hold(1, time.Hour, 0)
		w.publish(2, "i")
		after(time.Second)
		w.expect(t, 1, "at first")
		w.hold(1, time.Hour, tidings.Shards)
		w.become(fine)
		w.hold(1, time.Hour, tidings.Shards-1)
		after(time.Minute)
		if sent := len(w.sent()); sent < 3 {
			t.Errorf("%d attempts after the lane was kept, want both events", sent)
		}
	})
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
		w.engine.Look(true)
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

// A shard that was to be given up and is kept goes on with what is so by now.
func TestAChangeWhileAShardWasToBeGivenUp(t *testing.T) {
	inWorld(t, delivery.Config{Sharded: true}, fine, func(t *testing.T, w *world) {
		w.hold(1, time.Hour, 0)
		w.endpoint("a")
		w.become(hang)
		w.publish(1, "i")
		after(time.Second)
		w.hold(1, time.Hour, tidings.Shards)
		after(time.Second)
		w.move("a", "https://b")
		after(time.Second)
		w.hold(1, time.Hour, 0)
		w.become(fine)
		w.publish(1, "other")
		after(20 * time.Second)
		if all := w.sent(); len(all) < 2 || all[1].url != "https://b" {
			t.Errorf("the webhooks went %v", all)
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
		w.engine.Hold(tidings.Tenure{Epochs: held, Until: time.Now().Add(time.Hour), Nodes: 2})
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
