package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/client"
)

type endpointCommand struct {
	List    endpointList    `cmd:"" help:"List the endpoints, the oldest first."`
	Get     endpointGet     `cmd:"" help:"Show an endpoint, how it is doing and what waits for it."`
	Create  endpointCreate  `cmd:"" help:"Register an address that receives webhooks."`
	Update  endpointUpdate  `cmd:"" help:"Change an endpoint's settings; what is not named stays."`
	Delete  endpointDelete  `cmd:"" help:"Delete an endpoint; what waits for it is canceled, its history stays."`
	Secret  endpointSecret  `cmd:"" help:"Print the secret that signs an endpoint's webhooks."`
	Rotate  endpointRotate  `cmd:"" help:"Give an endpoint a new secret; the old one signs along for a while."`
	Test    endpointTest    `cmd:"" help:"Send a sample event to this endpoint only."`
	Recover endpointRecover `cmd:"" help:"Send again all that an endpoint did not get in a period."`
	Enable  endpointEnable  `cmd:"" help:"Enable an endpoint; what waits for it is sent."`
	Disable endpointDisable `cmd:"" help:"Disable an endpoint; it keeps collecting, nothing is sent."`
}

type endpointList struct{ listFlags }

// Run lists endpoints.
func (c endpointList) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		items := api.Endpoints(ctx, client.EndpointQuery{Page: c.page()})
		return collect(items, c.Limit, []string{"ID", "STATUS", "WAITING", "URL"}, func(e client.Endpoint) []string {
			return []string{e.ID, string(e.Status), strconv.Itoa(e.Backlog.Count), e.URL}
		})
	})
}

// endpointID names the endpoint that a command is about.
type endpointID struct {
	remoteFlags
	ID string `arg:"" help:"The endpoint's id."`
}

type endpointGet struct{ endpointID }

// Run shows an endpoint.
func (c endpointGet) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		e, err := api.Endpoint(ctx, c.ID)
		return endpointView(e), err
	})
}

func endpointView(e client.Endpoint) view {
	v := view{ids: []string{e.ID}}
	v.add("id", e.ID)
	v.add("url", e.URL)
	v.add("description", e.Description)
	v.add("event types", joined(e.FilterTypes))
	v.add("status", string(e.Status))
	v.add("reason", string(e.DisabledReason))
	v.add("disabled", optionalStamp(e.DisabledAt))
	v.add("failing since", optionalStamp(e.FirstFailureAt))
	v.add("disables", optionalStamp(e.DisablesAt))
	waiting := strconv.Itoa(e.Backlog.Count)
	if e.Backlog.OldestAt != nil {
		waiting += ", the oldest of " + stamp(*e.Backlog.OldestAt)
	}
	v.add("waiting", waiting)
	for name := range e.Headers {
		v.add("header", name)
	}
	if e.RateLimit > 0 {
		v.add("rate limit", strconv.FormatFloat(e.RateLimit, 'f', -1, 64)+" a second")
	}
	v.add("in flight", "at most "+strconv.Itoa(e.MaxInFlight))
	v.add("retries", schedule(e.RetrySchedule))
	v.add("signatures", strings.Join(e.Signatures, ","))
	v.add("created", stamp(e.CreatedAt))
	v.add("updated", stamp(e.UpdatedAt))
	return v
}

func schedule(delays []int64) string {
	out := make([]string, len(delays))
	for i, n := range delays {
		out[i] = (time.Duration(n) * time.Second).String()
	}
	return strings.Join(out, ",")
}

// settingFlags are what a command may say about an endpoint. Those that are
// not there are nil.
type settingFlags struct {
	FilterTypes   *string  `placeholder:"TYPE,…" help:"The event types that it receives; empty: every openid4vc.issuance type."`
	Description   *string  `placeholder:"TEXT" help:"What it is for."`
	Header        []string `sep:"none" placeholder:"NAME: VALUE" help:"A header that is sent with each webhook. Repeat for each; they replace those that were."`
	RateLimit     *float64 `placeholder:"N" help:"Attempts per second; 0: no limit."`
	MaxInFlight   *int     `placeholder:"N" help:"Attempts at the same time, 1 to 64."`
	RetrySchedule *string  `placeholder:"5s,5m,…" help:"Delays after each failed attempt; empty: the server's."`
	Signatures    *string  `placeholder:"v1,v1a" help:"v1, or v1,v1a for Ed25519 signatures, too."`
}

