package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings/internal/localca"
	"tidings/webhook"
)

// Paths of the receiver. What follows them names the endpoint.
const (
	pathTake = "/take/" // answers 204
	pathHang = "/hang/" // never answers
	pathIdle = "/idle/" // gets nothing
)

// verifyEvery is of how many webhooks one has its signature verified. All
// would cost what belongs to the receiver, none would prove nothing.
const verifyEvery = 64

// sink is the receiver: net/http over TLS, the same for the product and for the
// bare loop.
type sink struct {
	url  string
	http *http.Server

	arrived atomic.Int64 // webhooks taken
	hanging atomic.Int64 // requests that hang now
	conns   atomic.Int64 // connections open now
	signed  atomic.Int64 // signatures that verified
	forged  atomic.Int64 // signatures that did not
	first   atomic.Int64 // when the first webhook came since the last reset, in nanoseconds since 1970
	watch   atomic.Pointer[watch]
	keys    sync.Map // path → *webhook.Verifier
	buffers sync.Pool
}

func newSink(ca *localca.CA) (*sink, error) {
	pair, err := ca.Issue()
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	s := &sink{url: "https://" + l.Addr().String(), buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
	s.http = &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.conns.Add(-1)
		}
	}}
	go s.http.Serve(l)
	return s, nil
}

func (s *sink) close() { s.http.Close() }

// trust has the signatures at a path verified.
func (s *sink) trust(path, secret string) error {
	key, err := webhook.ParseSecret(secret)
	if err != nil {
		return err
	}
	s.keys.Store(path, &webhook.Verifier{Secrets: []webhook.Secret{key}})
	return nil
}

// ServeHTTP takes a webhook.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(r.Body); err != nil {
		return // the sender gave up
	}
	if strings.HasPrefix(r.URL.Path, pathHang) {
		s.hanging.Add(1)
		<-r.Context().Done()
		s.hanging.Add(-1)
		return
	}
	s.take(r, body.Bytes())
	w.WriteHeader(http.StatusNoContent)
}

func (s *sink) take(r *http.Request, body []byte) {
	now := time.Now()
	if s.first.Load() == 0 {
		s.first.CompareAndSwap(0, now.UnixNano())
	}
	if w := s.watch.Load(); w != nil {
		w.note(body, now)
	}
	if n := s.arrived.Add(1); n%verifyEvery == 0 {
		s.verify(r, body)
	}
}

func (s *sink) verify(r *http.Request, body []byte) {
	key, known := s.keys.Load(r.URL.Path)
	if !known {
		return
	}
	if err := key.(*webhook.Verifier).Verify(r.Header, body); err != nil {
		s.forged.Add(1)
		return
	}
	s.signed.Add(1)
}

// wait waits until so many webhooks have arrived in all.
func (s *sink) wait(ctx context.Context, n int64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.arrived.Load() < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// watch notes how long numbered events take from being published to their
// arrival. Issuance ids end in "-" and the event's number.
type watch struct {
	since []atomic.Int64 // nanoseconds since 1970
	took  []atomic.Int64 // nanoseconds; 0: has not arrived
}

func newWatch(events int) *watch {
	return &watch{since: make([]atomic.Int64, events), took: make([]atomic.Int64, events)}
}

var issuanceMember = []byte(`"openId4VcIssuanceId":"`)

func (w *watch) note(body []byte, now time.Time) {
	_, rest, _ := bytes.Cut(body, issuanceMember)
	id, _, _ := bytes.Cut(rest, []byte{'"'})
	n, err := strconv.Atoi(string(id[bytes.LastIndexByte(id, '-')+1:]))
	if err != nil || n >= len(w.took) {
		return
	}
	w.took[n].CompareAndSwap(0, max(now.UnixNano()-w.since[n].Load(), 1))
}
