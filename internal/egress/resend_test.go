package egress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func failingDial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no name server")
}

// tapped is a connection whose writes can be made to fail.
type tapped struct {
	net.Conn
	broken *atomic.Bool
}

func (c *tapped) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, errors.New("broken before a byte was written")
	}
	return c.Conn.Write(p)
}

// tap puts tapped connections under client. It gives a switch that breaks the
// first of them.
func tap(client *Client) *atomic.Bool {
	wire := client.wire
	dial := wire.dial
	broken := new(atomic.Bool)
	var conns atomic.Int64
	wire.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil || conns.Add(1) > 1 {
			return conn, err
		}
		return &tapped{conn, broken}, nil
	}
	return broken
}

// TestResentWhenNothingWasWritten: an idle connection that turns out to be
// dead costs no attempt.
func TestResentWhenNothingWasWritten(t *testing.T) {
	a := newAuthority(t)
	var bodies []string
	r := newReceiver(t, a, func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		bodies = append(bodies, string(body))
	})
	client := newClient(t, a, nil)
	broken := tap(client)
	ok := expectation{200, "", ""}
	ok.check(t, client.Post(within(t, patience), r.URL, nil, []byte("one")))
	broken.Store(true)
	ok.check(t, client.Post(within(t, patience), r.URL, nil, []byte("two")))
	if strings.Join(bodies, " ") != "one two" || r.conns.Load() != 2 {
		t.Errorf("the receiver got %q over %d connections", bodies, r.conns.Load())
	}
}

// TestIdleConnectionClosedByTheServer: the next call makes a new connection.
func TestIdleConnectionClosedByTheServer(t *testing.T) {
	a := newAuthority(t)
	closed := make(chan struct{}, 2)
	addr := rawTLS(t, a.serverConfig(), func(conn net.Conn) {
		answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(conn)
		conn.Close() // and did not say so
		closed <- struct{}{}
	})
	client := newClient(t, a, nil)
	ok := expectation{200, "", ""}
	ok.check(t, client.Post(within(t, patience), "https://"+addr, nil, []byte("one")))
	<-closed
	result := client.Post(within(t, patience), "https://"+addr, nil, []byte("two"))
	ok.check(t, result)
	if result.Timing.Reused {
		t.Error("the closed connection was used")
	}
}

// TestNeverSentTwice: once a receiver may have acted on a request, it is not
// repeated, also where net/http thinks that it might be.
func TestNeverSentTwice(t *testing.T) {
	for _, header := range []http.Header{nil, {"Idempotency-Key": {"k"}}, {"X-Idempotency-Key": {"k"}, "Idempotency-Key": {"k"}}} {
		a := newAuthority(t)
		var requests atomic.Int64
		var keys atomic.Value
		addr := rawTLS(t, a.serverConfig(), func(conn net.Conn) {
			reader := bufio.NewReader(conn)
			for {
				request, err := http.ReadRequest(reader)
				if err != nil {
					return
				}
				io.Copy(io.Discard, request.Body)
				keys.Store(request.Header.Get("Idempotency-Key"))
				if requests.Add(1) > 1 {
					return // acted on, and then the connection breaks
				}
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		client := newClient(t, a, nil)
		expectation{200, "", ""}.check(t, client.Post(within(t, patience), "https://"+addr, header, []byte("one")))
		result := client.Post(within(t, patience), "https://"+addr, header, []byte("two"))
		expectation{0, CodeClosed, "before an answer"}.check(t, result)
		if !result.Timing.Reused || requests.Load() != 2 {
			t.Errorf("%v: %d requests, reused %v", header, requests.Load(), result.Timing.Reused)
		}
		if got := keys.Load(); got != header.Get("Idempotency-Key") {
			t.Errorf("%v: the receiver got the key %q", header, got)
		}
	}
}

// scripted gives one answer after another, and keeps what was sent.
type scripted struct {
	errors []error
	bodies []string
}

func (s *scripted) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	s.bodies = append(s.bodies, string(body))
	if n := len(s.bodies); n <= len(s.errors) {
		return nil, s.errors[n-1]
	}
	return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}, nil
}

// TestIdleClosedRace plays the race that net/http reports to us: the server
// closed the connection between the moment it was picked and the write.
func TestIdleClosedRace(t *testing.T) {
	idle := errors.New("http: server closed idle connection")
	for _, row := range []struct {
		errors []error
		want   expectation
		sent   int
	}{
		{[]error{idle}, expectation{200, "", ""}, 2},
		{[]error{idle, idle, idle}, expectation{200, "", ""}, 4},
		{[]error{idle, idle, idle, idle}, expectation{0, CodeClosed, "before an answer"}, 4},
		{[]error{io.EOF}, expectation{0, CodeClosed, "before an answer"}, 1},
		{[]error{idle, io.EOF}, expectation{0, CodeClosed, "before an answer"}, 2},
	} {
		script := &scripted{errors: row.errors}
		client := newClient(t, newAuthority(t), nil)
		client.wire, client.transport = nil, script
		row.want.check(t, client.Post(within(t, patience), "https://receiver.test/", nil, []byte("body")))
		if len(script.bodies) != row.sent || strings.Trim(strings.Join(script.bodies, ""), "body") != "" || script.bodies[row.sent-1] != "body" {
			t.Errorf("%v: sent %q", row.errors, script.bodies)
		}
	}
}

// TestClosingServer races calls against a server that closes every connection
// after its answer without a word. Whatever happens, no request comes twice.
func TestClosingServer(t *testing.T) {
	a := newAuthority(t)
	var mu sync.Mutex
	seen := map[string]int{}
	addr := rawTLS(t, a.serverConfig(), func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(request.Body)
		mu.Lock()
		seen[string(body)]++
		mu.Unlock()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	client := newClient(t, a, nil)
	const calls = 100
	answered := 0
	for i := range calls {
		body := strings.Repeat("x", i+1)
		result := client.Post(within(t, patience), "https://"+addr, nil, []byte(body))
		switch {
		case result.Code == "" && result.StatusCode == 200:
			answered++
		case result.Code != CodeClosed:
			t.Errorf("%+v", result)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if answered == 0 {
		t.Error("no call was answered")
	}
	for body, times := range seen {
		if times > 1 {
			t.Errorf("request %d came %d times", len(body), times)
		}
	}
}
