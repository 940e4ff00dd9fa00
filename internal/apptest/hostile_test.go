//go:build linux

package apptest_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/apptest"
	"tidings/internal/localca"
)

// rawTLS serves TLS with a certificate; each connection's first request is read
// and then answered by serve, which writes what it likes.
func rawTLS(t *testing.T, pair tls.Certificate, serve func(net.Conn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	open, over := []net.Conn{}, false
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if over {
				conn.Close()
			}
			open = append(open, conn)
			mu.Unlock()
			group.Go(func() {
				defer conn.Close()
				secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}})
				request, err := http.ReadRequest(bufio.NewReader(secure))
				if err != nil {
					return // the sender does not trust the certificate
				}
				io.Copy(io.Discard, request.Body)
				serve(secure)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		over = true
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return "https://" + l.Addr().String() + "/webhooks"
}

func issue(t *testing.T, ca *localca.CA) tls.Certificate {
	t.Helper()
	pair, err := ca.Issue()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// selfSigned serves with a certificate that nobody trusts.
func selfSigned(t *testing.T) string {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL + "/webhooks"
}

// say writes a text and waits until the other side is gone.
func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
	}
}

// drip writes a start, then a piece again and again, slowly, until the other
// side is gone.
func drip(start, piece string) func(net.Conn) {
	return func(c net.Conn) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for _, err := io.WriteString(c, start); err == nil; _, err = io.WriteString(c, piece) {
			<-tick.C
		}
	}
}

