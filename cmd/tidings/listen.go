package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"tidings"
	"tidings/client"
)

type listenCommand struct {
	serverFlags
	Forward     string              `required:"" placeholder:"URL" help:"Your receiver, such as http://localhost:3000/webhooks."`
	FilterTypes []tidings.EventType `placeholder:"TYPE,…" help:"Only events of these types. Default: every openid4vc.issuance type."`
	Since       string              `placeholder:"TIME|EVENT-ID" help:"Begin with the events of this time (2025-01-01T00:00:00Z, or 2h ago), or behind this event. Default: where it last was; at first use, with the next event."`
	PrintSecret bool                `help:"Print the secret that signs what is posted, and end."`
	State       string              `placeholder:"FILE" help:"Where secret and position are kept. Default: a file for this server, client and receiver in $XDG_STATE_HOME or ~/.local/state."`
	RetryDelays []time.Duration     `default:"1s,2s,5s" placeholder:"1s,…" help:"After a post that failed, try again after so long; then go on with the next event."`
	Timeout     time.Duration       `default:"15s" help:"Time for one post."`
	Plain       bool                `help:"Print plain lines on a terminal, too, as it does into a pipe or a file."`
}

// Help says what it is good for.
func (listenCommand) Help() string {
	return `For developing a receiver: it gets this organisation's events over an outgoing connection, so that no tunnel and no public address is needed. Each event is posted as a webhook is: the same headers, the same body, signed with a local secret that --print-secret shows.

  export WEBHOOK_SECRET=$(tidings listen --forward http://localhost:3000/webhooks --print-secret)
  tidings listen --forward http://localhost:3000/webhooks

On a terminal it is a live view: r sends the last event once more, with the same webhook-id, to see whether your receiver drops duplicates; q ends. Into a pipe or a file, and with --plain, it prints a line for each event.

After an interruption it goes on where it was. An event can arrive twice, as with every webhook, and never out of order. Samples of 'tidings endpoint test' go to their endpoint only.`
}

// Run listens until it is told to stop.
func (c listenCommand) Run(ctx context.Context, env *environment) error {
	path, err := c.check()
	if err != nil {
		return usageError{err}
	}
	if c.PrintSecret {
		secret, err := readSecret(path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(env.stdout, secret)
		return err
	}
	api, r, err := c.connect()
	if err != nil {
		return err
	}
	defer r.close()
	state, err := openState(path)
	if err != nil {
		return err
	}
	defer state.close()
	l := &listener{feed: api, state: state, filter: c.FilterTypes, view: plainLines{env.stdout, env.stderr}}
	if l.forward, err = newForwarder(c.Forward, state.Secret, c.Timeout, c.RetryDelays); err != nil {
		return err
	}
	defer l.forward.close()
	if err := l.begin(ctx, c.Since, time.Now()); err != nil {
		return c.stopped(ctx, err)
	}
	follow := l.run
	if terminal, ok := liveTerminal(env.stdout); ok && !c.Plain {
		live := newLiveView(l.forward, c.URL)
		l.view = live
		follow = func(ctx context.Context) error { return live.during(ctx, terminal, l.run) }
	} else {
		fmt.Fprintf(env.stderr, "listening to %s, posting to %s; Ctrl-C ends\n", c.URL, c.Forward)
	}
	l.forward.note = l.view.note
	r.watch = outages(l.view)
	return c.stopped(ctx, follow(ctx))
}

// listenView shows what a listener does. Its methods may be called at once.
type listenView interface {
	// posted shows an event and what came of it.
	posted(e client.Event, o outcome) error
	// note says what else happens.
	note(text string)
	// reach shows whether the server can be reached.
	reach(up bool)
}

// plainLines prints a line for each event, and notes beside them.
type plainLines struct{ out, log io.Writer }

func (p plainLines) posted(e client.Event, o outcome) error {
	_, err := fmt.Fprintln(p.out, o.line(e))
	if mend := o.mend(); err == nil && mend != "" {
		p.note("  mend: " + mend)
	}
	return err
}

func (p plainLines) note(text string) { fmt.Fprintln(p.log, text) }

func (plainLines) reach(bool) {} // a note says so

// outages says when the server cannot be reached, and when it is back: the
// client tries again by itself.
func outages(view listenView) func(error) {
	var mu sync.Mutex
	down := false
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && !down {
			view.note(fmt.Sprintf("the server cannot be reached: %v; trying again", err))
			view.reach(false)
		}
		if err == nil && down {
			view.note("the server is back")
			view.reach(true)
		}
		down = err != nil
	}
}

// check finds what is wrong with the flags, and where the state is.
func (c listenCommand) check() (state string, err error) {
	if u, err := url.Parse(c.Forward); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("--forward %s: it is a URL such as http://localhost:3000/webhooks", c.Forward)
	}
	if err := tidings.CheckFilterTypes(c.FilterTypes); err != nil {
		return "", fmt.Errorf("--filter-types: %w", err)
	}
	if c.State != "" {
		return c.State, nil
	}
	if c.URL == "" || c.ClientID == "" { // else the secret would be another's
		return "", errors.New("the state is kept for a server and a client: set TIDINGS_URL (or --url) and TIDINGS_CLIENT_ID (or --client-id), or give --state FILE")
	}
	return defaultStatePath(strings.TrimRight(c.URL, "/"), c.ClientID, c.Forward)
}

// stopped explains an error, unless it comes from Ctrl-C, which is none.
func (c listenCommand) stopped(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		return err
	}
	return c.explain(err)
}

