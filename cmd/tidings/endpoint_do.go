package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"tidings"
	"tidings/client"
)

type endpointSecret struct{ endpointID }

// Run prints the secret alone, so that a shell can take it.
func (c endpointSecret) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		s, err := api.EndpointSecret(ctx, c.ID)
		return view{ids: []string{s.Secret}, note: s.Secret}, err
	})
}

type endpointRotate struct {
	endpointID
	Grace          *time.Duration `placeholder:"24h" help:"How long the old secret signs along, up to 168h; 0s: it ends at once."`
	IdempotencyKey string         `placeholder:"KEY" help:"The same key again rotates once, for 24 hours."`
}

// Run rotates the secret and prints the new one.
func (c endpointRotate) Run(ctx context.Context, env *environment) error {
	var r client.Rotation
	if c.Grace != nil {
		seconds := int64(*c.Grace / time.Second)
		r.GracePeriodSeconds = &seconds
	}
	return c.show(env, func(api *client.Client) (view, error) {
		s, err := api.RotateEndpointSecret(ctx, c.ID, r, keyed(c.IdempotencyKey)...)
		return view{ids: []string{s.Secret}, note: s.Secret}, err
	})
}

type endpointTest struct {
	endpointID
	EventType      string `placeholder:"TYPE" help:"Of the sample. Default: openid4vc.issuance.completed."`
	IdempotencyKey string `placeholder:"KEY" help:"The same key again sends once, for 24 hours."`
}

// Help says how to see what became of it.
func (endpointTest) Help() string {
	return "The sample has the header webhook-test: true. 'tidings delivery get ID' shows what the receiver answered."
}

// Run sends a sample.
func (c endpointTest) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		d, err := api.TestEndpoint(ctx, c.ID, client.TestRequest{EventType: tidings.EventType(c.EventType)}, keyed(c.IdempotencyKey)...)
		return deliveryView(d), err
	})
}

type endpointRecover struct {
	endpointID
	Since          string `required:"" placeholder:"TIME" help:"From when on, such as 2025-01-01T00:00:00Z, or how long ago, such as 2h."`
	Until          string `placeholder:"TIME" help:"Until when. Default: now."`
	Wait           bool   `help:"Wait until the recovery has ended, and show its counts."`
	IdempotencyKey string `placeholder:"KEY" help:"The same key again recovers once, for 24 hours."`
}

// recoveryPoll is how often --wait looks.
const recoveryPoll = 500 * time.Millisecond

// Run starts a recovery.
func (c endpointRecover) Run(ctx context.Context, env *environment) error {
	wanted, err := c.period(time.Now())
	if err != nil {
		return err
	}
	return c.show(env, func(api *client.Client) (view, error) {
		r, err := api.RecoverEndpoint(ctx, c.ID, wanted, keyed(c.IdempotencyKey)...)
		tick := time.NewTicker(recoveryPoll)
		defer tick.Stop()
		for c.Wait && err == nil && r.Status == tidings.RecoveryRunning {
			select {
			case <-tick.C:
				r, err = api.Recovery(ctx, c.ID, r.ID)
			case <-ctx.Done():
				return view{}, ctx.Err()
			}
		}
		return recoveryView(r), err
	})
}

func (c endpointRecover) period(now time.Time) (out client.NewRecovery, err error) {
	if out.Since, err = moment(c.Since, now); err != nil {
		return out, usageError{fmt.Errorf("--since %w", err)}
	}
	if c.Until == "" {
		return out, nil
	}
	if out.Until, err = moment(c.Until, now); err != nil {
		return out, usageError{fmt.Errorf("--until %w", err)}
	}
	return out, nil
}

// moment reads a time, or how long ago it was.
func moment(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%s: it is a time such as 2025-01-01T00:00:00Z, or how long ago, such as 2h", text)
	}
	return t, nil
}

func recoveryView(r client.Recovery) view {
	v := view{ids: []string{r.ID}}
	v.add("id", r.ID)
	v.add("endpoint", r.EndpointID)
	v.add("status", string(r.Status))
	v.add("since", stamp(r.Since))
	v.add("until", stamp(r.Until))
	v.add("examined", strconv.Itoa(r.Examined))
	v.add("recovered", strconv.Itoa(r.Recovered))
	v.add("ended", optionalStamp(r.EndedAt))
	return v
}

type endpointEnable struct {
	endpointID
	RecoverSince string `placeholder:"TIME" help:"Send again what failed or was never made since then: a time, disabledAt or firstFailureAt."`
}

// Run enables an endpoint.
func (c endpointEnable) Run(ctx context.Context, env *environment) error {
	status := tidings.EndpointEnabled
	p := client.EndpointPatch{Status: &status}
	if c.RecoverSince != "" {
		p.RecoverSince = &c.RecoverSince
	}
	return c.patch(ctx, env, p)
}

type endpointDisable struct{ endpointID }

// Run disables an endpoint.
func (c endpointDisable) Run(ctx context.Context, env *environment) error {
	status := tidings.EndpointDisabled
	return c.patch(ctx, env, client.EndpointPatch{Status: &status})
}
