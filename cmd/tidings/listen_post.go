package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
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
	log      io.Writer
}

func newForwarder(url, secret string, timeout time.Duration, delays []time.Duration, log io.Writer) (*forwarder, error) {
	s, err := webhook.ParseSecret(secret)
	if err != nil {
		return nil, fmt.Errorf("the secret in the state: %w", err)
	}
	signer, err := webhook.NewSigner(s)
	if err != nil {
		return nil, err
	}
	return &forwarder{
		url: url, signer: signer, verifier: &webhook.Verifier{Secrets: []webhook.Secret{s}}, delays: delays, log: log,
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
	status    int   // 0 where no answer came
	err       error // why no answer came
	signature error // what a receiver would say of the signature
	brokenOff bool  // by Ctrl-C: nothing is known
}

func (o outcome) ok() bool { return o.status/100 == 2 }

// finishing is how long a post may go on after Ctrl-C, so that the receiver
// does not get it again at the next start.
const finishing = 3 * time.Second

// post posts an event until it is taken, or the delays are used up.
func (f *forwarder) post(ctx context.Context, e client.Event) outcome {
	body := tidings.Event{Type: e.EventType, Payload: e.Payload}.Body()
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
		fmt.Fprintf(f.log, "%s  attempt %d: %s; again in %v\n", e.ID, attempt, o.answer(), wait)
		if !sleep(ctx, wait) {
			o.brokenOff = true
			return o
		}
	}
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
		o.err = err
		return o
	}
	io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	answer.Body.Close()
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
	return strconv.Itoa(o.status)
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
