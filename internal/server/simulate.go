package server

import (
	"context"
	"errors"

	"tidings"
)

// Simulation says how an issuance ends.
type Simulation struct {
	Outcome tidings.IssuanceState `json:"outcome"`
}

// simulateIssuance ends an issuance without a wallet. The route is there in a
// sandbox only.
func (s *Server) simulateIssuance(ctx context.Context, c *call, in Simulation) (Issuance, error) {
	step := tidings.Simulate{Outcome: in.Outcome}
	if err := step.Check(); err != nil {
		return Issuance{}, err
	}
	i, err := s.cfg.Issuances.Transition(ctx, c.Organisation.Key, c.id, step)
	if refusal, ok := errors.AsType[tidings.Refusal](err); ok {
		return Issuance{}, tidings.Conflict("It cannot become %s any more: %s.", in.Outcome, refusal)
	}
	if err != nil {
		return Issuance{}, err
	}
	return s.showIssuance(i), nil
}
