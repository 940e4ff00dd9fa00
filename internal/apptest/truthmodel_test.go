package apptest_test

import (
	"slices"
	"time"
)

// story is the model of an issuance: what its rules say that has become of it,
// in as few lines as they can be said. It shares nothing with the product.
type story struct {
	state    string    // offered, redeemed, delivered; completed, failed, expired
	until    time.Time // when the state ends by itself
	told     []string  // the events, in their order
	why      string    // who accepted, or the code of the failure
	got      []bool    // which credentials the wallet has
	accepted []bool    // and which of them it said to have accepted
	coded    bool      // the offer has a transaction code
	wrong    int       // how many wrong ones were tried
	status   []string  // of the credentials, as the API shows it
	deferral string    // pending, approved; empty where there is nothing to decide
	fresh    time.Time // until when a deferred one's access can be refreshed
}

// The numbers of the model's server.
const (
	modelGrace    = 10 * time.Second
	modelToken    = 5 * time.Minute
	modelTxCodes  = 5
	modelDeferral = 14 * 24 * time.Hour
	modelWalletOK = "credential_accepted"
)

func newStory(until time.Time, credentials int, coded bool) story {
	return story{state: "offered", until: until, told: []string{"offered"}, coded: coded, got: make([]bool, credentials),
		accepted: make([]bool, credentials), status: slices.Repeat([]string{"offered"}, credentials)}
}

// copy gives a story that goes on apart from this one.
func (s story) copy() story {
	s.told, s.got, s.accepted, s.status = slices.Clone(s.told), slices.Clone(s.got), slices.Clone(s.accepted), slices.Clone(s.status)
	return s
}

func (s *story) over() bool { return s.until.IsZero() }

func (s *story) end(state, why string) {
	s.state, s.why, s.until, s.told = state, why, time.Time{}, append(s.told, state)
}

// shown is the state as the API shows it.
func (s story) shown() string {
	switch {
	case s.over():
		return s.state
	case s.state == "redeemed" && slices.Contains(s.got, true):
		return "partiallyIssued"
	}
	return "offered"
}

// pass lets the time come to now.
func (s *story) pass(now time.Time) {
	switch {
	case s.over() || now.Before(s.until):
	case s.state == "offered":
		s.end("expired", "")
	case s.state == "delivered":
		s.end("completed", "grace")
	case s.deferral == "pending":
		s.end("failed", "undecided")
	case slices.Contains(s.got, true):
		s.end("failed", "incomplete")
	default:
		s.end("failed", "abandoned")
	}
}

// What wallets and programs do tells whether they get what they ask for.

func (s *story) redeem(now time.Time, right bool) bool {
	switch {
	case s.state != "offered":
		return false
	case right || !s.coded:
		s.state, s.until = "redeemed", now.Add(modelToken)
		if s.deferral != "" {
			s.until, s.fresh = now.Add(modelDeferral), now.Add(modelDeferral)
		}
		return true
	}
	if s.wrong++; s.wrong == modelTxCodes {
		s.end("failed", "tx_code")
	}
	return false
}

func (s *story) deliver(now time.Time, k int) bool {
	if s.status[k] == "revoked" {
		return false
	}
	if s.state != "redeemed" {
		return s.state == "delivered" || s.state == "completed"
	}
	if s.deferral == "pending" {
		return true // the wallet is told to come again
	}
	first := !slices.Contains(s.got, true)
	if !s.got[k] {
		s.got[k], s.status[k] = true, "issued"
	}
	switch {
	case !slices.Contains(s.got, false):
		s.state, s.until = "delivered", now.Add(modelGrace)
		s.settle()
	case first:
		s.told = append(s.told, "partiallyIssued")
	}
	return true
}

func (s *story) notify(k int, event string) bool {
	switch {
	case s.over():
	case event != modelWalletOK:
		s.end("failed", event)
	default:
		s.accepted[k] = true
		s.settle()
	}
	return true
}

// settle completes what was delivered and accepted as a whole.
func (s *story) settle() {
	if s.state == "delivered" && !slices.Contains(s.accepted, false) {
		s.end("completed", "wallet")
	}
}

// comeBack asks for a deferred credential that the wallet was told to wait for.
func (s *story) comeBack(now time.Time, k int) bool { return !s.accepted[k] && s.deliver(now, k) }

func (s *story) refresh(now time.Time) bool {
	return (s.state == "redeemed" || s.state == "delivered") && now.Before(s.fresh)
}

func (s *story) decide(approve bool) bool {
	switch {
	case s.over() || s.deferral == "":
		return false
	case slices.Contains(s.got, true):
		return approve
	case !approve:
		s.end("failed", "denied")
	default:
		s.deferral = "approved"
	}
	return true
}

func (s *story) cancel() bool {
	if s.state != "offered" && s.state != "redeemed" {
		return false
	}
	s.end("failed", "canceled")
	return true
}

// change revokes, suspends or resumes what a wallet has, be the issuance over or not.
func (s *story) change(k int, to string) bool {
	from := s.status[k]
	if from == "offered" || from == "revoked" || from == to || from == "issued" && to == "resumed" {
		return false
	}
	s.status[k], s.told = to, append(s.told, "credential."+to)
	if to == "resumed" {
		s.status[k] = "issued"
	}
	return true
}

func (s *story) simulate(now time.Time, outcome string) bool {
	switch {
	case s.over() || outcome == "expired" && s.state != "offered":
		return s.state == outcome
	case outcome == "expired":
		s.end(outcome, "")
		return true
	}
	s.redeem(now, true)
	if s.deferral != "" {
		s.deferral = "approved"
	}
	for k := range s.got {
		s.deliver(now, k)
	}
	for k := range s.got {
		s.notify(k, map[string]string{"completed": modelWalletOK, "failed": "credential_failure"}[outcome])
	}
	return true
}
