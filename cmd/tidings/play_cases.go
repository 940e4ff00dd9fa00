package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tidings"
	"tidings/webhook"
)

// playCase is one thing that happens to a receiver.
type playCase struct {
	name   string
	want   playWant
	shots  func(d dealer) []playShot
	atOnce bool   // else one after the other
	mend   string // what to do where the receiver is wrong
}

// playShot is one request.
type playShot struct {
	header http.Header
	body   []byte
}

func (s playShot) id() string { return s.header.Get(webhook.HeaderID) }

// How far a timestamp is off that a receiver must not take. The standard's
// tolerance is five minutes.
const playSkew = 10 * time.Minute

const (
	mendGenuine   = "Answer 2xx to every webhook whose signature is right, whatever its event type: an event that you have no use for, too."
	mendSignature = "Verify the signature over the body's bytes before anything else, and answer 400 or 401 where there is none that matches: anybody can post to this URL."
	mendTime      = "Refuse a webhook-timestamp that lies more than five minutes from now, in both directions, and keep this machine's clock set: else what was recorded once can be sent again."
	mendDuplicate = "Answer 2xx to a webhook-id that you have, and do nothing else: it comes again whenever an answer gets lost."
	mendOrder     = "Take events in any order: keep what you need of each, or read the state with GET /credentials/{id}."
	mendAtOnce    = "Let the insert of the webhook-id into a table with a unique key decide which request is the first, and answer 2xx to the other one as well; hold no lock while you work."
	mendSeveral   = "webhook-signature is a list, separated by spaces: take the webhook if one v1 entry matches, and pass over the others, of other schemes too."
	mendBytes     = "Verify the body's bytes as they came, before a parser: what is parsed and written out again has other white space. In Express: express.raw({ type: 'application/json' }) on this route."
)

// playCases are walked in this order; the first decides whether the others make
// sense.
var playCases = []playCase{
	{name: "offered", want: wantTaken, mend: mendGenuine, shots: genuine(tidings.IssuanceOffered)},
	{name: "completed", want: wantTaken, mend: mendGenuine, shots: genuine(tidings.IssuanceCompleted)},
	{name: "failed", want: wantTaken, mend: mendGenuine, shots: genuine(tidings.IssuanceFailed)},
	{name: "expired", want: wantTaken, mend: mendGenuine, shots: genuine(tidings.IssuanceExpired)},
	{name: "no signature", want: wantRefused, mend: mendSignature, shots: func(d dealer) []playShot {
		s := d.shot(tidings.IssuanceCompleted)
		s.header.Del(webhook.HeaderSignature)
		return []playShot{s}
	}},
	{name: "tampered body", want: wantRefused, mend: mendSignature, shots: func(d dealer) []playShot {
		s := d.shot(tidings.IssuanceFailed)
		s.body = bytes.Replace(s.body, []byte(tidings.IssuanceFailed), []byte(tidings.IssuanceCompleted), 1)
		return []playShot{s}
	}},
	{name: "signature of another secret", want: wantRefused, mend: mendSignature, shots: func(d dealer) []playShot {
		d.signer = d.foreign
		return []playShot{d.shot(tidings.IssuanceCompleted)}
	}},
	{name: "stale timestamp", want: wantRefused, mend: mendTime, shots: func(d dealer) []playShot {
		d.now = d.now.Add(-playSkew)
		return []playShot{d.shot(tidings.IssuanceCompleted)}
	}},
	{name: "timestamp from the future", want: wantRefused, mend: mendTime, shots: func(d dealer) []playShot {
		d.now = d.now.Add(playSkew)
		return []playShot{d.shot(tidings.IssuanceCompleted)}
	}},
	{name: "duplicate", want: wantTaken, mend: mendDuplicate, shots: func(d dealer) []playShot {
		first := d.shot(tidings.IssuanceCompleted)
		second := playShot{header: first.header.Clone(), body: first.body}
		second.header.Set(webhook.HeaderAttempt, "2")
		return []playShot{first, second}
	}},
	{name: "completed before offered", want: wantTaken, mend: mendOrder, shots: genuine(tidings.IssuanceCompleted, tidings.IssuanceOffered)},
	{name: "the same twice at once", want: wantTaken, mend: mendAtOnce, atOnce: true, shots: func(d dealer) []playShot {
		s := d.shot(tidings.IssuanceCompleted)
		return []playShot{s, s}
	}},
	{name: "two at once", want: wantTaken, mend: mendAtOnce, atOnce: true, shots: func(d dealer) []playShot {
		other := d
		other.issuance += "-other"
		return []playShot{d.shot(tidings.IssuanceOffered), other.shot(tidings.IssuanceOffered)}
	}},
	{name: "secret being rotated", want: wantTaken, mend: mendSeveral, shots: func(d dealer) []playShot {
		d.signer = d.rotating
		return []playShot{d.shot(tidings.IssuanceCompleted)}
	}},
	{name: "v1a beside v1", want: wantTaken, mend: mendSeveral, shots: func(d dealer) []playShot {
		d.signer = d.both
		return []playShot{d.shot(tidings.IssuanceCompleted)}
	}},
	{name: "white space in the body", want: wantTaken, mend: mendBytes, shots: func(d dealer) []playShot {
		var spaced bytes.Buffer
		_ = json.Indent(&spaced, d.body(tidings.IssuanceCompleted), "", "  ") // a body of ours is JSON
		return []playShot{d.sign("completed", spaced.Bytes())}
	}},
}

// dealer makes the requests of a case.
type dealer struct {
	issuance string // what the events are about; their ids begin so
	now      time.Time

	signer   *webhook.Signer // of the next shot
	foreign  *webhook.Signer // with a secret that the receiver does not have
	rotating *webhook.Signer // with the foreign one first
	both     *webhook.Signer // with a v1a signature, too
}

// newDealer makes the signers that the cases need.
func newDealer(secret webhook.Secret) (d dealer, err error) {
	strange := webhook.NewSecret()
	if d.signer, err = webhook.NewSigner(secret); err != nil {
		return d, err
	}
	if d.foreign, err = webhook.NewSigner(strange); err != nil {
		return d, err
	}
	if d.rotating, err = webhook.NewSigner(strange, secret); err != nil {
		return d, err
	}
	d.both, err = d.signer.WithKeys(webhook.NewSigningKey())
	return d, err
}

// genuine gives the shots of a case in which events happen to one issuance.
func genuine(types ...tidings.EventType) func(dealer) []playShot {
	return func(d dealer) (all []playShot) {
		for _, t := range types {
			all = append(all, d.shot(t))
		}
		return all
	}
}

func (d dealer) shot(t tidings.EventType) playShot {
	return d.sign(string(t[len("openid4vc.issuance."):]), d.body(t))
}

func (d dealer) body(t tidings.EventType) []byte {
	return tidings.Event{Type: t, Payload: tidings.EventPayload{OpenID4VCIssuanceID: d.issuance}}.Body()
}

// sign makes a request as the server does. The header of a sample is set, so
// that nobody books what did not happen.
func (d dealer) sign(what string, body []byte) playShot {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "Tidings/"+version())
	h.Set(webhook.HeaderAttempt, strconv.Itoa(1))
	h.Set(webhook.HeaderTest, "true")
	if err := d.signer.SetHeaders(h, d.issuance+"-"+what, d.now, body); err != nil {
		panic(err) // the ids are made here, of letters, digits and hyphens
	}
	return playShot{header: h, body: body}
}
