package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
)

// testRetentionKeepsTheSame has the two databases live through the same history,
// with deliveries that end late, are sent again and are recovered: whenever all that
// is too old stands in partitions that have gone as a whole, PostgreSQL holds what
// SQLite does, where rows go one by one.
func testRetentionKeepsTheSame(t *testing.T) {
	const kept, period, slack = 24 * time.Hour, 6 * time.Hour, time.Hour
	url := server
	for seed := range uint64(2) {
		server = ""
		sqlite := &lived{opened: openKeeping(t, kept)}
		server = url
		both := []*lived{sqlite, {opened: openKeeping(t, kept)}}
		draw := rand.New(rand.NewPCG(seed, 0))
		for _, o := range both {
			o.clock.Advance(slack) // a period begins at noon; nothing happens in its slack
			o.endpoint(t, "quick")
			o.endpoint(t, "slow")
			o.endpoint(t, "paused", tidings.IssuanceFailed)
			o.disable(t, "paused")
		}
		dropped := 0
		for round := range 12 {
			for step := range 5 {
				what, which, share := draw.IntN(5), draw.IntN(1000), draw.IntN(3)
				for _, o := range both {
					o.live(t, what, which, share, fmt.Sprint("seed-", seed, "-round-", round, "-step-", step))
					o.clock.Advance(50 * time.Minute)
				}
			}
			for _, o := range both {
				o.clock.Advance(period - 250*time.Minute)
				if _, err := o.Partition(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				o.retain(t)
				breaches, err := o.Check(t.Context(), 1000)
				breaches = slices.DeleteFunc(breaches, func(b string) bool { return strings.HasSuffix(b, "and forgotten") }) // nobody sends here
				if err != nil || len(breaches) > 0 {
					t.Errorf("the store's invariants: %v %q", err, breaches)
				}
			}
			want, got := both[0].holds(t), both[1].holds(t)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, round %d: PostgreSQL alone holds\n%s\nSQLite alone\n%s", seed, round, alone(got, want), alone(want, got))
			}
			dropped = both[1].accepted
			for _, row := range got {
				if strings.HasPrefix(row, "event seed") {
					dropped--
				}
			}
		}
		if dropped < 50 {
			t.Errorf("seed %d: only %d events were dropped", seed, dropped)
		}
	}
}

// alone gives what stands in the first only.
func alone(in, other []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(in), func(s string) bool { return slices.Contains(other, s) }), "\n")
}

// lived is a store that lives through a history.
type lived struct {
	*opened
	accepted int
}

// live does one of what happens.
func (o *lived) live(t *testing.T, what, which, share int, name string) {
	t.Helper()
	switch what {
	case 0, 1:
		for i := range 6 {
			o.publish(t, []tidings.EventType{tidings.IssuanceCompleted, tidings.IssuanceFailed}[i/4], fmt.Sprint(name, "-", i))
			o.accepted++
		}
	case 2: // some of what waits is delivered, or has failed for good
		for _, id := range []string{"quick", "slow"} {
			e, err := o.Endpoint(t.Context(), o.org.Key, id)
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range o.pending(t, e) {
				switch r := result(d, tidings.DeliveryDelivered, time.Time{}); {
				case i%3 == share && id == "slow":
				case i%3 == share:
					r.Status, r.Reason = tidings.DeliveryFailed, tidings.ReasonExhausted
					fallthrough
				default:
					o.record(t, r)
				}
			}
		}
	case 3: // some that ended are sent again
		all := o.deliveries(t)
		all = slices.DeleteFunc(all, func(d tidings.Delivery) bool { return d.Status == tidings.DeliveryPending })
		for i := range min(len(all), 3) {
			if _, err := o.RetryDelivery(t.Context(), o.org.Key, all[(which+i*7)%len(all)].ID, tidings.Origin{}); err != nil {
				t.Fatal(err)
			}
		}
	case 4:
		if share == 0 {
			o.recover(t, "quick", o.clock.Now().Add(-20*time.Hour), o.clock.Now())
		}
	}
}

// deliveries gives all of them, the newest first.
func (o *lived) deliveries(t *testing.T) (out []tidings.Delivery) {
	t.Helper()
	for page := (tidings.Page{Size: 100}); ; {
		l, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{}, page)
		if err != nil {
			t.Fatal(err)
		}
		if out = append(out, l.Items...); !l.HasNext {
			return out
		}
		page.After = out[len(out)-1].ID
	}
}

// holds describes all events and deliveries.
func (o *lived) holds(t *testing.T) (out []string) {
	t.Helper()
	for page := (tidings.Page{Size: 100}); ; {
		l, err := o.Events(t.Context(), o.org.Key, tidings.EventFilter{}, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l.Items {
			out = append(out, "event "+e.IssuanceID)
			page.After = e.ID
		}
		if !l.HasNext {
			break
		}
	}
	for _, d := range o.deliveries(t) {
		out = append(out, fmt.Sprint("delivery of ", d.IssuanceID, " to ", d.EndpointID, " ", d.Status, d.Reason, d.AttemptCount, d.RetryOf != "", d.CreatedAt.Format(time.RFC3339), d.EndedAt))
	}
	slices.Sort(out)
	return out
}
