package client

import (
	"context"
	"crypto/rand"
	"iter"
	"net/http"
	"time"

	"tidings"
)

// NewEndpoint asks for an endpoint.
type NewEndpoint struct {
	URL string `json:"url"` // an https URL
	// ID is an id of your own choice; empty lets the server make one.
	ID string `json:"id,omitempty"`
	// FilterTypes are the event types that it receives. None means every
	// openid4vc.issuance.* type.
	FilterTypes   []tidings.EventType `json:"filterTypes,omitempty"`
	Description   string              `json:"description,omitempty"`
	Headers       map[string]string   `json:"headers,omitempty"`       // sent with each webhook; never shown again
	RateLimit     float64             `json:"rateLimit,omitempty"`     // attempts per second; 0 for no limit
	MaxInFlight   int                 `json:"maxInFlight,omitempty"`   // attempts at the same time, up to 64; 0 for 8
	RetrySchedule []int64             `json:"retrySchedule,omitempty"` // seconds after each failure; none for the installation's
	Signatures    []string            `json:"signatures,omitempty"`    // tidings.SignatureV1, then tidings.SignatureV1a
}

// EndpointPatch changes an endpoint: the members that are not nil take the
// place of what was.
type EndpointPatch struct {
	URL           *string              `json:"url,omitempty"`
	FilterTypes   *[]tidings.EventType `json:"filterTypes,omitempty"`
	Description   *string              `json:"description,omitempty"`
	Headers       *map[string]string   `json:"headers,omitempty"`
	RateLimit     *float64             `json:"rateLimit,omitempty"`
	MaxInFlight   *int                 `json:"maxInFlight,omitempty"`
	RetrySchedule *[]int64             `json:"retrySchedule,omitempty"`
	Signatures    *[]string            `json:"signatures,omitempty"`
	// Status enables or disables the endpoint. While it is disabled, its
	// deliveries are kept.
	Status *tidings.EndpointStatus `json:"status,omitempty"`
	// RecoverSince goes with enabling: what failed or was never made since
	// then is sent again. A time in RFC 3339, or "disabledAt" or "firstFailureAt".
	RecoverSince *string `json:"recoverSince,omitempty"`
}

// CreatedEndpoint is an endpoint as it was made.
type CreatedEndpoint struct {
	ID          string              `json:"id"`
	URL         string              `json:"url"`
	FilterTypes []tidings.EventType `json:"filterTypes"`
	CreatedAt   time.Time           `json:"createdAt"`
	UpdatedAt   time.Time           `json:"updatedAt"`
}

// Endpoint is where the organisation receives its webhooks, and how it is
// doing.
type Endpoint struct {
	ID             string                 `json:"id"`
	URL            string                 `json:"url"`
	Description    string                 `json:"description"`
	FilterTypes    []tidings.EventType    `json:"filterTypes"`
	Headers        map[string]string      `json:"headers"` // every value is "***"
	RateLimit      float64                `json:"rateLimit"`
	MaxInFlight    int                    `json:"maxInFlight"`
	RetrySchedule  []int64                `json:"retrySchedule"` // seconds; nil for the installation's
	Signatures     []string               `json:"signatures"`
	Status         tidings.EndpointStatus `json:"status"`
	DisabledReason tidings.DisabledReason `json:"disabledReason"` // empty while it is enabled
	DisabledAt     *time.Time             `json:"disabledAt"`     // nil while it is enabled
	FirstFailureAt *time.Time             `json:"firstFailureAt"` // set while every attempt since then has failed
	DisablesAt     *time.Time             `json:"disablesAt"`     // with it: when the endpoint will be disabled
	Backlog        Backlog                `json:"backlog"`
	CreatedAt      time.Time              `json:"createdAt"`
	UpdatedAt      time.Time              `json:"updatedAt"`
}

func (e Endpoint) cursor() string { return e.ID }

// Backlog is what waits to be delivered to an endpoint.
type Backlog struct {
	Count    int        `json:"count"`
	OldestAt *time.Time `json:"oldestAt"` // when the oldest of it was accepted
}

// EndpointSecret is what an endpoint's webhooks are signed with.
type EndpointSecret struct {
	Secret   string           `json:"secret"`   // whsec_…; what package webhook verifies with
	Previous []PreviousSecret `json:"previous"` // older ones that still sign along
}

