package server

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"tidings"
	"tidings/internal/eventstream"
)

// errStreamed says that the answer has been written already.
var errStreamed = errors.New("streamed")

// maxStreams is how many streams an organisation may have open.
const maxStreams = 32

// openStream counts one more, until close is called.
func (s *Server) openStream(org int64) (close func(), err error) {
	close, ok := s.streams.Open(org)
	if !ok {
		return nil, &tidings.Error{Kind: tidings.KindLimited, Retry: eventstream.Heartbeat,
			Message: "The organisation has " + strconv.Itoa(maxStreams) + " streams open, as many as it may have."}
	}
	return close, nil
}

// stream makes a route that answers with server-sent events (HTML Living
// Standard, section 9.2).
func stream(r Route, do func(context.Context, *call) error) Route {
	r.Stream = true
	r.run = func(ctx context.Context, c *call, _ []byte, _ *bytes.Buffer) error { return do(ctx, c) }
	return r
}

// streamEvents sends the organisation's events as they are accepted, from the
// one after Last-Event-ID on; without that header only those to come.
func (s *Server) streamEvents(ctx context.Context, c *call) error {
	after, err := s.streamStart(ctx, c)
	if err != nil {
		return err
	}
	c.w.Header()["Cache-Control"] = noStore
	out := eventstream.Begin(c.w)
	// The place where the stream begins, so that whoever loses the connection
	// before the first event goes on from there, too.
	hello := ": events in the order in which they were accepted\n"
	if after != "" && c.r.Header.Get("Last-Event-ID") == "" {
		hello += "id: " + after + "\n"
	}
	if !out.Write([]byte(hello + "\n")) {
		return errStreamed
	}
	beat := time.NewTicker(eventstream.Heartbeat)
	defer beat.Stop()
	poll := time.NewTicker(eventstream.Poll)
	defer poll.Stop()
	for {
		changed := s.cfg.Events.Changed()
		last, ok := s.sendEvents(ctx, c, out, after)
		if !ok {
			return errStreamed
		}
		after = last
		select {
		case <-changed:
		case <-poll.C:
			// A stream ends with its token, or with the client's right to have
			// one: whoever listens comes back with a new one.
			if _, err := s.authenticate(c.r); err != nil {
				return errStreamed
			}
		case <-beat.C:
			if !out.Beat() {
				return errStreamed
			}
		case <-ctx.Done():
			return errStreamed
		case <-s.stopping:
			return errStreamed
		}
	}
}

// streamStart gives the event after which the stream begins.
func (s *Server) streamStart(ctx context.Context, c *call) (string, error) {
	id := c.r.Header.Get("Last-Event-ID")
	if id == "" {
		return s.cfg.Events.LastEvent(ctx, c.Organisation.Key)
	}
	_, err := s.cfg.Events.Events(ctx, c.Organisation.Key, tidings.EventFilter{}, tidings.Page{Size: 1, After: id})
	if tidings.KindOf(err) == tidings.KindInvalid && err != nil {
		return "", tidings.Invalid("", "There is no event %q to go on from (header Last-Event-ID).", short(id))
	}
	if err != nil {
		return "", err
	}
	return id, nil
}

// sendEvents sends all that stands after an event, and gives the last one sent.
func (s *Server) sendEvents(ctx context.Context, c *call, out eventstream.Writer, after string) (last string, ok bool) {
	for {
		l, err := s.cfg.Events.Events(ctx, c.Organisation.Key, tidings.EventFilter{}, tidings.Page{Size: tidings.MaxPageSize, After: after})
		if err != nil {
			return after, false // the listener comes back and goes on
		}
		var text bytes.Buffer
		for _, e := range l.Items {
			after = e.ID
			text.WriteString("id: " + e.ID + "\nevent: " + string(e.Type) + "\ndata: ")
			if err := encode(&text, showEvent(e)); err != nil {
				return after, false
			}
			text.WriteString("\n\n")
		}
		if text.Len() > 0 && !out.Write(text.Bytes()) {
			return after, false
		}
		if !l.HasNext {
			return after, true
		}
	}
}