// flood writes a start, then as much as the other side takes, and counts it.
func flood(start, piece string, sent *atomic.Int64) func(net.Conn) {
	text := bytes.Repeat([]byte(piece), 32<<10/len(piece))
	return func(c net.Conn) {
		io.WriteString(c, start)
		for {
			n, err := c.Write(text)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}

// hostile is a receiver that misbehaves, and which error codes say so.
type hostile struct {
	name, url string
	codes     []string
}

func hostiles(t *testing.T, ca *localca.CA, innocent string, sent *atomic.Int64) []hostile {
	pair := issue(t, ca)
	other, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	serve := func(do func(net.Conn)) string { return rawTLS(t, pair, do) }
	const status500 = "HTTP/1.1 500 Oh\r\n"
	elsewhere := "HTTP/1.1 307 Go\r\nConnection: close\r\nLocation: " + innocent + "\r\nContent-Length: 0\r\n\r\n"
	return []hostile{
		{"hangs", serve(say("")), []string{"timeout"}},
		{"drips headers", serve(drip("HTTP/1.1 200 OK\r\n", "X-More: yes\r\n")), []string{"timeout"}},
		{"drips a body", serve(drip(status500+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n")), []string{"timeout"}},
		{"drips early hints", serve(drip("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")), []string{"timeout", "protocol"}},
		{"redirects", serve(say(elsewhere)), []string{"redirect"}},
		{"talks garbage", serve(flood("\x00\xff\x00garbage", "\x00\xff", sent)), []string{"protocol"}},
		{"sends headers without end", serve(flood("HTTP/1.1 200 OK\r\n", "X-More: yes\r\n", sent)), []string{"protocol"}},
		{"sends 10 GB", serve(flood(status500+"Content-Length: 10737418240\r\n\r\n", "x", sent)), []string{"server_error"}},
		{"sends without end", serve(flood(status500+"Connection: close\r\n\r\n", "x", sent)), []string{"server_error"}},
		{"signs its own certificate", selfSigned(t), []string{"tls"}},
		{"is of another authority", rawTLS(t, issue(t, other), func(net.Conn) {}), []string{"tls"}},
		{"is another host", strings.Replace(serve(func(net.Conn) {}), "127.0.0.1", "127.0.0.2", 1), []string{"tls", "connect"}},
		{"resets", serve(reset), []string{"closed"}},
		{"closes", serve(func(net.Conn) {}), []string{"closed"}},
		{"closes within the body", serve(func(c net.Conn) { io.WriteString(c, status500+"Content-Length: 100\r\n\r\nhalf") }), []string{"closed"}},
		{"refuses", deadURL(t), []string{"connect"}},
	}
}

// reset breaks the connection off instead of closing it.
func reset(c net.Conn) {
	tcp := c.(*tls.Conn).NetConn().(*net.TCPConn)
	tcp.SetLinger(0)
	tcp.Close()
}

func TestHostileReceiversHarmNobody(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Flags: []string{"--attempt-timeout=1s", "--retry-schedule=100ms,100ms"}})
	healthy, innocent := newTally(), newTally()
	healthyURL := apptest.NewReceiver(t, p.CA, healthy.answer).URL
	innocentURL := apptest.NewReceiver(t, p.CA, innocent.answer).URL
	var sent atomic.Int64
	all := hostiles(t, p.CA, innocentURL, &sent)
	p.Register(healthyURL)
	byID := map[string]hostile{}
	for _, h := range all {
		byID[register(p.API, h.url)] = h
	}
	before := peak(t, p.PID())
	ids := publish(t, p.API, event(offered, "i"))
	p.Await("the healthy endpoint has it", func() bool { return healthy.missing("/webhooks", ids) == 0 })
	p.Await("every delivery has ended", func() bool { return len(list[struct{}](p.API, "/deliveries?filter[status]=failed")) == len(all) })
	ids = append(ids, publish(t, p.API, event(completed, "i"))...)
	p.Await("the healthy endpoint has the next one", func() bool { return healthy.missing("/webhooks", ids) == 0 })
	for _, d := range list[shownDelivery](p.API, "/deliveries?filter[eventId]="+ids[0]) {
		if h, ok := byID[d.EndpointID]; ok {
			p.Call("GET", "/deliveries/"+d.ID, nil, http.StatusOK, &d)
			d.exhausted(t, h, 3)
		}
	}
	if n, _ := innocent.counts(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
	grown := peak(t, p.PID()) - before
	t.Logf("the receivers could send %d kB, the process grew by %d kB at most", sent.Load()>>10, grown)
	if grown > 100<<10 {
		t.Errorf("the process grew by %d kB", grown)
	}
}

// The engine is the same, but what it records and reads is not: receivers harm nobody
// on PostgreSQL either.
func TestHostileReceiversOnPostgreSQL(t *testing.T) {
	apptest.OnPostgreSQL(t)
	t.Run("harm nobody", TestHostileReceiversHarmNobody)
	t.Run("410 disables at once", TestGoneDisablesAtOnce)
	t.Run("Retry-After pauses", TestRetryAfterPausesTheEndpoint)
	t.Run("a hanging one slows no other", TestAHangingEndpointSlowsNoOther)
}

// peak gives the largest resident memory that a process had, in kB.
func peak(t *testing.T, pid int) (kB int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatal(err)
	}
	return kB
}

// shownDelivery is one as the API shows it.
type shownDelivery struct {
	ID, EndpointID, Status, Reason string
	AttemptCount                   int
	Attempts                       []struct {
		Number, StatusCode int
		ErrorCode, Error   string
		ResponseExcerpt    string
	}
}

// exhausted wants that a delivery was tried so many times in vain, and says why.
func (d shownDelivery) exhausted(t *testing.T, h hostile, attempts int) {
	t.Helper()
	if d.Status != "failed" || d.Reason != "exhausted" || len(d.Attempts) != attempts {
		t.Errorf("a receiver that %s: %s, %s after %d attempts", h.name, d.Status, d.Reason, len(d.Attempts))
	}
	for _, a := range d.Attempts {
		if !slices.Contains(h.codes, a.ErrorCode) || a.Error == "" || len(a.ResponseExcerpt) > 4<<10 {
			t.Errorf("a receiver that %s: attempt %d has the error code %q (%s) and an excerpt of %d bytes; want %v",
				h.name, a.Number, a.ErrorCode, a.Error, len(a.ResponseExcerpt), h.codes)
		}
	}
}

func TestGoneDisablesAtOnce(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Flags: []string{oftenRetried}})
	gone, healthy := newTally(), newTally()
	endpoint := p.Register(apptest.NewReceiver(t, p.CA, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		gone.take(r.URL.Path, got, http.StatusGone)
		w.WriteHeader(http.StatusGone)
	}).URL)
	p.Register(apptest.NewReceiver(t, p.CA, healthy.answer).URL)
	ids := publish(t, p.API, event(offered, "i"))
	var e struct {
		Status, DisabledReason string
		Backlog                struct{ Count int }
	}
	p.Await("the endpoint is disabled", func() bool {
		p.Call("GET", "/endpoints/"+endpoint, nil, http.StatusOK, &e)
		return e.Status == "disabled"
	})
	ids = append(ids, publish(t, p.API, many(50, offered, "more")...)...)
	p.Await("the other endpoint has everything", func() bool { return healthy.missing("/webhooks", ids) == 0 })
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.Start()
	ids = append(ids, publish(t, p.API, many(50, offered, "again")...)...)
	p.Await("the other endpoint has everything", func() bool { return healthy.missing("/webhooks", ids) == 0 })
	p.Call("GET", "/endpoints/"+endpoint, nil, http.StatusOK, &e)
	if n, _ := gone.counts(); n != 1 || e.DisabledReason != "gone" || e.Backlog.Count != len(ids) {
		t.Errorf("%d requests after 410, %+v; want one, the reason gone, and %d pending", n, e, len(ids))
	}
	p.Check()
}
