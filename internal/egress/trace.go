package egress

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"
)

// recorder keeps the times of one call. Its hooks may run in several
// goroutines, and in that of a dial even after the call has ended.
type recorder struct {
	start time.Time

	mu                                           sync.Mutex
	dnsStart, connectStart, tlsStart, wroteStart time.Time
	timing                                       Timing
	tlsFailed                                    bool
}

// trace gives the hooks. httptrace calls each at most a few times per call.
func (r *recorder) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { r.got(info.Reused) },
		DNSStart:             func(httptrace.DNSStartInfo) { r.begin(&r.dnsStart) },
		DNSDone:              func(httptrace.DNSDoneInfo) { r.end(&r.timing.DNS, &r.dnsStart) },
		ConnectStart:         func(string, string) { r.begin(&r.connectStart) },
		ConnectDone:          func(string, string, error) { r.end(&r.timing.Connect, &r.connectStart) },
		TLSHandshakeStart:    func() { r.begin(&r.tlsStart) },
		TLSHandshakeDone:     r.tlsDone,
		WroteRequest:         func(httptrace.WroteRequestInfo) { r.wrote() },
		GotFirstResponseByte: r.answered,
	}
}

// got notes that there is a connection.
func (r *recorder) got(reused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timing.Reused = reused
	r.tlsFailed = false // that was another connection's
}

func (r *recorder) tlsDone(_ tls.ConnectionState, err error) {
	r.end(&r.timing.TLS, &r.tlsStart)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tlsFailed = err != nil
}

// wrote notes that the request was written.
func (r *recorder) wrote() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wroteStart = time.Now() // the last write counts, if one was repeated
}

// answered notes the first byte of the answer.
func (r *recorder) answered() { r.end(&r.timing.Wait, &r.wroteStart) }

// begin keeps the first start of a step: several addresses may be tried.
func (r *recorder) begin(at *time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.IsZero() {
		*at = time.Now()
	}
}

func (r *recorder) end(d *time.Duration, since *time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !since.IsZero() {
		*d = time.Since(*since)
	}
}

// finish gives the timing, and whether the last TLS handshake failed.
func (r *recorder) finish() (Timing, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.timing
	t.Total = time.Since(r.start)
	return t, r.tlsFailed
}
