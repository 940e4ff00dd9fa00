package store_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"tidings"
)

// together takes steps of an issuance at once, so that one batch has all of them,
// and gives how each ended.
func (o *opened) together(t *testing.T, i tidings.Issuance, steps ...tidings.Step) []error {
	errs := make([]error, len(steps))
	o.InOneBatch(len(steps), func() {
		var all sync.WaitGroup
		for k, step := range steps {
			all.Go(func() { _, errs[k] = o.Transition(t.Context(), o.org.Key, i.ID, step) })
		}
		all.Wait()
	})
	return errs
}

// refusals counts errors by what they are; "" for none.
func refusals(errs []error) map[tidings.Refusal]int {
	out := map[tidings.Refusal]int{}
	for _, err := range errs {
		refusal, ok := errors.AsType[tidings.Refusal](err)
		if err != nil && !ok {
			refusal = tidings.Refusal(err.Error())
		}
		out[refusal]++
	}
	return out
}

func wantRefusals(t *testing.T, what string, errs []error, want map[tidings.Refusal]int) {
	t.Helper()
	got := refusals(errs)
	for refusal, n := range want {
		if got[refusal] != n {
			t.Errorf("%s ended with %v, want %v", what, got, want)
			return
		}
	}
}

// What a batch has collected of an issuance counts for the steps that follow in it.
func TestStepsOfOneIssuanceShareABatch(t *testing.T) {
	o := open(t, t.TempDir())
	template, err := o.CreateTemplate(t.Context(), o.org.Key, tidings.NewTemplate{Name: "T", Code: "t"})
	if err != nil {
		t.Fatal(err)
	}
	offer := func() tidings.Issuance {
		i, err := o.CreateIssuance(t.Context(), o.org, tidings.NewIssuance{Life: time.Hour, Credentials: []tidings.NewCredential{{Template: template, Claims: map[string]any{"a": "b"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	i := offer()
	redeem := tidings.Redeem{AccessLife: time.Minute}
	wantRefusals(t, "four redemptions", o.together(t, i, redeem, redeem, redeem, redeem), map[tidings.Refusal]int{"": 1, tidings.RefusedRedeemed: 3})

	deliver := tidings.Deliver{CredentialID: i.Credentials[0].ID, Grace: time.Minute, Nonce: tidings.UsedNonce{Hash: [16]byte{1}, ExpiresAt: o.clock.Now().Add(time.Minute)}}
	other := deliver
	other.Nonce.Hash = [16]byte{2}
	wantRefusals(t, "deliveries with one nonce and another", o.together(t, i, deliver, deliver, other, deliver), map[tidings.Refusal]int{"": 2, tidings.RefusedNonceUsed: 2})
	wantRefusals(t, "the nonces again", o.together(t, i, deliver, other), map[tidings.Refusal]int{tidings.RefusedNonceUsed: 2})

	accepted := tidings.Notify{CredentialID: deliver.CredentialID, Event: tidings.NotifyAccepted}
	failure := tidings.Notify{CredentialID: deliver.CredentialID, Event: tidings.NotifyFailure, Description: "no room"}
	wantRefusals(t, "notifications", o.together(t, i, accepted, failure, accepted, failure), map[tidings.Refusal]int{"": 4})
	after, err := o.Issuance(t.Context(), o.org.Key, i.ID)
	if err != nil || !after.State.Terminal() || len(after.Credentials[0].Claims) != 1 {
		t.Errorf("%+v, %v", after, err)
	}
	var ends []tidings.EventType
	for _, e := range o.events(t) {
		if e.IssuanceID == i.ID && e.Type != tidings.IssuanceOffered {
			ends = append(ends, e.Type)
		}
	}
	if want := map[tidings.IssuanceState]tidings.EventType{tidings.StateCompleted: tidings.IssuanceCompleted, tidings.StateFailed: tidings.IssuanceFailed}[after.State]; !slices.Equal(ends, []tidings.EventType{want}) {
		t.Errorf("it is %s and told of %v", after.State, ends)
	}
	steps, err := o.IssuanceSteps(t.Context(), o.org.Key, i.ID)
	if err != nil || len(steps) != 1+2+4 {
		t.Errorf("%d steps are kept, want those that were taken: %+v, %v", len(steps), steps, err)
	}

	late := offer()
	o.clock.Advance(2 * time.Hour)
	wantRefusals(t, "steps after the offer's end", o.together(t, late, redeem, tidings.Retrieve{}, redeem), map[tidings.Refusal]int{tidings.RefusedExpired: 3})
	o.sound(t)
}

// An idempotency key that comes twice in a batch makes one offer, and one that
// cannot be made harms none of its neighbours.
func TestOffersShareABatch(t *testing.T) {
	o := open(t, t.TempDir())
	e := o.endpoint(t, "e")
	var templates [2]tidings.Template
	for k := range templates {
		var err error
		if templates[k], err = o.CreateTemplate(t.Context(), o.org.Key, tidings.NewTemplate{Name: "T", Code: "t" + strconv.Itoa(k)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.ArchiveTemplate(t.Context(), o.org.Key, templates[1].ID, true, tidings.Origin{}); err != nil {
		t.Fatal(err)
	}
	// By template, key, and what the key stands for.
	offers := []struct{ template, key, request int }{{0, 0, 0}, {0, 1, 1}, {0, 1, 1}, {1, 0, 0}, {0, 1, 2}, {0, 1, 1}, {0, 2, 1}}
	var mu sync.Mutex
	made, failed := map[string]int{}, map[tidings.Kind]int{}
	o.InOneBatch(len(offers), func() {
		var all sync.WaitGroup
		for _, offer := range offers {
			all.Go(func() {
				n := tidings.NewIssuance{Life: time.Hour, Credentials: []tidings.NewCredential{{At: "", Template: templates[offer.template]}}}
				if offer.key != 0 {
					n.Idempotency = &tidings.Idempotency{Route: "issuances", Key: strconv.Itoa(offer.key), Hash: sha256.Sum256([]byte{byte(offer.request)})}
				}
				i, err := o.CreateIssuance(t.Context(), o.org, n)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed[tidings.KindOf(err)]++
					return
				}
				made[i.ID]++
				if again, err := o.Issuance(t.Context(), o.org.Key, i.ID); err != nil || again.State != tidings.StateOffered || len(again.Credentials) != 1 || !again.ExpiresAt.Equal(i.ExpiresAt) {
					t.Errorf("it was given as %+v and is %+v, %v", i, again, err)
				}
			})
		}
		all.Wait()
	})
	// Of the key that stands for two requests, either came first.
	if failed[tidings.KindInvalid] != 1 || len(made) != 3 || failed[tidings.KindConflict] != 1 && failed[tidings.KindConflict] != 3 {
		t.Errorf("made are %v, failed have %v", made, failed)
	}
	if pending := o.pending(t, e); len(pending) != len(made) {
		t.Errorf("%d deliveries are pending, want one of each offer: %d", len(pending), len(made))
	}
	o.sound(t)
}
