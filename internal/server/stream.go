package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tidings"
)

// errStreamed says that the answer has been written already.
var errStreamed = errors.New("streamed")

const (
	// streamPoll is how often a stream looks for events that another process
	// accepted, and heartbeat how often it shows that it is alive.
	streamPoll = time.Second
	heartbeat  = 15 * time.Second
	// streamWrite bounds one write to a listener.
	streamWrite = 20 * time.Second
	// maxStreams is how many streams an organisation may have open: each keeps
	// a connection, and looks for events after each commit.
	maxStreams = 32
)

// streams counts the open streams of each organisation.
type streams struct {
	mu    sync.Mutex
	count map[int64]int
}

// open counts one more, until close is called.
func (s *streams) open(org int64) (close func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[org] >= maxStreams {
		return nil, &tidings.Error{Kind: tidings.KindLimited, Retry: heartbeat,
			Message: "The organisation has " + strconv.Itoa(maxStreams) + " streams open, as many as it may have."}
	}
	if s.count == nil {
		s.count = map[int64]int{}
	}
	s.count[org]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.count[org]--; s.count[org] == 0 {
			delete(s.count, org)
		}
	}, nil
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
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h["Cache-Control"] = noStore
	h.Set("X-Accel-Buffering", "no")
	out := eventStream{http.NewResponseController(c.w), c.w}
	// The place where the stream begins, so that whoever loses the connection
	// before the first event goes on from there, too.
	hello := ": events in the order in which they were accepted\n"
	if after != "" && c.r.Header.Get("Last-Event-ID") == "" {
		hello += "id: " + after + "\n"
	}
	if !out.write([]byte(hello + "\n")) {
		return errStreamed
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	poll := time.NewTicker(streamPoll)
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
			if !out.write([]byte(": \n\n")) {
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
func (s *Server) sendEvents(ctx context.Context, c *call, out eventStream, after string) (last string, ok bool) {
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
		if text.Len() > 0 && !out.write(text.Bytes()) {
			return after, false
		}
		if !l.HasNext {
			return after, true
		}
	}
}

// eventStream writes to a listener, each write with a deadline of its own.
type eventStream struct {
	control *http.ResponseController
	w       http.ResponseWriter
}

func (s eventStream) write(text []byte) bool {
	if err := s.control.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return false
	}
	if _, err := s.w.Write(text); err != nil {
		return false
	}
	return s.control.Flush() == nil
}
