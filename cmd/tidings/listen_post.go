package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tidings"
	"tidings/client"
	"tidings/webhook"
)

// forwarder posts events to a local receiver, as webhooks are posted.
type forwarder struct {
	url      string
	http     *http.Client
	signer   *webhook.Signer
	verifier *webhook.Verifier // looks at what was signed as a receiver does
	delays   []time.Duration   // after each failed attempt
	note     func(string)      // is told of attempts that failed
}

func newForwarder(to, secret string, timeout time.Duration, delays []time.Duration) (*forwarder, error) {
	s, err := webhook.ParseSecret(secret)
	if err != nil {
		return nil, fmt.Errorf("the secret in the state: %w", err)
	}
	signer, err := webhook.NewSigner(s)
	if err != nil {
		return nil, err
	}
	return &forwarder{
		url: to, signer: signer, verifier: &webhook.Verifier{Secrets: []webhook.Secret{s}}, delays: delays, note: func(string) {},
		http: &http.Client{
			Transport:     &http.Transport{DisableCompression: true}, // no proxy: the receiver is near
			Timeout:       timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func (f *forwarder) close() { f.http.CloseIdleConnections() }

// outcome is what came of posting an event.
type outcome struct {
	at        time.Time // of the last attempt
	took      time.Duration
	attempts  int
	status    int    // 0 where no answer came
	err       error  // why no answer came
	signature error  // what a receiver would say of the signature
	excerpt   string // the start of the answer's body, one line
	brokenOff bool   // by Ctrl-C: nothing is known
}

func (o outcome) ok() bool { return o.status/100 == 2 }

// finishing is how long a post may go on after Ctrl-C, so that the receiver
// does not get it again at the next start.
const finishing = 3 * time.Second

// post posts an event until it is taken, or the delays are used up.
func (f *forwarder) post(ctx context.Context, e client.Event) outcome {
	body := bodyOf(e)
	posting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(finishing, cancel)
		context.AfterFunc(posting, func() { timer.Stop() })
	})()
	for attempt := 1; ; attempt++ {
		o := f.attempt(posting, e.ID, body, attempt)
		o.brokenOff = !o.ok() && posting.Err() != nil
		if o.ok() || o.brokenOff || attempt > len(f.delays) {
			return o
		}
		wait := f.delays[attempt-1]
		f.note(fmt.Sprintf("%s  attempt %d: %s; again in %v", e.ID, attempt, o.answer(), wait))
		if !sleep(ctx, wait) {
			o.brokenOff = true
			return o
		}
	}
}

// again posts an event once more, with its webhook-id, as after an answer that
// got lost.
func (f *forwarder) again(ctx context.Context, e client.Event) outcome {
	return f.attempt(ctx, e.ID, bodyOf(e), 2)
}

func bodyOf(e client.Event) []byte {
	return tidings.Event{Type: e.EventType, Payload: e.Payload}.Body()
}

// attempt makes one post.
func (f *forwarder) attempt(ctx context.Context, id string, body []byte, number int) (o outcome) {
	o.at, o.attempts = time.Now(), number
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		o.err = err
		return o
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Tidings/"+version())
	request.Header.Set(webhook.HeaderAttempt, strconv.Itoa(number))
	if o.signature = f.signer.SetHeaders(request.Header, id, o.at, body); o.signature == nil {
		o.signature = f.verifier.Verify(request.Header, body)
	}
	answer, err := f.http.Do(request)
	o.took = time.Since(o.at)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // where it was posted to stands at the start
		}
		o.err = err
		return o
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, playReads)) // so that the connection can be used again
	answer.Body.Close()
	o.excerpt = strings.Join(strings.Fields(printable(strings.ToValidUTF8(string(text[:min(len(text), playShows)]), ""))), " ")
	o.status = answer.StatusCode
	return o
}

// answer says what the receiver did.
func (o outcome) answer() string {
	switch {
	case o.err != nil:
		return printable(o.err.Error())
	case o.status/100 == 3:
		return fmt.Sprintf("%d, which is not followed: forward to the final URL", o.status)
	}
	if !o.ok() && o.excerpt != "" {
		return fmt.Sprintf("%d (%q)", o.status, o.excerpt)
	}
	return strconv.Itoa(o.status)
}

// mend says what to do where a post was not taken; empty where it was.
func (o outcome) mend() string {
	switch {
	case o.ok() || o.brokenOff:
		return ""
	case errors.Is(o.err, syscall.ECONNREFUSED):
		return "nothing listens there: is your receiver running, at this host and port?"
	case isCertificate(o.err):
		return "your receiver's certificate is not trusted here; on your own machine plain http will do: --forward http://…"
	case isTimeout(o.err):
		return "answer 2xx as soon as the event is stored, and do the work afterwards"
	case o.err != nil:
		return "is your receiver running, at this host, port and scheme? Its own log may say more"
	case o.status/100 == 3:
		return "redirects are never followed: forward to the URL that it leads to"
	case o.status == http.StatusNotFound:
		return "nothing is served at this path: forward to that of your receiver's route"
	case o.status == http.StatusMethodNotAllowed:
		return "the route takes no POST, and webhooks are posted"
	case o.status == http.StatusGone:
		return "410 says that nobody wants webhooks there any more; a server would disable the endpoint"
	case o.status >= 500:
		return "your receiver failed inside: its own log has the error. Often the body was parsed before the signature was verified, or the secret is not set"
	case tidings.SaysTimestamp(o.excerpt):
		return "the clocks of your receiver and of this machine differ, or it verifies late: a webhook is refused five minutes after it was sent"
	}
	mend := "does your receiver verify with the secret of tidings listen --print-secret, which is not that of an endpoint? Else the body was parsed before the signature was verified: take its bytes as they came (Express: express.raw on this route, before express.json)"
	if o.status == http.StatusUnauthorized || o.status == http.StatusForbidden {
		mend += ". Or something in front of your receiver wants a log-in: let the route through, the signature proves the sender"
	}
	return mend
}

func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// line shows an event and what came of it.
func (o outcome) line(e client.Event) string {
	signature := "signature ok"
	if o.signature != nil {
		signature = "signature wrong: " + o.signature.Error()
	}
	result := o.answer()
	switch {
	case !o.ok():
		result = fmt.Sprintf("FAILED after %d attempts: %s", o.attempts, result)
	case o.attempts > 1:
		result += fmt.Sprintf(" on attempt %d", o.attempts)
	}
	return fmt.Sprintf("%s  %-28s  %s  %s  %s  %v", o.at.Format(time.TimeOnly), e.EventType, about(e), signature, result, o.took.Round(time.Millisecond))
}
