package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"tidings/internal/localca"
	"tidings/webhook"
)

// verdict is what the demo's receiver did with a webhook.
type verdict string

const (
	processed  verdict = "processed"  // verified, new, answered 204
	duplicate  verdict = "duplicate"  // verified, but seen before: answered 204, nothing else done
	refused    verdict = "refused"    // verified, answered 500 on purpose
	broken     verdict = "broken"     // verified and processed, but the connection breaks before the answer
	unverified verdict = "unverified" // the signature is wrong: answered 400
)

// arrival is one webhook as the receiver saw it.
type arrival struct {
	event   webhook.Event
	verdict verdict
	err     error // with unverified
	at      time.Time
}

// demoReceiver is what a customer runs: an HTTPS server that verifies, drops
// duplicates and answers. Now and then it misbehaves, when it is told to.
type demoReceiver struct {
	url      string
	arrivals chan arrival // what came, for whoever tells the story

	server *http.Server
	done   chan struct{} // closed when the server has ended

	mu       sync.Mutex
	verifier *webhook.Verifier
	known    map[string]bool // webhook-ids that were processed
	next     verdict         // how the next new event is treated; empty: processed
}

// newDemoReceiver starts a receiver with a certificate of ca.
func newDemoReceiver(ca *localca.CA) (*demoReceiver, error) {
	pair, err := ca.Issue()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &demoReceiver{
		url:      "https://" + listener.Addr().String() + "/webhooks/credentials",
		arrivals: make(chan arrival, 64), done: make(chan struct{}),
		verifier: &webhook.Verifier{}, known: map[string]bool{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks/credentials", r.receive)
	r.server = &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	go func() {
		defer close(r.done)
		r.server.ServeTLS(listener, "", "")
	}()
	return r, nil
}

// close stops the receiver, the requests that it works on first.
func (r *demoReceiver) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := r.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		r.server.Close()
	}
	<-r.done
}

// trust tells the receiver what its endpoint's webhooks are signed with.
func (r *demoReceiver) trust(secret webhook.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verifier = &webhook.Verifier{Secrets: []webhook.Secret{secret}}
}

// misbehave has the next new event refused or broken off.
func (r *demoReceiver) misbehave(how verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = how
}

// receive is the webhook handler: verify, drop duplicates, answer at once.
func (r *demoReceiver) receive(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	verifier := r.verifier
	r.mu.Unlock()
	a := arrival{at: time.Now()}
	if a.event, a.err = verifier.VerifyRequest(req); a.err != nil {
		a.verdict = unverified
	} else {
		a.verdict = r.judge(a.event.ID)
	}
	select {
	case r.arrivals <- a:
	case <-req.Context().Done(): // nobody listens any more
	}
	switch a.verdict {
	case unverified:
		http.Error(w, a.err.Error(), http.StatusBadRequest)
	case refused:
		http.Error(w, "not now", http.StatusInternalServerError)
	case broken:
		panic(http.ErrAbortHandler) // net/http then closes the connection without an answer
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// judge decides what happens to an event, and remembers it once processed.
func (r *demoReceiver) judge(id string) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[id] {
		return duplicate
	}
	v := processed
	if r.next != "" {
		v, r.next = r.next, ""
	}
	if v != refused {
		r.known[id] = true
	}
	return v
}
