package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"tidings"
	"tidings/internal/egress"
	"tidings/webhook"
)

type playCommand struct {
	Receiver string        `arg:"" name:"url" help:"The receiver, such as http://localhost:3000/webhooks."`
	Secret   string        `env:"WEBHOOK_SECRET" placeholder:"whsec_…" help:"The secret that the receiver verifies with. Default: a new one, which is printed."`
	CA       string        `name:"ca" env:"TIDINGS_CA" placeholder:"FILE" help:"Root certificates (PEM) to trust besides the system's."`
	Timeout  time.Duration `default:"15s" help:"How long to wait for one answer; the server waits as long."`
	Output   string        `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

// Help says what happens, and what the score means.
func (playCommand) Help() string {
	return `Sends a receiver what it will meet sooner or later, and says of each whether it did the right thing, and how to mend it: the events of an issuance, forged and tampered and stale webhooks, duplicates, events out of order and at the same time, a secret that is being rotated. No server is needed, and plain http is taken for this machine.

  export WEBHOOK_SECRET=whsec_…      # what the receiver verifies with
  tidings play http://localhost:3000/webhooks

What is genuine must be answered 2xx within 5 s; what is not must get any other answer (400 or 401 is usual). All of it carries the header webhook-test: true, so that nobody books it. Whether a duplicate was processed once only the receiver's own log can tell: the ids to look for stand at the end. The exit code is 0 if all is right, else 1.`
}

// Run walks the receiver through the cases.
func (c playCommand) Run(ctx context.Context, env *environment) error {
	secret, err := c.check()
	if err != nil {
		return usageError{err}
	}
	transport, err := c.transport()
	if err != nil {
		return usageError{err}
	}
	defer transport.CloseIdleConnections()
	if c.Secret == "" {
		fmt.Fprintf(env.stderr, "No --secret is given, so this one signs; a receiver that verifies needs it:\n\n  export WEBHOOK_SECRET=%s\n\n", secret.Reveal())
	}
	deal, err := newDealer(secret)
	if err != nil {
		return err
	}
	p := player{url: c.Receiver, deal: deal, run: "play-" + strings.ToLower(rand.Text()[:10]), http: &http.Client{
		Transport: transport, Timeout: c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	report := &playReport{URL: c.Receiver, Of: len(playCases), SentMoreThanOnce: []string{}}
	if c.Output == "table" {
		report.table = env.stdout
	}
	if err := p.walk(ctx, report); err != nil {
		return err
	}
	if err := report.end(env.stdout); err != nil {
		return err
	}
	if report.Right < report.Of {
		return errors.New("the receiver is not right in all")
	}
	return nil
}

// check finds what is wrong with the flags, and gives the secret.
func (c playCommand) check() (webhook.Secret, error) {
	u, err := url.Parse(c.Receiver)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return webhook.Secret{}, fmt.Errorf("%s: it is a URL such as http://localhost:3000/webhooks", printable(c.Receiver))
	case u.Scheme == "http" && !onThisMachine(u.Hostname()):
		return webhook.Secret{}, fmt.Errorf("%s: webhooks are only sent encrypted, and plain http is taken for this machine alone: give its https URL", printable(c.Receiver))
	case c.Secret == "":
		return webhook.NewSecret(), nil
	}
	secret, err := webhook.ParseSecret(c.Secret)
	if err != nil {
		return secret, fmt.Errorf("--secret (or WEBHOOK_SECRET): %w", err)
	}
	return secret, nil
}

func onThisMachine(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func (c playCommand) transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	if c.CA != "" {
		roots, err := egress.LoadRoots(c.CA)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return transport, nil
}

// player sends a receiver the cases.
type player struct {
	url  string
	run  string // what all ids of this run begin with
	deal dealer
	http *http.Client
}

// walk plays all cases, and ends after the first where the others would say
// nothing.
func (p player) walk(ctx context.Context, report *playReport) error {
	for i, c := range playCases {
		deal := p.deal
		deal.issuance, deal.now = fmt.Sprintf("%s-%d", p.run, i+1), time.Now()
		answers := p.play(ctx, c, deal)
		if ctx.Err() != nil {
			return errors.New("broken off")
		}
		result := judgePlay(c.want, answers)
		if i == 0 {
			if err := noStart(result, answers[0]); err != nil {
				return err
			}
		}
		if err := report.add(c, result, answers); err != nil {
			return err
		}
	}
	return nil
}

// play sends the requests of a case and gives the answers in their order.
func (p player) play(ctx context.Context, c playCase, deal dealer) []playAnswer {
	shots := c.shots(deal)
	answers := make([]playAnswer, len(shots))
	if !c.atOnce {
		for i, s := range shots {
			answers[i] = p.send(ctx, s)
		}
		return answers
	}
	var all sync.WaitGroup
	for i, s := range shots {
		all.Go(func() { answers[i] = p.send(ctx, s) })
	}
	all.Wait()
	return answers
}

// What is read of an answer, and what is shown of it.
const (
	playReads = 64 << 10
	playShows = 160
)

func (p player) send(ctx context.Context, s playShot) (a playAnswer) {
	a.ID = s.id()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(s.body))
	if err != nil {
		a.Err = err
		return a
	}
	request.Header = s.header.Clone() // two requests at once may have one
	start := time.Now()
	answer, err := p.http.Do(request)
	if a.Took = time.Since(start); err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the URL stands above
		}
		a.Err = err
		return a
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, playReads)) // the status is what counts
	a.Status = answer.StatusCode
	a.Text = strings.TrimSpace(printable(strings.ToValidUTF8(string(text[:min(len(text), playShows)]), "")))
	return a
}

// noStart explains why there is no use in going on after the first case; nil
// where there is.
func noStart(r playResult, a playAnswer) error {
	said := fmt.Sprintf("the receiver answered %d to the first webhook, which is genuine", a.Status)
	if a.Text != "" {
		said += fmt.Sprintf(" (%q)", a.Text)
	}
	said += ".\n  mend: "
	switch {
	case r.right() || r == playSlow:
		return nil
	case r == playSilent:
		return fmt.Errorf("no answer came from the receiver: %s.\n  mend: is it running, at this host, port and scheme? For a certificate of your own authority give --ca", printable(a.Err.Error()))
	case r == playRedirected:
		return errors.New(said + "redirects are never followed, so give (and register) the URL that it leads to")
	case a.Status == http.StatusNotFound:
		return errors.New(said + "nothing is served at this path; give the one of the receiver's route for POST")
	case a.Status == http.StatusMethodNotAllowed:
		return errors.New(said + "the route takes no POST, and webhooks are posted")
	case tidings.SaysTimestamp(a.Text):
		return errors.New(said + "its clock and that of this machine differ: set the one that is wrong; a webhook is refused five minutes after it was sent")
	case r == playBroke:
		return errors.New(said + "its own log has the error. Often the body was parsed before the signature was verified (Express: express.raw on this route, before express.json), or the secret is not set")
	}
	return errors.New(said + "does it verify with another secret? Start it with that of --secret or WEBHOOK_SECRET. Else the body was parsed before the signature was verified: take its bytes as they came (Express: express.raw on this route, before express.json)")
}
