package server

import (
	"cmp"
	"context"
	"time"

	"tidings"
)

// TestRequest asks for a sample event.
type TestRequest struct {
	EventType tidings.EventType `json:"eventType,omitempty"` // default: completed
}

// NewRecovery asks to send again what an endpoint did not get in a period.
type NewRecovery struct {
	Since string `json:"since"`
	Until string `json:"until,omitempty"` // default: now
}

// Recovery tells how far that has come.
type Recovery struct {
	ID         string                 `json:"id"`
	EndpointID string                 `json:"endpointId"`
	Status     tidings.RecoveryStatus `json:"status"`
	Since      Time                   `json:"since"`
	Until      Time                   `json:"until"`
	Examined   int                    `json:"examined"`  // events looked at so far
	Recovered  int                    `json:"recovered"` // deliveries made so far
	CreatedAt  Time                   `json:"createdAt"`
	EndedAt    *Time                  `json:"endedAt"`
}

func showRecovery(r tidings.Recovery) Recovery {
	return Recovery{r.ID, r.EndpointID, r.Status, Time(r.Since), Time(r.Until), r.Examined, r.Recovered, Time(r.CreatedAt), optionalTime(r.EndedAt)}
}

func (s *Server) testEndpoint(ctx context.Context, c *call, in TestRequest) (Delivery, error) {
	typ := cmp.Or(in.EventType, tidings.IssuanceCompleted)
	d, err := s.cfg.Repeats.TestEndpoint(ctx, c.Organisation.Key, c.id, typ, c.origin())
	return showDelivery(d), err
}

func (s *Server) retryDelivery(ctx context.Context, c *call, _ none) (Delivery, error) {
	d, err := s.cfg.Repeats.RetryDelivery(ctx, c.Organisation.Key, c.id, c.origin())
	return showDelivery(d), err
}

func (s *Server) recoverEndpoint(ctx context.Context, c *call, in NewRecovery) (Recovery, error) {
	if in.Since == "" {
		return Recovery{}, tidings.Invalid("/since", "since is required: the time from which on to send again.")
	}
	since, err := parseTime("/since", in.Since)
	if err != nil {
		return Recovery{}, err
	}
	var until time.Time
	if in.Until != "" {
		if until, err = parseTime("/until", in.Until); err != nil {
			return Recovery{}, err
		}
	}
	r, err := s.cfg.Repeats.Recover(ctx, c.Organisation.Key, c.id, tidings.NewRecovery{Since: since, Until: until, Origin: c.origin()})
	return showRecovery(r), err
}

func (s *Server) readRecovery(ctx context.Context, c *call, _ none) (Recovery, error) {
	r, err := s.cfg.Repeats.Recovery(ctx, c.Organisation.Key, c.id, c.sub)
	return showRecovery(r), err
}
