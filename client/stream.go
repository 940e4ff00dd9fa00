package client

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"
)

const (
	// silence is for how long a stream may say nothing: the server shows
	// every 15 seconds that it is there.
	silence = time.Minute
	// maxLine bounds a line of a stream.
	maxLine = 1 << 20
)

// errEnough comes where the caller wants no more.
var errEnough = errors.New("enough")

// FollowEvents gives the events as they are accepted, from the one after the
// event after on, or only those to come where that is empty. It goes on until
// ctx ends or the loop is left: once it was connected, it connects again
// whenever that breaks or its token ends, and misses nothing from there on.
// An error of the first connection, or a refusal, ends it.
func (c *Client) FollowEvents(ctx context.Context, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		last, failures := after, 0
		for connected := false; ; {
			began := false
			err := c.follow(ctx, last, func() { began, connected = true, true }, func(id string) { last = cmp.Or(id, last) }, func(e Event) bool {
				last = e.ID
				return yield(e, nil)
			})
			if err == errEnough {
				return
			}
			if began {
				failures = 0
			}
			failures = min(failures+1, maxTries)
			wait, again := followAgain(err, connected, failures)
			if ctx.Err() == nil && again && pause(ctx, wait) == nil {
				continue
			}
			if err == nil || ctx.Err() != nil {
				err = ctx.Err()
			}
			yield(Event{}, err)
			return
		}
	}
}

// LastEvent gives the id of the newest event, so that one can begin behind it;
// empty where there is none. It costs the same however many there are.
func (c *Client) LastEvent(ctx context.Context) (id string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	known := false
	err = c.follow(ctx, "", func() {}, func(first string) {
		if !known {
			id, known = first, true
		}
		cancel() // the rest of the stream is not wanted
	}, func(Event) bool { return false })
	if known {
		return id, nil
	}
	if err == nil {
		err = fmt.Errorf("the stream of events ended before it began: %w", io.ErrUnexpectedEOF)
	}
	return "", err
}

// followAgain decides whether to connect again, and after how long.
func followAgain(err error, connected bool, failures int) (time.Duration, bool) {
	no, refused := errors.AsType[*Error](err)
	if !connected || refused && no.Status != http.StatusServiceUnavailable && no.Status != http.StatusTooManyRequests && no.Status < 502 {
		return 0, false
	}
	wait := 250 * time.Millisecond << failures
	if refused {
		wait = max(wait, no.RetryAfter)
	}
	return min(wait, maxWait), true
}

// follow reads one connection to its end.
func (c *Client) follow(ctx context.Context, after string, connected func(), at func(id string), give func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alive := time.AfterFunc(silence, cancel)
	defer alive.Stop()
	endless := *c.http
	endless.Timeout = 0
	return c.authorized(ctx, func(token string) error {
		r := request{method: http.MethodGet, path: "/events/stream", after: after}
		answer, err := c.open(ctx, &endless, r, nil, token)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		connected()
		return readStream(answer.Body, func() { alive.Reset(silence) }, at, give)
	})
}

// readStream reads server-sent events (HTML Living Standard, section 9.2.6)
// as far as the server uses them: one line of data each. It tells the id at
// which the stream stands once it is past it: the first stands there alone, and
// is empty where there is no event yet.
func readStream(r io.Reader, alive func(), at func(id string), give func(Event) bool) error {
	id := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		alive()
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if given, ok := strings.CutPrefix(lines.Text(), "id:"); ok {
			id = strings.TrimSpace(given)
		}
		if lines.Text() == "" {
			at(id)
		}
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("reading the stream of events: %w", err)
		}
		if !give(e) {
			return errEnough
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the stream of events: %w", err)
	}
	return nil
}