// headers reads the headers.
func (f settingFlags) headers() (map[string]string, error) {
	if len(f.Header) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, text := range f.Header {
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, usageError{fmt.Errorf("--header: it is 'NAME: VALUE', such as 'Authorization: Bearer …'")}
		}
		out[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return out, nil
}

// schedule reads the delays; nil where the flag is not there.
func (f settingFlags) schedule() (*[]int64, error) {
	words := parts[string](f.RetrySchedule)
	if words == nil {
		return nil, nil
	}
	out := make([]int64, len(*words))
	for i, word := range *words {
		d, err := time.ParseDuration(word)
		if err != nil || d%time.Second != 0 {
			return nil, usageError{fmt.Errorf("--retry-schedule %s: a delay is whole seconds, such as 5s, 5m or 2h", word)}
		}
		out[i] = int64(d / time.Second)
	}
	return &out, nil
}

// parts splits a list: nil where the flag is not there, none where it is empty.
func parts[S ~string](flag *string) *[]S {
	if flag == nil {
		return nil
	}
	out := []S{}
	for word := range strings.SplitSeq(*flag, ",") {
		if word = strings.TrimSpace(word); word != "" {
			out = append(out, S(word))
		}
	}
	return &out
}

// value gives what a pointer points to.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

type endpointCreate struct {
	remoteFlags
	settingFlags
	Receiver       string `arg:"" help:"The https address that receives the webhooks."`
	ID             string `name:"id" placeholder:"ID" help:"An id of your choice: a-z A-Z 0-9 _ and -. Default: the server makes one."`
	IdempotencyKey string `placeholder:"KEY" help:"The same key again gives the first result, for 24 hours."`
}

// Help shows examples.
func (endpointCreate) Help() string {
	return `For example:

  tidings endpoint create https://receiver.example/webhooks --id accounts \
      --filter-types openid4vc.issuance.completed,openid4vc.issuance.failed`
}

// Run registers an endpoint.
func (c endpointCreate) Run(ctx context.Context, env *environment) error {
	headers, err := c.headers()
	if err != nil {
		return err
	}
	delays, err := c.schedule()
	if err != nil {
		return err
	}
	wanted := client.NewEndpoint{URL: c.Receiver, ID: c.ID, FilterTypes: value(parts[tidings.EventType](c.FilterTypes)), Description: value(c.Description),
		Headers: headers, RateLimit: value(c.RateLimit), MaxInFlight: value(c.MaxInFlight), RetrySchedule: value(delays), Signatures: value(parts[string](c.Signatures))}
	return c.show(env, func(api *client.Client) (view, error) {
		e, err := api.CreateEndpoint(ctx, wanted, keyed(c.IdempotencyKey)...)
		v := view{ids: []string{e.ID}}
		v.add("id", e.ID)
		v.add("url", e.URL)
		v.add("event types", joined(e.FilterTypes))
		v.add("created", stamp(e.CreatedAt))
		return v, err
	})
}

type endpointUpdate struct {
	endpointID
	settingFlags
	Receiver  *string `placeholder:"https://…" help:"Another address; what waits goes there, headers are dropped where the host changes."`
	NoHeaders bool    `help:"Send no headers of yours any more."`
}

// Run changes an endpoint.
func (c endpointUpdate) Run(ctx context.Context, env *environment) error {
	headers, err := c.headers()
	if err != nil {
		return err
	}
	patch := client.EndpointPatch{URL: c.Receiver, FilterTypes: parts[tidings.EventType](c.FilterTypes), Description: c.Description,
		RateLimit: c.RateLimit, MaxInFlight: c.MaxInFlight, Signatures: parts[string](c.Signatures)}
	if patch.RetrySchedule, err = c.schedule(); err != nil {
		return err
	}
	switch {
	case c.NoHeaders && headers != nil:
		return usageError{fmt.Errorf("--no-headers and --header exclude each other")}
	case c.NoHeaders:
		patch.Headers = &map[string]string{}
	case headers != nil:
		patch.Headers = &headers
	}
	return c.patch(ctx, env, patch)
}

// patch changes the endpoint and shows it.
func (c endpointID) patch(ctx context.Context, env *environment, p client.EndpointPatch) error {
	return c.show(env, func(api *client.Client) (view, error) {
		e, err := api.UpdateEndpoint(ctx, c.ID, p)
		return endpointView(e), err
	})
}

type endpointDelete struct{ endpointID }

// Run deletes an endpoint.
func (c endpointDelete) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		return view{ids: []string{c.ID}, note: "deleted " + c.ID}, api.DeleteEndpoint(ctx, c.ID)
	})
}