// PreviousSecret signs along until it expires.
type PreviousSecret struct {
	Secret    string     `json:"secret"`
	ExpiresAt *time.Time `json:"expiresAt"`
}

// CreateEndpoint registers an endpoint that receives webhooks.
func (c *Client) CreateEndpoint(ctx context.Context, e NewEndpoint, options ...Option) (CreatedEndpoint, error) {
	return one[CreatedEndpoint](ctx, c, creating("/endpoints", e), options...)
}

// Endpoints lists the endpoints, the oldest first.
func (c *Client) Endpoints(ctx context.Context, q EndpointQuery) iter.Seq2[Endpoint, error] {
	return list[Endpoint](ctx, c, "/endpoints", q)
}

// Endpoint reads an endpoint, its state and its backlog.
func (c *Client) Endpoint(ctx context.Context, id string) (Endpoint, error) {
	return one[Endpoint](ctx, c, reading("endpoints", id))
}

// DeleteEndpoint deletes an endpoint; its pending deliveries are canceled.
func (c *Client) DeleteEndpoint(ctx context.Context, id string) error {
	_, err := one[struct{}](ctx, c, request{method: http.MethodDelete, path: path("endpoints", id), repeatable: true})
	return err
}

// EndpointSecret reads the secrets that sign an endpoint's webhooks.
func (c *Client) EndpointSecret(ctx context.Context, id string) (EndpointSecret, error) {
	return one[EndpointSecret](ctx, c, reading("endpoints", id, "secret"))
}

// Rotation says how a secret is replaced.
type Rotation struct {
	// GracePeriodSeconds is how long the old secret signs along, up to a week;
	// nil for a day.
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds,omitempty"`
}

// TestRequest says which sample event to send.
type TestRequest struct {
	EventType tidings.EventType `json:"eventType,omitempty"` // empty for tidings.IssuanceCompleted
}

// NewRecovery says of which period to send again what an endpoint did not get.
type NewRecovery struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // zero for now
}

// Recovery tells how far that has come.
type Recovery struct {
	ID         string                 `json:"id"`
	EndpointID string                 `json:"endpointId"`
	Status     tidings.RecoveryStatus `json:"status"`
	Since      time.Time              `json:"since"`
	Until      time.Time              `json:"until"`
	Examined   int                    `json:"examined"`  // events looked at so far
	Recovered  int                    `json:"recovered"` // deliveries made so far
	CreatedAt  time.Time              `json:"createdAt"`
	EndedAt    *time.Time             `json:"endedAt"`
}

// UpdateEndpoint changes an endpoint: its settings, and whether it is enabled.
func (c *Client) UpdateEndpoint(ctx context.Context, id string, p EndpointPatch) (Endpoint, error) {
	return one[Endpoint](ctx, c, request{method: http.MethodPatch, path: path("endpoints", id), body: p})
}

// RotateEndpointSecret gives an endpoint a new secret; the old one signs along
// for a while.
func (c *Client) RotateEndpointSecret(ctx context.Context, id string, r Rotation, options ...Option) (EndpointSecret, error) {
	return one[EndpointSecret](ctx, c, creating(path("endpoints", id, "secret", "rotate"), r), options...)
}

// TestEndpoint sends a sample event to this endpoint only.
func (c *Client) TestEndpoint(ctx context.Context, id string, r TestRequest, options ...Option) (Delivery, error) {
	return one[Delivery](ctx, c, creating(path("endpoints", id, "test"), r), options...)
}

// RecoverEndpoint sends again all that the endpoint did not get in a period.
// It goes on after the call; [Client.Recovery] tells how far it has come.
func (c *Client) RecoverEndpoint(ctx context.Context, id string, r NewRecovery, options ...Option) (Recovery, error) {
	return one[Recovery](ctx, c, creating(path("endpoints", id, "recover"), r), options...)
}

// Recovery reads how far a recovery of an endpoint has come.
func (c *Client) Recovery(ctx context.Context, endpoint, id string) (Recovery, error) {
	return one[Recovery](ctx, c, reading("endpoints", endpoint, "recoveries", id))
}

// reading is a request that changes nothing.
func reading(parts ...string) request {
	return request{method: http.MethodGet, path: path(parts...), repeatable: true}
}

// creating is a request that makes something. It has a key, so that repeating
// it makes nothing more.
func creating(path string, body any) request {
	return request{method: http.MethodPost, path: path, body: body, key: rand.Text(), repeatable: true}
}
