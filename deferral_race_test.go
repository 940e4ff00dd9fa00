package tidings_test

import (
	"errors"
	"testing"
	"time"

	"tidings"
)

// A wallet's request may have been read as one to be deferred while the issuance
// was completed: then the credential can be had, and is not refused.
func TestWhatWasCompletedMeanwhileIsNotDeferred(t *testing.T) {
	for state, want := range map[tidings.IssuanceState]tidings.Refusal{
		tidings.StateDelivered: tidings.RefusedNotDeferred,
		tidings.StateCompleted: tidings.RefusedNotDeferred,
		tidings.StateFailed:    tidings.RefusedEnded,
	} {
		i := tidings.Issuance{State: state, Deferral: tidings.DeferralPending, Credentials: []tidings.Credential{{ID: "one"}}}
		_, _, err := i.Apply(tidings.Defer{CredentialID: "one"}, time.Now())
		if got, _ := errors.AsType[tidings.Refusal](err); got != want {
			t.Errorf("%s: %v, want %v", state, err, want)
		}
	}
}
