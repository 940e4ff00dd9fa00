package client

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"tidings"
)

// NewEvent is an event of another issuer than the server, to be published.
type NewEvent struct {
	EventType tidings.EventType `json:"eventType"`
	Payload   NewPayload        `json:"payload"`
	// IdempotencyKey covers this event, where the option of that name covers
	// all events of a call. Only one of the two may be used.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
}

// NewPayload names the issuance that an event is about.
type NewPayload struct {
	OpenID4VCIssuanceID string `json:"openId4VcIssuanceId"`
}

// Event is an event that was accepted.
type Event struct {
	ID        string               `json:"id"` // also the webhook-id
	EventType tidings.EventType    `json:"eventType"`
	Payload   tidings.EventPayload `json:"payload"`
	CreatedAt time.Time            `json:"createdAt"`
	Test      bool                 `json:"test"` // a sample, sent to one endpoint only
}

func (e Event) cursor() string { return e.ID }

// EventQuery says which events to list.
type EventQuery struct {
	EventType  tidings.EventType `query:"filter[eventType]"`
	IssuanceID string            `query:"filter[issuanceId]"`
	Since      time.Time         `query:"filter[since]"` // accepted then or later
	Page
}

// EventType is an event type with all that a receiver must know of it.
type EventType struct {
	Name        tidings.EventType   `json:"name"`
	Aliases     []tidings.EventType `json:"aliases"` // older names that filterTypes takes, too
	Description string              `json:"description"`
	OptIn       bool                `json:"optIn"`  // sent only to endpoints whose filterTypes name it
	Schema      json.RawMessage     `json:"schema"` // JSON Schema of the webhook's body
	Example     tidings.EventBody   `json:"example"`
}

// PublishEvent publishes an event.
func (c *Client) PublishEvent(ctx context.Context, e NewEvent, options ...Option) (Event, error) {
	return one[Event](ctx, c, publishing(e, []NewEvent{e}), options...)
}

// PublishEvents publishes up to 1,000 events, all or none, and gives them in
// their order.
func (c *Client) PublishEvents(ctx context.Context, events []NewEvent, options ...Option) ([]Event, error) {
	return one[[]Event](ctx, c, publishing(events, events), options...)
}

// publishing makes a key for the call only where no event has one of its own.
// Where some have and others have not, nothing covers all of them, and the
// call is not repeated.
func publishing(body any, events []NewEvent) request {
	r := creating("/events", body)
	keyed := 0
	for _, e := range events {
		if e.IdempotencyKey != "" {
			keyed++
		}
	}
	if keyed > 0 {
		r.key, r.repeatable = "", keyed == len(events)
	}
	return r
}

// Events lists the events in the order in which they were accepted.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	return list[Event](ctx, c, "/events", q)
}

// Event reads an event.
func (c *Client) Event(ctx context.Context, id string) (Event, error) {
	return one[Event](ctx, c, reading("events", id))
}

// EventDeliveries lists the deliveries of an event, the newest first.
func (c *Client) EventDeliveries(ctx context.Context, id string, p Page) iter.Seq2[Delivery, error] {
	return list[Delivery](ctx, c, path("events", id, "deliveries"), p)
}

// EventTypes gives the catalogue of event types.
func (c *Client) EventTypes(ctx context.Context) ([]EventType, error) {
	return one[[]EventType](ctx, c, reading("event-types"))
}
