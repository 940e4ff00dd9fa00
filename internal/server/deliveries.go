package server

import (
	"context"

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
	Reason        *string                `json:"reason"` // why it failed or was canceled
	AttemptCount  int                    `json:"attemptCount"`
	NextAttemptAt *Time                  `json:"nextAttemptAt"` // while pending
	RetryOf       *string                `json:"retryOf"`       // the ended delivery that it repeats
	CreatedAt     Time                   `json:"createdAt"`
	EndedAt       *Time                  `json:"endedAt"`
}

func (d Delivery) cursor() string { return d.ID }

// DeliveryDetail is a delivery with its attempts, the first one first.
type DeliveryDetail struct {
	Delivery
	Attempts []Attempt `json:"attempts"`
}

// Attempt is one HTTP request of a delivery.
type Attempt struct {
	Number          int     `json:"number"`
	StartedAt       Time    `json:"startedAt"`
	DurationMs      int64   `json:"durationMs"`
	StatusCode      *int    `json:"statusCode"` // null where no answer came
	ErrorCode       *string `json:"errorCode"`  // null on success
	Error           *string `json:"error"`
	ResponseExcerpt string  `json:"responseExcerpt"` // the beginning of the answer
	Advice          *string `json:"advice"`          // what to do about the error; null on success
}

func showDelivery(d tidings.Delivery) Delivery {
	return Delivery{
		ID: d.ID, EventID: d.EventID, EndpointID: d.EndpointID, EventType: d.EventType, IssuanceID: d.IssuanceID,
		Status: d.Status, Reason: optional(d.Reason), AttemptCount: d.AttemptCount, NextAttemptAt: optionalTime(d.NextAttemptAt),
		RetryOf: optional(d.RetryOf), CreatedAt: Time(d.CreatedAt), EndedAt: optionalTime(d.EndedAt),
	}
}

func showAttempt(a tidings.Attempt) Attempt {
	out := Attempt{
		Number: a.Number, StartedAt: Time(a.StartedAt), DurationMs: a.Duration.Milliseconds(),
		ErrorCode: optional(a.ErrorCode), Error: optional(valid(a.Error)),
		ResponseExcerpt: valid(string(a.ResponseExcerpt)), // a receiver may answer anything, cut anywhere
		Advice:          optional(a.Advice()),
	}
	if a.StatusCode != 0 {
		out.StatusCode = &a.StatusCode
	}
	return out
}

func (s *Server) listDeliveries(ctx context.Context, c *call) (page[Delivery], error) {
	f := c.query.filter
	l, err := s.cfg.Deliveries.Deliveries(ctx, c.Organisation.Key, tidings.DeliveryFilter{
		EndpointID: f["endpointId"], EventID: f["eventId"], EventType: tidings.EventType(f["eventType"]),
		Status: tidings.DeliveryStatus(f["status"]), IssuanceID: f["issuanceId"],
	}, c.query.page)
	return pageOf(l, showDelivery), err
}

func (s *Server) readDelivery(ctx context.Context, c *call, _ none) (DeliveryDetail, error) {
	d, err := s.cfg.Deliveries.Delivery(ctx, c.Organisation.Key, c.id)
	out := DeliveryDetail{Delivery: showDelivery(d), Attempts: make([]Attempt, len(d.Attempts))}
	for i, a := range d.Attempts {
		out.Attempts[i] = showAttempt(a)
	}
	return out, err
}
