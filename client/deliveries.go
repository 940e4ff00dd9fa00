package client

import (
	"context"
	"iter"
	"time"

	"tidings"
)

// Delivery is one event on its way to one endpoint.
type Delivery struct {
	ID            string                 `json:"id"`
	EventID       string                 `json:"eventId"`
	EndpointID    string                 `json:"endpointId"`
	EventType     tidings.EventType      `json:"eventType"`
	IssuanceID    string                 `json:"issuanceId"`
	Status        tidings.DeliveryStatus `json:"status"`
	Reason        tidings.DeliveryReason `json:"reason"` // why it failed or was canceled, else empty
	AttemptCount  int                    `json:"attemptCount"`
	NextAttemptAt *time.Time             `json:"nextAttemptAt"` // while it is pending
	RetryOf       string                 `json:"retryOf"`       // the ended delivery that it repeats, if it does
	CreatedAt     time.Time              `json:"createdAt"`
	EndedAt       *time.Time             `json:"endedAt"`
}

func (d Delivery) cursor() string { return d.ID }

// DeliveryDetail is a delivery with its attempts, the first one first.
type DeliveryDetail struct {
	Delivery
	Attempts []Attempt `json:"attempts"`
}

// Attempt is one HTTP request of a delivery.
type Attempt struct {
	Number          int       `json:"number"` // from 1
	StartedAt       time.Time `json:"startedAt"`
	DurationMs      int64     `json:"durationMs"`
	StatusCode      int       `json:"statusCode"` // 0 where no answer came
	ErrorCode       string    `json:"errorCode"`  // empty on success
	Error           string    `json:"error"`
	ResponseExcerpt string    `json:"responseExcerpt"` // the beginning of the answer
	Advice          string    `json:"advice"`          // what to do about the error
}

// DeliveryQuery says which deliveries to list.
type DeliveryQuery struct {
	EndpointID string                 `query:"filter[endpointId]"`
	EventID    string                 `query:"filter[eventId]"`
	EventType  tidings.EventType      `query:"filter[eventType]"`
	Status     tidings.DeliveryStatus `query:"filter[status]"`
	IssuanceID string                 `query:"filter[issuanceId]"`
	Page
}

// Deliveries lists the deliveries, the newest first.
func (c *Client) Deliveries(ctx context.Context, q DeliveryQuery) iter.Seq2[Delivery, error] {
	return list[Delivery](ctx, c, "/deliveries", q)
}

// Delivery reads a delivery with its attempts.
func (c *Client) Delivery(ctx context.Context, id string) (DeliveryDetail, error) {
	return one[DeliveryDetail](ctx, c, reading("deliveries", id))
}

// RetryDelivery sends a delivery again: a pending one now, an ended one as a
// new one, which it gives.
func (c *Client) RetryDelivery(ctx context.Context, id string, options ...Option) (Delivery, error) {
	return one[Delivery](ctx, c, creating(path("deliveries", id, "retry"), nil), options...)
}

// AuditEntry is one line of the audit log.
type AuditEntry struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`     // the client that did it, or what else did
	Action string    `json:"action"` // such as endpoint.created
	Object string    `json:"object"` // the id of what it was done to
	Detail string    `json:"detail"` // names of what changed, never a secret
}

func (e AuditEntry) cursor() string { return e.ID }

// AuditQuery says which lines of the audit log to list.
type AuditQuery struct{ Page }

// Audit lists the changes of endpoints, secrets, clients and templates, the newest first.
func (c *Client) Audit(ctx context.Context, q AuditQuery) iter.Seq2[AuditEntry, error] {
	return list[AuditEntry](ctx, c, "/audit", q)
}
