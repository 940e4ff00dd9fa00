package server

import (
	"context"
	"time"

	"tidings"

	"github.com/go-json-experiment/json/jsontext"
)

// NewEndpoint asks for an endpoint.
type NewEndpoint struct {
	URL           string              `json:"url"`
	ID            string              `json:"id,omitempty"`
	FilterTypes   []tidings.EventType `json:"filterTypes,omitempty"`
	Description   string              `json:"description,omitempty"`
	Headers       map[string]string   `json:"headers,omitempty"`
	RateLimit     float64             `json:"rateLimit,omitempty"`     // attempts per second
	MaxInFlight   int                 `json:"maxInFlight,omitempty"`   // attempts at the same time
	RetrySchedule []int64             `json:"retrySchedule,omitempty"` // seconds
	Signatures    []string            `json:"signatures,omitempty"`
}

// EndpointPatch changes an endpoint: members that are there replace what was.
type EndpointPatch struct {
	URL           *string                 `json:"url,omitempty"`
	FilterTypes   *[]tidings.EventType    `json:"filterTypes,omitempty"`
	Description   *string                 `json:"description,omitempty"`
	Headers       *map[string]string      `json:"headers,omitempty"`
	RateLimit     *float64                `json:"rateLimit,omitzero"`
	MaxInFlight   *int                    `json:"maxInFlight,omitempty"`
	RetrySchedule *[]int64                `json:"retrySchedule,omitempty"`
	Signatures    *[]string               `json:"signatures,omitempty"`
	Status        *tidings.EndpointStatus `json:"status,omitempty"`
	RecoverSince  *string                 `json:"recoverSince,omitempty"` // a time, "disabledAt" or "firstFailureAt"
}

// UnmarshalJSONFrom reads a patch. As in a JSON merge patch (RFC 7396), null
// takes a setting back to its default; what has none cannot be null.
func (p *EndpointPatch) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	type plain EndpointPatch
	return readPatch(dec, (*plain)(p), p.reset)
}

// reset takes a setting back to its default, if it has one.
func (p *EndpointPatch) reset(name string) bool {
	switch name {
	case "filterTypes":
		p.FilterTypes = &[]tidings.EventType{}
	case "description":
		p.Description = new("")
	case "headers":
		p.Headers = &map[string]string{}
	case "rateLimit":
		p.RateLimit = new(0.0)
	case "maxInFlight":
		p.MaxInFlight = new(tidings.DefaultMaxInFlight)
	case "retrySchedule":
		p.RetrySchedule = &[]int64{}
	case "signatures":
		p.Signatures = &[]string{tidings.SignatureV1}
	default:
		return false
	}
	return true
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
	Description    string                 `json:"description,omitempty"`
	FilterTypes    []tidings.EventType    `json:"filterTypes,omitempty"`
	Headers        map[string]string      `json:"headers,omitempty"` // every value is "***"
	RateLimit      float64                `json:"rateLimit,omitzero"`
	MaxInFlight    int                    `json:"maxInFlight"`
	RetrySchedule  []int64                `json:"retrySchedule,omitempty"` // absent: the installation's
	Signatures     []string               `json:"signatures"`
	Status         tidings.EndpointStatus `json:"status"`
	DisabledReason tidings.DisabledReason `json:"disabledReason,omitempty"`
	DisabledAt     *Time                  `json:"disabledAt,omitzero"`
	FirstFailureAt *Time                  `json:"firstFailureAt,omitzero"` // set while every attempt since then has failed
	DisablesAt     *Time                  `json:"disablesAt,omitzero"`     // while failing: when it will be disabled
	Backlog        Backlog                `json:"backlog"`
	CreatedAt      Time                   `json:"createdAt"`
	UpdatedAt      Time                   `json:"updatedAt"`
}

func (e Endpoint) cursor() string { return e.ID }

// Backlog is what waits to be delivered to an endpoint.
type Backlog struct {
	Count    int   `json:"count"`
	OldestAt *Time `json:"oldestAt,omitzero"`
}

func (s *Server) showEndpoint(e tidings.Endpoint) Endpoint {
	out := Endpoint{
		ID: e.ID, URL: e.URL, Description: e.Description, FilterTypes: e.FilterTypes, RateLimit: e.RateLimit, MaxInFlight: e.MaxInFlight,
		Signatures: e.Signatures, Status: e.Status, DisabledReason: e.DisabledReason, DisabledAt: optionalTime(e.DisabledAt),
		FirstFailureAt: optionalTime(e.FirstFailureAt), Backlog: Backlog{e.Backlog.Count, optionalTime(e.Backlog.OldestAt)},
		CreatedAt: Time(e.CreatedAt), UpdatedAt: Time(e.UpdatedAt),
	}
	for _, d := range e.RetrySchedule {
		out.RetrySchedule = append(out.RetrySchedule, int64(d/time.Second))
	}
	for name := range e.Headers {
		if out.Headers == nil {
			out.Headers = map[string]string{}
		}
		out.Headers[name] = tidings.HiddenValue
	}
	if e.FirstFailureAt != nil && e.Status == tidings.EndpointEnabled && s.cfg.DisableAfter > 0 {
		at := Time(e.FirstFailureAt.Add(s.cfg.DisableAfter))
		out.DisablesAt = &at
	}
	return out
}

