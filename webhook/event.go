package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Event is a verified webhook.
type Event struct {
	// ID is the webhook-id: the same for every attempt at the same event. A
	// receiver that has seen it before answers 2xx and does nothing.
	ID string
	// Type is the event type, for example "openid4vc.issuance.completed".
	Type string
	// IssuanceID is the payload's openId4VcIssuanceId, empty where the payload
	// has none.
	IssuanceID string
	// Attempt counts the sender's attempts from 1; 0 where the header is not
	// there. It is not signed: show it, decide nothing by it.
	Attempt int
	// Timestamp is when this attempt was made; whole seconds, UTC.
	Timestamp time.Time
	// Received is when it was verified here.
	Received time.Time
	// Test tells that somebody asked for a sample event to try the endpoint:
	// no issuance stands behind it, so do nothing that has an effect. Like
	// Attempt it is not signed.
	Test bool
	// Payload is the payload as it came, nil where there is none.
	Payload json.RawMessage
	// Body is the whole body as it came.
	Body []byte
}

// ParseEvent reads a body that was verified earlier, such as one that an
// [Inbox] kept. It fills in the fields that the id and the body tell; the
// others are left to the caller. Fields that it does not know and payloads of
// any form pass, so that a sender can add to them. Errors wrap [ErrBody].
func ParseEvent(id string, body []byte) (Event, error) {
	var wire struct {
		EventType string          `json:"eventType"`
		Payload   json.RawMessage `json:"payload"`
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return Event{}, fmt.Errorf("%w: it is not a JSON object", ErrBody)
	}
	if err := json.Unmarshal(body, &wire); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrBody, err)
	}
	if wire.EventType == "" {
		return Event{}, fmt.Errorf("%w: it has no eventType", ErrBody)
	}
	event := Event{ID: id, Type: wire.EventType, Payload: wire.Payload, Body: body}
	var payload struct {
		IssuanceID string `json:"openId4VcIssuanceId"`
	}
	if json.Unmarshal(wire.Payload, &payload) == nil { // another payload is no error
		event.IssuanceID = payload.IssuanceID
	}
	return event, nil
}
