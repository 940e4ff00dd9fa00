package apptest

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"tidings/internal/localca"
)

// Received is one webhook as it arrived.
type Received struct {
	Header http.Header
	Body   []byte
	At     time.Time
}

// ID is the event's id.
func (r Received) ID() string { return r.Header.Get("webhook-id") }

// Receiver is an HTTPS receiver that keeps what arrives.
type Receiver struct {
	URL string

	t        testing.TB
	mu       sync.Mutex
	received []Received
	changed  chan struct{} // closed and renewed at each arrival
}

// NewReceiver starts a receiver with a certificate of ca. answer, if not nil,
// answers each webhook after it was kept; else it is 204.
func NewReceiver(t testing.TB, ca *localca.CA, answer func(w http.ResponseWriter, r *http.Request, got Received)) *Receiver {
	t.Helper()
	pair, err := ca.Issue()
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{t: t, changed: make(chan struct{})}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the sender gave up
		}
		got := Received{Header: req.Header.Clone(), Body: body, At: time.Now()}
		r.mu.Lock()
		r.received = append(r.received, got)
		close(r.changed)
		r.changed = make(chan struct{})
		r.mu.Unlock()
		if answer != nil {
			answer(w, req, got)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of senders that break off
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // first: it ends answers that wait for the sender to give up
	r.URL = server.URL + "/webhooks"
	return r
}

// Received gives what has arrived so far, in order.
func (r *Receiver) Received() []Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Received(nil), r.received...)
}

// Wait waits until n webhooks have arrived and gives them; more may have.
func (r *Receiver) Wait(n int) []Received {
	r.t.Helper()
	return r.Until(func(got []Received) bool { return len(got) >= n })
}

// Until waits until what has arrived satisfies enough.
func (r *Receiver) Until(enough func([]Received) bool) []Received {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		r.mu.Lock()
		got, changed := append([]Received(nil), r.received...), r.changed
		r.mu.Unlock()
		if enough(got) {
			return got
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.t.Fatalf("after a minute only %d webhooks have arrived", len(got))
		}
	}
}
