package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestDeadlineBesideTheContext: the deadline ends a call wherever it is, and says
// so, though the context goes on.
func TestDeadlineBesideTheContext(t *testing.T) {
	a := newAuthority(t)
	hanging := newReceiver(t, a, func(w http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body)
		if request.URL.Path == "/body" {
			w.Header().Set("Content-Length", "2")
			w.(http.Flusher).Flush()
		}
		if request.URL.Path != "/" {
			<-request.Context().Done()
		}
	})
	silent := rawServer(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	lost := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client := newClient(t, a, func(c *Config) { c.Resolver = &net.Resolver{PreferGo: true, Dial: lost} })
	for _, row := range []struct {
		name, url string
		want      expectation
		reused    bool
	}{
		{"resolving", "https://receiver.test/", expectation{0, CodeTimeout, "No answer"}, false},
		{"handshake", "https://" + silent, expectation{0, CodeTimeout, "No answer"}, false},
		{"answer", hanging.URL + "/hangs", expectation{0, CodeTimeout, "No answer"}, true},
		{"body", hanging.URL + "/body", expectation{200, CodeTimeout, "did not end"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.reused {
				expectation{200, "", ""}.check(t, client.PostUntil(context.Background(), time.Now().Add(patience), hanging.URL, nil, nil))
			}
			deadline := time.Now().Add(150 * time.Millisecond)
			result := client.PostUntil(context.Background(), deadline, row.url, nil, []byte("{}"))
			row.want.check(t, result)
			if result.Timing.Reused != row.reused || time.Now().Before(deadline) || !errors.Is(result.Cause, context.DeadlineExceeded) && !errors.Is(result.Cause, errDeadline) {
				t.Errorf("%+v", result)
			}
		})
	}
	result := client.PostUntil(context.Background(), time.Now().Add(-time.Second), hanging.URL, nil, nil)
	expectation{0, CodeTimeout, "No answer"}.check(t, result)
}

// TestPlacesAreBounded: however many URLs there are, few are remembered, and
// what is wrong is not.
func TestPlacesAreBounded(t *testing.T) {
	guard, err := NewGuard(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var p places
	for i := range placesKept + 1 {
		for range 2 {
			found, err := p.find(guard, fmt.Sprintf("https://receiver.test/a?n=%d", i))
			if err != nil || found.address != "receiver.test:443" || found.head != fmt.Sprintf("POST /a?n=%d HTTP/1.1\r\nHost: receiver.test", i) {
				t.Fatal(found, err)
			}
			if _, err := p.find(guard, "https://10.0.0.1/"); !errors.Is(err, ErrBlocked) {
				t.Fatal(err)
			}
		}
	}
	if len(p.known) != 1 {
		t.Errorf("%d are remembered", len(p.known))
	}
}
