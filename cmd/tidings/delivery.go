package main

import (
	"context"
	"strconv"
	"time"

	"tidings"
	"tidings/client"
)

type deliveryCommand struct {
	List  deliveryList  `cmd:"" help:"List the deliveries, the newest first: what was sent to whom, and what waits."`
	Get   deliveryGet   `cmd:"" help:"Show a delivery with each of its attempts."`
	Retry deliveryRetry `cmd:"" help:"Send again: a pending delivery now, an ended one as a new one."`
}

type deliveryList struct {
	listFlags
	Endpoint  string `placeholder:"ID" help:"Only those to this endpoint."`
	Event     string `placeholder:"ID" help:"Only those of this event."`
	EventType string `placeholder:"TYPE" help:"Only those of events of this type."`
	Status    string `placeholder:"STATUS" help:"Only pending, delivered, failed or canceled ones."`
	Issuance  string `placeholder:"ID" help:"Only those of this issuance."`
}

// Run lists deliveries.
func (c deliveryList) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		q := client.DeliveryQuery{EndpointID: c.Endpoint, EventID: c.Event, EventType: tidings.EventType(c.EventType),
			Status: tidings.DeliveryStatus(c.Status), IssuanceID: c.Issuance, Page: c.page()}
		head := []string{"ID", "ENDPOINT", "TYPE", "ISSUANCE", "STATUS", "ATTEMPTS", "NEXT"}
		return collect(api.Deliveries(ctx, q), c.Limit, head, func(d client.Delivery) []string {
			return []string{d.ID, d.EndpointID, string(d.EventType), d.IssuanceID, string(d.Status),
				strconv.Itoa(d.AttemptCount), optionalStamp(d.NextAttemptAt)}
		})
	})
}

type deliveryGet struct {
	remoteFlags
	ID string `arg:"" help:"The delivery's id."`
}

// Run shows a delivery and its attempts.
func (c deliveryGet) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		d, err := api.Delivery(ctx, c.ID)
		v := deliveryView(d.Delivery)
		if n := len(d.Attempts); n > 0 && d.Attempts[n-1].Advice != "" {
			v.add("it said", printable(d.Attempts[n-1].ResponseExcerpt))
			v.add("mend", d.Attempts[n-1].Advice)
		}
		v.head = []string{"ATTEMPT", "STARTED", "TOOK", "ANSWER", "ERROR"}
		for _, a := range d.Attempts {
			answer := "-"
			if a.StatusCode != 0 {
				answer = strconv.Itoa(a.StatusCode)
			}
			problem := a.ErrorCode
			if a.Error != "" {
				problem += ": " + a.Error
			}
			v.rows = append(v.rows, []string{strconv.Itoa(a.Number), stamp(a.StartedAt),
				(time.Duration(a.DurationMs) * time.Millisecond).String(), answer, problem})
		}
		return v, err
	})
}

func deliveryView(d client.Delivery) view {
	v := view{ids: []string{d.ID}}
	v.add("id", d.ID)
	v.add("event", d.EventID)
	v.add("endpoint", d.EndpointID)
	v.add("type", string(d.EventType))
	v.add("issuance", d.IssuanceID)
	v.add("status", string(d.Status))
	v.add("reason", string(d.Reason))
	v.add("attempts", strconv.Itoa(d.AttemptCount))
	v.add("next attempt", optionalStamp(d.NextAttemptAt))
	v.add("retry of", d.RetryOf)
	v.add("created", stamp(d.CreatedAt))
	v.add("ended", optionalStamp(d.EndedAt))
	return v
}

type deliveryRetry struct {
	remoteFlags
	ID             string `arg:"" help:"The delivery's id."`
	IdempotencyKey string `placeholder:"KEY" help:"The same key again gives the first result, for 24 hours."`
}

// Run sends a delivery again.
func (c deliveryRetry) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		d, err := api.RetryDelivery(ctx, c.ID, keyed(c.IdempotencyKey)...)
		return deliveryView(d), err
	})
}
