package tidings

import (
	"slices"
	"time"
)

// Simulate walks an issuance to its end as a wallet would, for those who build
// receivers: the steps are those of a wallet, so the same events come in the same
// order. It is for sandboxes, as nobody gets a credential.
type Simulate struct {
	Outcome IssuanceState // a terminal one
}

// SimulatedOutcomes lists what can be asked for.
var SimulatedOutcomes = []IssuanceState{StateCompleted, StateFailed, StateExpired}

// Check tells whether the outcome is one that can be asked for.
func (s Simulate) Check() error {
	switch {
	case s.Outcome == "":
		return Invalid("/outcome", "outcome is required: completed, failed or expired.")
	case !s.Outcome.Terminal():
		return Invalid("/outcome", "outcome is completed, failed or expired; got %q.", string(s.Outcome))
	}
	return nil
}

// apply refuses an issuance that has ended otherwise, and an expiry after a
// wallet has come. One that has ended so already stays as it is.
func (s Simulate) apply(i *Issuance, now time.Time) (events []EventType, err error) {
	switch {
	case i.State == s.Outcome:
		return nil, nil
	case i.State.Terminal():
		return nil, RefusedEnded
	case s.Outcome == StateExpired && i.State != StateOffered:
		return nil, RefusedRedeemed
	case s.Outcome == StateExpired:
		i.ExpiresAt, i.Deadline = now, now
		return i.pass(now), nil
	}
	next := *i
	next.Credentials = slices.Clone(i.Credentials)
	for _, step := range s.steps(next) {
		more, err := step.apply(&next, now)
		if err != nil {
			return nil, err
		}
		events = append(events, more...)
	}
	*i = next
	return events, nil
}

// steps gives what a wallet still has to do.
func (s Simulate) steps(i Issuance) (steps []Step) {
	// The end comes by the wallet's word, all at one moment: any time will do.
	const life = time.Minute
	if i.State == StateOffered {
		steps = append(steps, Redeem{AccessLife: life, TxCode: i.TxCode.Hash})
	}
	if i.Deferral == DeferralPending {
		steps = append(steps, Decide{Decision: Approve})
	}
	for _, c := range i.Credentials {
		if c.Status == CredentialOffered {
			steps = append(steps, Deliver{CredentialID: c.ID, Grace: life})
		}
	}
	event := NotifyAccepted
	if s.Outcome == StateFailed {
		event = NotifyFailure
	}
	for _, c := range i.Credentials {
		steps = append(steps, Notify{CredentialID: c.ID, Event: event})
	}
	return steps
}
