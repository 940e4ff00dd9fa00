// Package eventstream writes server-sent events (HTML Living Standard, section
// 9.2), for the API and for the console, and counts who listens.
package eventstream

import (
	"net/http"
	"sync"
	"time"
)

const (
	// Poll is how often a stream looks for what another process has written, and
	// whether who listens still may.
	Poll = time.Second
	// Heartbeat is how often a stream shows that it is there.
	Heartbeat = 15 * time.Second
	// writeLimit bounds one write to a listener.
	writeLimit = 20 * time.Second
)

// Writer writes to one listener, each write with a deadline of its own.
type Writer struct {
	control *http.ResponseController
	w       http.ResponseWriter
}

// Begin makes an answer a stream. Headers that the answer has already stay.
func Begin(w http.ResponseWriter) Writer {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // else some proxies keep events back
	return Writer{http.NewResponseController(w), w}
}

// Write sends a text at once, and tells whether the listener is still there.
func (s Writer) Write(text []byte) bool {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return false
	}
	if _, err := s.w.Write(text); err != nil {
		return false
	}
	return s.control.Flush() == nil
}

// Beat shows that the stream is there, and tells whether the listener is.
func (s Writer) Beat() bool { return s.Write([]byte(": \n\n")) }

// Listeners counts the open streams of each organisation. Each keeps a
// connection, and looks for events after each commit.
type Listeners struct {
	// Most is how many an organisation may have.
	Most int

	mu    sync.Mutex
	count map[int64]int
}

// Open counts one more, until close is called; ok is false where there are
// enough.
func (l *Listeners) Open(org int64) (close func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count[org] >= l.Most {
		return nil, false
	}
	if l.count == nil {
		l.count = map[int64]int{}
	}
	l.count[org]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.count[org]--; l.count[org] == 0 {
			delete(l.count, org)
		}
	}, true
}