// feed is what a listener needs of the API.
type feed interface {
	FollowEvents(ctx context.Context, after string) iter.Seq2[client.Event, error]
	Events(ctx context.Context, q client.EventQuery) iter.Seq2[client.Event, error]
	Event(ctx context.Context, id string) (client.Event, error)
	LastEvent(ctx context.Context) (string, error)
}

// listener takes events from the feed in their order and posts each.
type listener struct {
	feed     feed
	state    *stateFile
	forward  *forwarder
	filter   []tidings.EventType
	since    time.Time // older events are passed over
	position string    // the last event that was looked at; the state may be behind
	view     listenView
}

// begin finds out where to begin, and whether the server can be reached.
func (l *listener) begin(ctx context.Context, since string, now time.Time) error {
	if since != "" {
		if t, err := moment(since, now); err == nil {
			return l.beginSince(ctx, t)
		}
		if _, err := l.feed.Event(ctx, since); err != nil {
			if no, ok := errors.AsType[*client.Error](err); ok && no.Status == http.StatusNotFound {
				return usageError{fmt.Errorf("--since %s: there is no such event, and it is no time such as 2025-01-01T00:00:00Z or 2h", since)}
			}
			return err
		}
		l.position = since
		return l.keep()
	}
	l.position = l.state.Position
	if !l.state.Started {
		return l.beginAtEnd(ctx)
	}
	if l.position == "" {
		_, err := l.anySince(ctx, time.Time{})
		return err
	}
	_, err := l.feed.Event(ctx, l.position)
	if no, ok := errors.AsType[*client.Error](err); ok && no.Status == http.StatusNotFound {
		return fmt.Errorf("the event that was dealt with last, %s, is not on the server any more: begin anew with --since TIME: %w", l.position, err)
	}
	return err
}

// beginAtEnd begins with what is accepted from now on.
func (l *listener) beginAtEnd(ctx context.Context) (err error) {
	if l.position, err = l.feed.LastEvent(ctx); err != nil {
		return err
	}
	return l.keep()
}

// beginSince begins with the events of a time. Where none has come since, it
// begins at the end: the state must not say that no event is behind it.
func (l *listener) beginSince(ctx context.Context, t time.Time) error {
	l.since = t
	last, err := l.feed.LastEvent(ctx)
	if err != nil {
		return err
	}
	if come, err := l.anySince(ctx, t); come || err != nil {
		return err // the list is read from there
	}
	l.position = last
	return l.keep()
}

// anySince tells whether there are events of a time or later.
func (l *listener) anySince(ctx context.Context, since time.Time) (bool, error) {
	for _, err := range l.feed.Events(ctx, client.EventQuery{Since: since, Page: client.Page{Size: 1}}) {
		return err == nil, err
	}
	return false, nil
}

// keep writes the position down, once there is one of this listener's own.
func (l *listener) keep() error {
	if l.state.Started && l.state.Position == l.position || l.position == "" && !l.since.IsZero() {
		return nil
	}
	return l.state.moveTo(l.position)
}

// Back-off between two connections.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
)

// run receives until it is told to stop, and comes back after interruptions.
// What was passed over since the last post is written down at the end.
func (l *listener) run(ctx context.Context) error {
	wait := firstPause
	for {
		before := l.position
		err := l.receive(ctx)
		if ctx.Err() != nil {
			return l.keep()
		}
		if err != nil && !passing(err) {
			return errors.Join(err, l.keep())
		}
		if l.position != before || err == nil {
			wait = firstPause
		}
		if err != nil {
			l.view.note(fmt.Sprintf("the connection ended: %v; again in %v", err, wait))
		}
		if !sleep(ctx, wait+rand.N(wait/2)) {
			return l.keep()
		}
		wait = min(2*wait, lastPause)
	}
}

// receive deals with events until the connection ends. A feed in which no
// event stands has no position to stream from: it is read from its beginning, or
// from the time that was asked for.
func (l *listener) receive(ctx context.Context) error {
	events := l.feed.FollowEvents
	if l.position == "" {
		events = func(ctx context.Context, _ string) iter.Seq2[client.Event, error] {
			return l.feed.Events(ctx, client.EventQuery{Since: l.since, Page: client.Page{Size: 100}})
		}
	}
	for e, err := range events(ctx, l.position) {
		if err != nil {
			return err
		}
		if err := l.deal(ctx, e); err != nil {
			return localError{err}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// deal posts an event that is wanted, and moves on.
func (l *listener) deal(ctx context.Context, e client.Event) error {
	if e.CreatedAt.Before(l.since) || e.Test || !tidings.Matches(l.filter, e.EventType) {
		l.position = e.ID
		return nil
	}
	o := l.forward.post(ctx, e)
	if o.brokenOff {
		return nil
	}
	l.position = e.ID
	if err := l.view.posted(e, o); err != nil {
		return err
	}
	return l.keep()
}

// localError is one that no new connection mends.
type localError struct{ error }

// Unwrap gives the cause.
func (e localError) Unwrap() error { return e.error }

// passing tells whether another connection may do better.
func passing(err error) bool {
	if _, ok := errors.AsType[localError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if no, ok := errors.AsType[*client.Error](err); ok {
		return no.Status >= 500 || no.Status == http.StatusTooManyRequests || no.Status == http.StatusRequestTimeout
	}
	return true
}

// sleep waits, and tells whether to go on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
