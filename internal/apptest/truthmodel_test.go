package apptest_test

import "time"

// story is the model of an issuance: what its rules say that has become of it,
// in as few lines as they can be said. It shares nothing with the product.
type story struct {
	state string    // offered, redeemed, delivered; completed, failed, expired
	until time.Time // when the state ends by itself
	told  []string  // the events, in their order
	why   string    // who accepted, or the code of the failure
}

// The times of the model's server.
const (
	modelGrace = 10 * time.Second
	modelToken = 5 * time.Minute
)

func (s *story) over() bool { return s.until.IsZero() }

func (s *story) end(state, why string) {
	s.state, s.why, s.until, s.told = state, why, time.Time{}, append(s.told, state)
}

// pass lets the time come to now.
func (s *story) pass(now time.Time) {
	if s.over() || now.Before(s.until) {
		return
	}
	switch s.state {
	case "offered":
		s.end("expired", "")
	case "redeemed":
		s.end("failed", "abandoned")
	case "delivered":
		s.end("completed", "grace")
	}
}

// What wallets and programs do tells whether they get what they ask for.

func (s *story) redeem(now time.Time) bool {
	if s.state != "offered" {
		return false
	}
	s.state, s.until = "redeemed", now.Add(modelToken)
	return true
}

func (s *story) deliver(now time.Time) bool {
	if s.state == "redeemed" {
		s.state, s.until = "delivered", now.Add(modelGrace)
		return true
	}
	return s.state == "delivered" || s.state == "completed"
}

func (s *story) notify(event string) bool {
	switch {
	case s.over():
	case event == "credential_accepted":
		s.end("completed", "wallet")
	default:
		s.end("failed", event)
	}
	return true
}

func (s *story) simulate(outcome string) bool {
	switch {
	case s.over() || outcome == "expired" && s.state != "offered":
		return s.state == outcome
	case outcome == "expired":
		s.end(outcome, "")
	default:
		s.notify(map[string]string{"completed": "credential_accepted", "failed": "credential_failure"}[outcome])
	}
	return true
}
