package server

import (
	"context"
	"errors"
	"strconv"
	"time"

	"tidings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// NewEvent asks to publish an event.
type NewEvent struct {
	EventType      tidings.EventType `json:"eventType"`
	Payload        NewPayload        `json:"payload"`
	IdempotencyKey string            `json:"idempotencyKey,omitempty"`
}

// NewPayload names the issuance that an event is about.
type NewPayload struct {
	OpenID4VCIssuanceID string `json:"openId4VcIssuanceId"`
}

// Event is an event that was accepted. Its type and its payload are those of
// the webhook.
type Event struct {
	ID        string               `json:"id"` // also the webhook-id
	EventType tidings.EventType    `json:"eventType"`
	Payload   tidings.EventPayload `json:"payload"`
	CreatedAt Time                 `json:"createdAt"`
	Test      bool                 `json:"test,omitzero"` // a sample, sent to one endpoint only
}

func (e Event) cursor() string { return e.ID }

// OneOrMany is an object, or an array of them.
type OneOrMany[T any] struct {
	Items []T
	Array bool // it is an array, be it of one item
}

// mayBeArray tells decode that an array is right too.
func (*OneOrMany[T]) mayBeArray() {}

// UnmarshalJSONFrom reads either, told apart by the first byte.
func (o *OneOrMany[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if o.Array = dec.PeekKind() == jsontext.KindBeginArray; o.Array {
		return json.UnmarshalDecode(dec, &o.Items)
	}
	o.Items = make([]T, 1)
	return json.UnmarshalDecode(dec, &o.Items[0])
}

// MarshalJSONTo writes what it is.
func (o OneOrMany[T]) MarshalJSONTo(enc *jsontext.Encoder) error {
	if o.Array {
		return json.MarshalEncode(enc, o.Items)
	}
	return json.MarshalEncode(enc, &o.Items[0])
}

// maxProblems is how many faulty events of an array are told at once.
const maxProblems = 20

// newEvents checks what is to be published. Pointers into an array begin with
// the event's index.
func newEvents(in OneOrMany[NewEvent], idem *tidings.Idempotency) ([]tidings.NewEvent, error) {
	switch n := len(in.Items); {
	case n == 0:
		return nil, tidings.Invalid("", "The array is empty; send 1 to %d events.", tidings.MaxPublishBatch)
	case n > tidings.MaxPublishBatch:
		return nil, tidings.Invalid("/"+strconv.Itoa(tidings.MaxPublishBatch), "An array holds at most %d events; got %d.", tidings.MaxPublishBatch, n)
	}
	out := make([]tidings.NewEvent, len(in.Items))
	var errs []error
	for i, e := range in.Items {
		out[i] = tidings.NewEvent{Type: e.EventType, IssuanceID: e.Payload.OpenID4VCIssuanceID, IdempotencyKey: e.IdempotencyKey}
		at := ""
		if in.Array {
			at = "/" + strconv.Itoa(i)
		}
		err := out[i].Check(at)
		if err == nil && idem != nil && e.IdempotencyKey != "" {
			err = tidings.Invalid(at+"/idempotencyKey", "The header Idempotency-Key covers the whole request; leave out one of the two.")
		}
		if err != nil && len(errs) < maxProblems {
			errs = append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

func showEvent(e tidings.Event) Event {
	return Event{ID: e.ID, EventType: e.Type, Payload: e.Payload, CreatedAt: Time(e.CreatedAt), Test: e.Test}
}

func (s *Server) publish(ctx context.Context, c *call, in OneOrMany[NewEvent]) (OneOrMany[Event], error) {
	events, err := newEvents(in, c.idem)
	if err != nil {
		return OneOrMany[Event]{}, err
	}
	if err := s.quotas.publish(c.Organisation.Key, s.cfg.Quota, len(events)); err != nil {
		return OneOrMany[Event]{}, err
	}
	kept, err := s.cfg.Events.Publish(ctx, c.Organisation.Key, events, c.idem)
	if err != nil {
		if !in.Array {
			err = movePointer(err, "/0", "")
		}
		return OneOrMany[Event]{}, err
	}
	out := OneOrMany[Event]{Items: make([]Event, len(kept)), Array: in.Array}
	for i, e := range kept {
		out.Items[i] = showEvent(e)
	}
	return out, nil
}

func (s *Server) listEvents(ctx context.Context, c *call) (page[Event], error) {
	filter := tidings.EventFilter{Type: tidings.EventType(c.query.filter["eventType"]), IssuanceID: c.query.filter["issuanceId"]}
	if since := c.query.filter["since"]; since != "" {
		var err error
		if filter.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return page[Event]{}, tidings.InvalidParameter("filter[since]", "filter[since] is a time such as 2025-01-01T00:00:00.000Z.")
		}
	}
	l, err := s.cfg.Events.Events(ctx, c.Organisation.Key, filter, c.query.page)
	return pageOf(l, showEvent), err
}

func (s *Server) readEvent(ctx context.Context, c *call, _ none) (Event, error) {
	e, err := s.cfg.Events.Event(ctx, c.Organisation.Key, c.id)
	return showEvent(e), err
}

func (s *Server) listEventDeliveries(ctx context.Context, c *call) (page[Delivery], error) {
	if _, err := s.cfg.Events.Event(ctx, c.Organisation.Key, c.id); err != nil {
		return page[Delivery]{}, err
	}
	l, err := s.cfg.Deliveries.Deliveries(ctx, c.Organisation.Key, tidings.DeliveryFilter{EventID: c.id}, c.query.page)
	return pageOf(l, showDelivery), err
}
