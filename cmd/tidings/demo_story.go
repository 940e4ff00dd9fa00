package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"tidings"
	"tidings/internal/wallet"
	"tidings/webhook"
)

// sighting is one of the things that the demo has to show.
type sighting int

const (
	sawOffered sighting = iota
	sawCompleted
	sawFailed
	sawExpired
	sawRetried
	sawDuplicate
	sightingCount
)

// toBeSeen lists them.
var toBeSeen = [sightingCount]sighting{sawOffered, sawCompleted, sawFailed, sawExpired, sawRetried, sawDuplicate}

func (s sighting) text() string {
	return [sightingCount]string{"offered", "completed", "failed", "expired", "retried", "duplicate"}[s]
}

// sightings says how each was seen; empty: not yet.
type sightings [sightingCount]string

func (s *sightings) missing() string {
	var names []string
	for _, name := range toBeSeen {
		if s[name] == "" {
			names = append(names, name.text())
		}
	}
	return strings.Join(names, ", ")
}

// tell runs the demo's steps in order.
func (d *demo) tell(ctx context.Context) error {
	d.step("A server, a receiver and a wallet")
	d.line("server", "%s   issuer and API, TLS by a CA made for this run", d.api.url)
	d.line("receiver", "%s   verifies, drops duplicates", d.receiver.url)
	d.line("wallet", "OpenID4VCI 1.0, believes nothing that it did not verify")
	if err := d.register(ctx); err != nil {
		return err
	}
	template, err := d.makeTemplate(ctx)
	if err != nil {
		return err
	}
	for _, act := range []func(context.Context, string) error{d.accepted, d.refused, d.expired, d.retried, d.dropped} {
		if err := act(ctx, template); err != nil {
			return err
		}
	}
	return nil
}

// register gets a token and registers the endpoint.
func (d *demo) register(ctx context.Context) error {
	d.step("Get an access token")
	d.block(fmt.Sprintf("curl -X POST %q \\\n  -d grant_type=client_credentials -d client_id=%s -d client_secret=…", d.api.url+demoTokenPath, demoClientID))
	life, err := d.api.authenticate(ctx)
	if err != nil {
		return err
	}
	d.line("200", "OK, an access token for %.0f s", life.Seconds())

	d.step("Register the webhook endpoint")
	d.block(fmt.Sprintf("curl -X POST %q \\\n  -H \"Authorization: Bearer <access_token>\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{\n    \"url\": %q\n  }'",
		d.api.url+demoAPIPath+"/endpoints", d.receiver.url))
	var endpoint struct{ ID string }
	answer, err := d.api.call(ctx, http.MethodPost, "/endpoints", object{"url": d.receiver.url}, http.StatusCreated, &endpoint)
	if err != nil {
		return err
	}
	d.answer(http.StatusCreated, answer)
	var signing struct{ Secret string }
	if _, err := d.api.call(ctx, http.MethodGet, "/endpoints/"+endpoint.ID+"/secret", nil, http.StatusOK, &signing); err != nil {
		return err
	}
	secret, err := webhook.ParseSecret(signing.Secret)
	if err != nil {
		return err
	}
	d.receiver.trust(secret)
	d.line("receiver", "has the endpoint's signing secret, from GET /endpoints/%s/secret", endpoint.ID)
	return nil
}

// makeTemplate makes the template that all offers use, and gives its id.
func (d *demo) makeTemplate(ctx context.Context) (string, error) {
	d.step("Create a credential template")
	var t struct{ ID, Type string }
	_, err := d.api.call(ctx, http.MethodPost, "/templates/credentials", object{
		"name": "Library card", "code": "library-card", "credentialFormat": "sd-jwt",
		"attributes": object{
			"card_number": object{"type": "string", "name": "Card number", "required": true, "alwaysDisclosed": true},
			"holder_name": object{"type": "string", "name": "Name of the holder", "required": true},
			"valid_until": object{"type": "date", "name": "Valid until"},
		},
	}, http.StatusCreated, &t)
	if err == nil {
		d.line("201", "Created, of type %s", t.Type)
	}
	return t.ID, err
}

// demoClaims is what every credential of the demo says.
var demoClaims = object{"card_number": "LC-1042", "holder_name": "Ada Example", "valid_until": "2030-12-31"}

// offer is what the demo needs of an issuance.
type offer struct{ ID, OfferURI string }

// issue offers a credential; more goes into the request.
func (d *demo) issue(ctx context.Context, template string, more object) (o offer, err error) {
	body := object{"credentialTemplateId": template, "attributes": demoClaims}
	maps.Copy(body, more)
	_, err = d.api.call(ctx, http.MethodPost, "/credentials/issuance", body, http.StatusCreated, &o)
	if err == nil {
		d.line("issuer", "offers a credential, issuance %s", o.ID)
	}
	return o, err
}

// claim has the wallet fetch and verify the credential, and say what becomes of it.
func (d *demo) claim(ctx context.Context, o offer, notification string) error {
	held, err := d.wallet.Claim(ctx, o.OfferURI)
	if err != nil {
		return err
	}
	var claims []string
	for _, name := range slices.Sorted(maps.Keys(demoClaims)) {
		claims = append(claims, fmt.Sprintf("%s %q", name, held.Claims[name]))
	}
	d.line("wallet", "claims it and verifies it: %s", strings.Join(claims, ", "))
	d.line("wallet", "answers %s", notification)
	return held.Notify(ctx, notification)
}