func delays(list []int64) []time.Duration {
	out := make([]time.Duration, len(list))
	for i, n := range list {
		out[i] = time.Duration(max(min(n, 1<<31), -1)) * time.Second
	}
	return out
}

func (s *Server) createEndpoint(ctx context.Context, c *call, in NewEndpoint) (CreatedEndpoint, error) {
	wanted := tidings.NewEndpoint{ID: in.ID, Origin: c.origin(), Settings: tidings.Settings{
		URL: in.URL, FilterTypes: in.FilterTypes, Description: in.Description, Headers: in.Headers, RateLimit: in.RateLimit,
		MaxInFlight: in.MaxInFlight, RetrySchedule: delays(in.RetrySchedule), Signatures: in.Signatures,
	}}
	if err := wanted.Check(); err != nil {
		return CreatedEndpoint{}, err
	}
	if err := s.cfg.CheckURL(in.URL); err != nil {
		return CreatedEndpoint{}, tidings.Invalid("/url", "%s", err)
	}
	e, err := s.cfg.Endpoints.CreateEndpoint(ctx, c.Organisation.Key, wanted)
	return CreatedEndpoint{e.ID, e.URL, e.FilterTypes, Time(e.CreatedAt), Time(e.UpdatedAt)}, err
}

func (s *Server) updateEndpoint(ctx context.Context, c *call, in EndpointPatch) (Endpoint, error) {
	patch := tidings.EndpointPatch{URL: in.URL, Description: in.Description, FilterTypes: in.FilterTypes, Headers: in.Headers,
		RateLimit: in.RateLimit, MaxInFlight: in.MaxInFlight, Signatures: in.Signatures, Status: in.Status, Origin: c.origin()}
	if in.RetrySchedule != nil {
		schedule := delays(*in.RetrySchedule)
		patch.RetrySchedule = &schedule
	}
	if in.URL != nil {
		if err := s.cfg.CheckURL(*in.URL); err != nil {
			return Endpoint{}, tidings.Invalid("/url", "%s", err)
		}
	}
	if in.RecoverSince != nil {
		since, err := s.recoverSince(ctx, c, *in.RecoverSince)
		if err != nil {
			return Endpoint{}, err
		}
		patch.RecoverSince = &since
	}
	e, err := s.cfg.Endpoints.UpdateEndpoint(ctx, c.Organisation.Key, c.id, patch)
	if err != nil {
		return Endpoint{}, err
	}
	return s.showEndpoint(e), nil
}

// recoverSince reads a time, or the name of one that the endpoint has.
func (s *Server) recoverSince(ctx context.Context, c *call, text string) (time.Time, error) {
	const at = "/recoverSince"
	if text != "disabledAt" && text != "firstFailureAt" {
		return parseTime(at, text)
	}
	e, err := s.cfg.Endpoints.Endpoint(ctx, c.Organisation.Key, c.id)
	if err != nil {
		return time.Time{}, err
	}
	named := map[string]*time.Time{"disabledAt": e.DisabledAt, "firstFailureAt": e.FirstFailureAt}[text]
	if named == nil {
		return time.Time{}, tidings.Invalid(at, "The endpoint has no %s at the moment; send a time.", text)
	}
	return *named, nil
}

// parseTime reads a time of RFC 3339.
func parseTime(at, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 2000 || t.Year() > 9000 {
		return time.Time{}, tidings.Invalid(at, "This must be a time such as 2025-01-01T00:00:00.000Z.")
	}
	return t, nil
}

func (s *Server) listEndpoints(ctx context.Context, c *call) (page[Endpoint], error) {
	l, err := s.cfg.Endpoints.Endpoints(ctx, c.Organisation.Key, c.query.page)
	return pageOf(l, s.showEndpoint), err
}

func (s *Server) readEndpoint(ctx context.Context, c *call, _ none) (Endpoint, error) {
	e, err := s.cfg.Endpoints.Endpoint(ctx, c.Organisation.Key, c.id)
	if err != nil {
		return Endpoint{}, err
	}
	return s.showEndpoint(e), nil
}

func (s *Server) deleteEndpoint(ctx context.Context, c *call, _ none) (none, error) {
	return none{}, s.cfg.Endpoints.DeleteEndpoint(ctx, c.Organisation.Key, c.id, c.origin())
}
