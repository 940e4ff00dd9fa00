package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tidings"
	"tidings/client"
)

type eventCommand struct {
	List    eventList    `cmd:"" help:"List the events in the order in which they were accepted, the oldest first."`
	Get     eventGet     `cmd:"" help:"Show an event."`
	Publish eventPublish `cmd:"" help:"Publish an event of another issuer; it is sent to every endpoint that wants its type."`
	Types   eventTypes   `cmd:"" help:"List the event types."`
	Stream  eventStream  `cmd:"" help:"Print each event as it is accepted, until Ctrl-C."`
}

type eventList struct {
	listFlags
	EventType string `placeholder:"TYPE" help:"Only those of this type."`
	Issuance  string `placeholder:"ID" help:"Only those of this issuance."`
	Since     string `placeholder:"TIME" help:"Only those accepted since a time (2025-01-01T00:00:00Z), or so long ago (2h)."`
	After     string `placeholder:"EVENT-ID" help:"Only those after this event."`
}

var eventHead = []string{"ID", "TYPE", "ABOUT", "ACCEPTED"}

func eventRow(e client.Event) []string {
	return []string{e.ID, string(e.EventType), about(e), stamp(e.CreatedAt)}
}

// about gives the id of what an event is about.
func about(e client.Event) string {
	if e.Payload.OpenID4VCIssuanceID != "" {
		return e.Payload.OpenID4VCIssuanceID
	}
	return e.Payload.EndpointID
}

// Run lists events.
func (c eventList) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		q := client.EventQuery{EventType: tidings.EventType(c.EventType), IssuanceID: c.Issuance, Page: c.page()}
		q.After = c.After
		if c.Since != "" {
			var err error
			if q.Since, err = moment(c.Since, time.Now()); err != nil {
				return view{}, usageError{fmt.Errorf("--since %w", err)}
			}
		}
		return collect(api.Events(ctx, q), c.Limit, eventHead, eventRow)
	})
}

type eventGet struct {
	remoteFlags
	ID string `arg:"" help:"The event's id: the webhook-id of its webhooks."`
}

// Run shows an event.
func (c eventGet) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		e, err := api.Event(ctx, c.ID)
		return eventView(e), err
	})
}

func eventView(e client.Event) view {
	v := view{ids: []string{e.ID}}
	v.add("id", e.ID)
	v.add("type", string(e.EventType))
	v.add("issuance", e.Payload.OpenID4VCIssuanceID)
	v.add("endpoint", e.Payload.EndpointID)
	v.add("accepted", stamp(e.CreatedAt))
	return v
}

type eventPublish struct {
	remoteFlags
	Type           string `arg:"" optional:"" help:"The event type, such as openid4vc.issuance.completed."`
	Issuance       string `arg:"" optional:"" help:"The issuance that it is about: 1 to 128 characters of A-Z a-z 0-9 . _ : and -."`
	File           string `placeholder:"FILE" help:"An array of up to 1,000 events as JSON, as the API takes it, accepted all or none; - is standard input."`
	IdempotencyKey string `placeholder:"KEY" help:"The same key again gives the first result, for 24 hours."`
}

// Help shows examples.
func (eventPublish) Help() string {
	return `For example:

  tidings event publish openid4vc.issuance.completed order-1

A file holds an array:

  [{"eventType":"openid4vc.issuance.completed",
    "payload":{"openId4VcIssuanceId":"order-1"}}, …]`
}

// Run publishes one event or many.
func (c eventPublish) Run(ctx context.Context, env *environment) error {
	if c.File != "" {
		return c.publishFile(ctx, env)
	}
	if c.Type == "" || c.Issuance == "" {
		return usageError{errors.New("name the event type and the issuance, or give --file")}
	}
	event := client.NewEvent{EventType: tidings.EventType(c.Type), Payload: client.NewPayload{OpenID4VCIssuanceID: c.Issuance}}
	return c.show(env, func(api *client.Client) (view, error) {
		e, err := api.PublishEvent(ctx, event, keyed(c.IdempotencyKey)...)
		return eventView(e), err
	})
}

func (c eventPublish) publishFile(ctx context.Context, env *environment) error {
	if c.Type != "" {
		return usageError{errors.New("--file holds the events; leave out the rest")}
	}
	var events []client.NewEvent
	if err := readJSON(c.File, &events); err != nil {
		return usageError{err}
	}
	return c.show(env, func(api *client.Client) (view, error) {
		made, err := api.PublishEvents(ctx, events, keyed(c.IdempotencyKey)...)
		v := view{list: true, head: eventHead}
		for _, e := range made {
			v.ids, v.rows = append(v.ids, e.ID), append(v.rows, eventRow(e))
		}
		return v, err
	})
}

type eventTypes struct{ remoteFlags }

// Run lists the event types.
func (c eventTypes) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		types, err := api.EventTypes(ctx)
		v := view{list: true, head: []string{"TYPE", "SENT", "WHEN"}}
		for _, t := range types {
			sent := "by default"
			if t.OptIn {
				sent = "where asked for"
			}
			v.ids = append(v.ids, string(t.Name))
			v.rows = append(v.rows, []string{string(t.Name), sent, t.Description})
		}
		return v, err
	})
}

type eventStream struct {
	remoteFlags
	After string `placeholder:"EVENT-ID" help:"Begin behind this event. Default: with the next one."`
	Limit int    `default:"0" help:"End after so many; 0: never."`
}

// Help says what stands on each line.
func (eventStream) Help() string {
	return "With --output json each line is one event. 'tidings listen' does more: it posts each event to a receiver of yours, signed, and goes on where it was."
}

// Run prints events until it is told to stop.
func (c eventStream) Run(ctx context.Context, env *environment) error {
	api, r, err := c.connect()
	if err != nil {
		return err
	}
	defer r.close()
	shown := 0
	for e, err := range api.FollowEvents(ctx, c.After) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return c.explain(err)
		}
		if err := c.print(env, e); err != nil {
			return err
		}
		if shown++; shown == c.Limit {
			break
		}
	}
	return nil
}

func (c eventStream) print(env *environment, e client.Event) error {
	var err error
	switch c.Output {
	case "json":
		err = json.NewEncoder(env.stdout).Encode(e)
	case "id":
		_, err = fmt.Fprintln(env.stdout, e.ID)
	default:
		_, err = fmt.Fprintf(env.stdout, "%s  %s  %-32s %s\n", stamp(e.CreatedAt), e.ID, e.EventType, about(e))
	}
	return err
}
