package store_test

import (
	"slices"
	"testing"
	"time"

	"tidings"
)

// The steps of an issuance are given in the order in which they were taken, also
// where the first of them were kept in another way, or some are by a server of the
// version before. However many there are, no more than some 200 are kept.
func TestStepsAreKeptInTheirOrder(t *testing.T) {
	o := open(t, t.TempDir())
	template, err := o.CreateTemplate(t.Context(), o.org.Key, tidings.NewTemplate{Name: "T", Code: "t"})
	if err != nil {
		t.Fatal(err)
	}
	i, err := o.CreateIssuance(t.Context(), o.org, tidings.NewIssuance{Life: time.Hour, Credentials: []tidings.NewCredential{{Template: template}}})
	if err != nil {
		t.Fatal(err)
	}
	var want []tidings.IssuanceStep
	take := func(name, detail string, step tidings.Step) {
		t.Helper()
		o.clock.Advance(time.Second)
		want = append(want, tidings.IssuanceStep{At: o.clock.Now(), Name: name, Detail: detail})
		if step == nil {
			err = o.KeepStepAsBefore(t.Context(), i.ID, want[len(want)-1])
		} else {
			_, err = o.Transition(t.Context(), o.org.Key, i.ID, step)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	credential := i.Credentials[0].ID
	take("retrieve", "", nil)
	take("redeem", "", tidings.Redeem{AccessLife: time.Hour})
	take("deliver", credential, nil)
	take("deliver", credential, tidings.Deliver{CredentialID: credential, Grace: time.Minute})
	take("notify", "credential_accepted", tidings.Notify{CredentialID: credential, Event: tidings.NotifyAccepted})
	got, err := o.IssuanceSteps(t.Context(), o.org.Key, i.ID)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the steps are %+v, %v; want %+v", got, err, want)
	}
	for range 300 {
		take("notify", "credential_accepted", tidings.Notify{CredentialID: credential, Event: tidings.NotifyAccepted})
	}
	got, err = o.IssuanceSteps(t.Context(), o.org.Key, i.ID)
	if err != nil || len(got) < 200 || len(got) > 250 || !slices.Equal(got, want[:len(got)]) {
		t.Errorf("%d of %d steps are kept, %v; want the first ones, some 200", len(got), len(want), err)
	}
}
