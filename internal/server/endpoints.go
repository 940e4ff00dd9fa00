package server

import (
	"context"
	"errors"

	"tidings"
)

// NewEndpoint asks for an endpoint.
type NewEndpoint struct {
	URL         string              `json:"url"`
	ID          string              `json:"id,omitempty"`
	FilterTypes []tidings.EventType `json:"filterTypes,omitempty"`
}

// CreatedEndpoint is the answer to a new endpoint: these members and no
// others, as the documented API has it.
type CreatedEndpoint struct {
	ID          string              `json:"id"`
	URL         string              `json:"url"`
	FilterTypes []tidings.EventType `json:"filterTypes,omitempty"`
	CreatedAt   Time                `json:"createdAt"`
	UpdatedAt   Time                `json:"updatedAt"`
}

// Endpoint is an endpoint with its state.
type Endpoint struct {
	ID             string                 `json:"id"`
	URL            string                 `json:"url"`
	FilterTypes    []tidings.EventType    `json:"filterTypes,omitempty"`
	Status         tidings.EndpointStatus `json:"status"`
	DisabledReason tidings.DisabledReason `json:"disabledReason,omitempty"`
	DisabledAt     *Time                  `json:"disabledAt,omitzero"`
	FirstFailureAt *Time                  `json:"firstFailureAt,omitzero"` // set while every attempt since then has failed
	Backlog        Backlog                `json:"backlog"`
	CreatedAt      Time                   `json:"createdAt"`
	UpdatedAt      Time                   `json:"updatedAt"`
}

func (e Endpoint) cursor() string { return e.ID }

// Backlog is what waits to be delivered to an endpoint.
type Backlog struct {
	Count int `json:"count"`
}

// EndpointSecret is what an endpoint's webhooks are signed with.
type EndpointSecret struct {
	Secret   string           `json:"secret"`
	Previous []PreviousSecret `json:"previous"`
}

// PreviousSecret signs along until it expires.
type PreviousSecret struct {
	Secret    string `json:"secret"`
	ExpiresAt *Time  `json:"expiresAt"`
}

func showEndpoint(e tidings.Endpoint) Endpoint {
	return Endpoint{
		ID: e.ID, URL: e.URL, FilterTypes: e.FilterTypes,
		Status: e.Status, DisabledReason: e.DisabledReason, DisabledAt: optionalTime(e.DisabledAt),
		FirstFailureAt: optionalTime(e.FirstFailureAt), Backlog: Backlog{e.Backlog},
		CreatedAt: Time(e.CreatedAt), UpdatedAt: Time(e.UpdatedAt),
	}
}

func (s *Server) createEndpoint(ctx context.Context, c *call, in NewEndpoint) (CreatedEndpoint, error) {
	wanted := tidings.NewEndpoint{ID: in.ID, URL: in.URL, FilterTypes: in.FilterTypes}
	if err := wanted.Check(); err != nil {
		return CreatedEndpoint{}, err
	}
	if err := s.cfg.CheckURL(in.URL); err != nil {
		return CreatedEndpoint{}, tidings.Invalid("/url", "%s", err)
	}
	e, err := s.cfg.Endpoints.CreateEndpoint(ctx, c.Organisation.Key, wanted)
	return CreatedEndpoint{e.ID, e.URL, e.FilterTypes, Time(e.CreatedAt), Time(e.UpdatedAt)}, err
}

func (s *Server) listEndpoints(ctx context.Context, c *call) (page[Endpoint], error) {
	l, err := s.cfg.Endpoints.Endpoints(ctx, c.Organisation.Key, c.query.page)
	return pageOf(l, showEndpoint), err
}

func (s *Server) readEndpoint(ctx context.Context, c *call, _ none) (Endpoint, error) {
	e, err := s.cfg.Endpoints.Endpoint(ctx, c.Organisation.Key, c.id)
	return showEndpoint(e), err
}

func (s *Server) deleteEndpoint(ctx context.Context, c *call, _ none) (none, error) {
	return none{}, s.cfg.Endpoints.DeleteEndpoint(ctx, c.Organisation.Key, c.id)
}

func (s *Server) readSecret(ctx context.Context, c *call, _ none) (EndpointSecret, error) {
	secrets, err := s.cfg.Endpoints.EndpointSecrets(ctx, c.Organisation.Key, c.id)
	if err != nil {
		return EndpointSecret{}, err
	}
	if len(secrets) == 0 {
		return EndpointSecret{}, errors.New("an endpoint has no signing secret")
	}
	out := EndpointSecret{Secret: secrets[0].Secret}
	for _, old := range secrets[1:] {
		out.Previous = append(out.Previous, PreviousSecret{old.Secret, optionalTime(old.ExpiresAt)})
	}
	return out, nil
}