// await shows what arrives until an event of an issuance has arrived and met
// with a verdict.
func (d *demo) await(ctx context.Context, issuance string, eventType tidings.EventType, want verdict) (arrival, error) {
	for {
		select {
		case a := <-d.receiver.arrivals:
			d.arrival(a)
			if a.verdict == want && a.event.IssuanceID == issuance && a.event.Type == string(eventType) {
				return a, nil
			}
			if a.verdict == unverified {
				return a, fmt.Errorf("a webhook was not verified: %w", a.err)
			}
		case <-ctx.Done():
			return arrival{}, fmt.Errorf("waiting for %s to be %s: %w", eventType, want, context.Cause(ctx))
		}
	}
}

// see awaits an event that is processed, and notes what it shows.
func (d *demo) see(ctx context.Context, issuance string, eventType tidings.EventType, as sighting) error {
	a, err := d.await(ctx, issuance, eventType, processed)
	if err == nil {
		d.seen[as] = "webhook-id " + a.event.ID
	}
	return err
}

func (d *demo) accepted(ctx context.Context, template string) error {
	d.step("A holder accepts: offered, completed")
	o, err := d.issue(ctx, template, nil)
	if err != nil {
		return err
	}
	if err := d.see(ctx, o.ID, tidings.IssuanceOffered, sawOffered); err != nil {
		return err
	}
	if err := d.claim(ctx, o, wallet.Accepted); err != nil {
		return err
	}
	return d.see(ctx, o.ID, tidings.IssuanceCompleted, sawCompleted)
}

func (d *demo) refused(ctx context.Context, template string) error {
	d.step("A wallet refuses: failed")
	o, err := d.issue(ctx, template, nil)
	if err != nil {
		return err
	}
	if err := d.claim(ctx, o, wallet.Failure); err != nil {
		return err
	}
	if err := d.see(ctx, o.ID, tidings.IssuanceFailed, sawFailed); err != nil {
		return err
	}
	var read struct {
		Error struct{ Code, Message string }
	}
	if _, err := d.api.call(ctx, http.MethodGet, "/credentials/"+o.ID, nil, http.StatusOK, &read); err != nil {
		return err
	}
	d.line("receiver", "reads why, GET /credentials/%s: %s, %q", shortID(o.ID), read.Error.Code, read.Error.Message)
	return nil
}

func (d *demo) expired(ctx context.Context, template string) error {
	d.step("Nobody comes for a second: expired")
	o, err := d.issue(ctx, template, object{"expiresIn": 1})
	if err != nil {
		return err
	}
	return d.see(ctx, o.ID, tidings.IssuanceExpired, sawExpired)
}

func (d *demo) retried(ctx context.Context, template string) error {
	d.step("The receiver answers 500 once: retried")
	d.receiver.misbehave(refused)
	o, err := d.issue(ctx, template, nil)
	if err != nil {
		return err
	}
	first, err := d.await(ctx, o.ID, tidings.IssuanceOffered, refused)
	if err != nil {
		return err
	}
	again, err := d.await(ctx, o.ID, tidings.IssuanceOffered, processed)
	if err != nil {
		return err
	}
	if again.event.ID != first.event.ID || again.event.Attempt != 2 {
		return fmt.Errorf("attempt %d of %s followed on attempt 1 of %s", again.event.Attempt, again.event.ID, first.event.ID)
	}
	d.seen[sawRetried] = fmt.Sprintf("webhook-id %s, again %.1f s after the 500", again.event.ID, again.at.Sub(first.at).Seconds())
	return d.log(ctx, again.event.ID)
}

func (d *demo) dropped(ctx context.Context, template string) error {
	d.step("The connection breaks after the event was processed: a duplicate")
	d.receiver.misbehave(broken)
	o, err := d.issue(ctx, template, nil)
	if err != nil {
		return err
	}
	first, err := d.await(ctx, o.ID, tidings.IssuanceOffered, broken)
	if err != nil {
		return err
	}
	again, err := d.await(ctx, o.ID, tidings.IssuanceOffered, duplicate)
	if err != nil {
		return err
	}
	if again.event.ID != first.event.ID {
		return fmt.Errorf("the duplicate of %s is %s", first.event.ID, again.event.ID)
	}
	d.seen[sawDuplicate] = "webhook-id " + again.event.ID + ", arrived twice, processed once"
	return d.log(ctx, again.event.ID)
}

// log shows what the server wrote down about the delivery of an event, once it
// has ended.
func (d *demo) log(ctx context.Context, event string) error {
	const often = 25 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		var ended []struct{ ID string }
		_, err := d.api.call(ctx, http.MethodGet, "/deliveries?filter[eventId]="+event+"&filter[status]=delivered", nil, http.StatusOK, &ended)
		if err != nil {
			return err
		}
		if len(ended) == 1 {
			return d.attempts(ctx, ended[0].ID)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// attempts shows the attempts of a delivery.
func (d *demo) attempts(ctx context.Context, delivery string) error {
	var detail struct {
		Attempts []struct {
			Number     int
			StatusCode *int
			ErrorCode  *string
		}
	}
	if _, err := d.api.call(ctx, http.MethodGet, "/deliveries/"+delivery, nil, http.StatusOK, &detail); err != nil {
		return err
	}
	var parts []string
	for _, a := range detail.Attempts {
		came := "delivered"
		if a.ErrorCode != nil {
			came = *a.ErrorCode
		}
		if a.StatusCode != nil {
			came = fmt.Sprintf("%d %s", *a.StatusCode, came)
		}
		parts = append(parts, fmt.Sprintf("attempt %d: %s", a.Number, came))
	}
	d.line("server", "has on record, GET /deliveries/%s: %s", shortID(delivery), strings.Join(parts, ", "))
	return nil
}
