package store_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// What is remembered of an issuance is what the database has, after each of its
// steps, and what somebody else does to it is seen by the next.
func TestWhatIsRememberedOfAnIssuanceIsWhatIsStored(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir)
	e := o.endpoint(t, "e")
	template, err := o.CreateTemplate(t.Context(), o.org.Key, tidings.NewTemplate{Name: "T", Code: "t", Revocable: true})
	if err != nil {
		t.Fatal(err)
	}
	offer := func(n tidings.NewIssuance) tidings.Issuance {
		t.Helper()
		n.Life = time.Hour
		for len(n.Credentials) < 2 {
			n.Credentials = append(n.Credentials, tidings.NewCredential{Template: template, Claims: map[string]any{"n": 1 << 40, "of": []string{"a", "b"}, "in": map[string]any{"c": 0.1}}})
		}
		i, err := o.CreateIssuance(t.Context(), o.org, n)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	same := func(i tidings.Issuance, after string) {
		t.Helper()
		want, err := o.StoredIssuance(t.Context(), o.org.Key, i.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.Issuance(t.Context(), o.org.Key, i.ID)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("after %s it is given as %+v, %v\nand stored as %+v", after, got, err, want)
		}
	}
	take := func(i tidings.Issuance, step tidings.Step, want error) {
		t.Helper()
		o.clock.Advance(time.Second)
		if _, err := o.Transition(t.Context(), o.org.Key, i.ID, step); err != want {
			t.Errorf("%T: %v, want %v", step, err, want)
		}
		same(i, reflect.TypeOf(step).Name())
	}

	i := offer(tidings.NewIssuance{})
	same(i, "its creation")
	take(i, tidings.Retrieve{}, nil)
	take(i, tidings.Redeem{AccessLife: time.Hour}, nil)
	take(i, tidings.Redeem{AccessLife: time.Hour}, tidings.RefusedRedeemed)
	for _, c := range i.Credentials {
		take(i, tidings.Deliver{CredentialID: c.ID, Grace: time.Minute}, nil)
	}
	if !o.Remembered(o.org.Key, i.ID) && o.Embedded() {
		t.Error("nothing is remembered")
	}
	take(i, tidings.Notify{CredentialID: i.Credentials[0].ID, Event: tidings.NotifyFailure, Description: "no room"}, nil)

	coded := offer(tidings.NewIssuance{TxCode: tidings.TxCode{Length: 4, InputMode: "numeric", Hash: []byte("right")}, Deferral: tidings.DeferralPending})
	take(coded, tidings.Redeem{AccessLife: time.Hour, TxCode: []byte("wrong")}, tidings.RefusedTxCode)
	take(coded, tidings.Redeem{AccessLife: time.Hour, DeferralLife: time.Hour, TxCode: []byte("right")}, nil)
	if _, err := o.Issuance(t.Context(), o.org.Key+1, coded.ID); tidings.KindOf(err) != tidings.KindNotFound {
		t.Errorf("another organisation's issuance is given: %v", err)
	}

	long := offer(tidings.NewIssuance{Credentials: []tidings.NewCredential{{Template: template, Claims: map[string]any{"a": strings.Repeat("b", 5000)}}}})
	take(long, tidings.Retrieve{}, nil)
	if o.Remembered(o.org.Key, long.ID) {
		t.Error("claims are remembered, however long they are")
	}

	// A command beside the server delivers the first of two credentials, and
	// house-keeping ends what waits for too long.
	other := offer(tidings.NewIssuance{})
	take(other, tidings.Redeem{AccessLife: time.Hour}, nil)
	visitor, err := store.Open(t.Context(), store.Options{Dir: dir, Database: database(t, dir), Shared: true, Now: o.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	if _, err := visitor.Transition(t.Context(), o.org.Key, other.ID, tidings.Deliver{CredentialID: other.Credentials[0].ID, Grace: time.Minute}); err != nil {
		t.Fatal(err)
	}
	o.record(t, result(o.pending(t, e)[0], tidings.DeliveryDelivered, time.Time{}))
	take(other, tidings.Deliver{CredentialID: other.Credentials[1].ID, Grace: time.Minute}, nil)
	if after, err := o.StoredIssuance(t.Context(), o.org.Key, other.ID); err != nil || after.State != tidings.StateDelivered {
		t.Errorf("of two credentials that were delivered, one by somebody else, not all count: %+v, %v", after, err)
	}
	o.sound(t)
	o.clock.Advance(time.Hour)
	if _, _, err := o.SweepDeadlines(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	same(other, "its deadline")
	same(long, "its deadline")
}
