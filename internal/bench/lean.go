package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// leanTransport is one keep-alive connection of somebody who asks for one thing
// after the other. It writes and reads in the goroutine that asks, with net/http's
// own parser: net/http's Transport moves each request between three, which would
// take from the machine what is measured.
type leanTransport struct {
	b    *run
	conn net.Conn // nil: none is open
	in   *bufio.Reader
	out  bytes.Buffer
}

// newLeanHTTP gives a client for one goroutine.
func (b *run) newLeanHTTP() *http.Client { return &http.Client{Transport: &leanTransport{b: b}} }

// RoundTrip sends a request and reads all of its answer.
func (t *leanTransport) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	defer func() {
		if t.conn != nil && (err != nil || answer.Close) {
			t.close()
		}
	}()
	if t.conn == nil {
		if err := t.dial(r); err != nil {
			return nil, err
		}
	}
	t.conn.SetDeadline(time.Now().Add(time.Minute))
	t.out.Reset()
	if err := r.Write(&t.out); err != nil {
		return nil, err
	}
	if _, err := t.conn.Write(t.out.Bytes()); err != nil {
		return nil, err
	}
	if answer, err = http.ReadResponse(t.in, r); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, err
}

func (t *leanTransport) dial(r *http.Request) error {
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: t.b.ca.Pool(), NextProtos: []string{"http/1.1"}}}).DialContext(r.Context(), "tcp", r.URL.Host)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	t.conn, t.in = conn, bufio.NewReader(conn)
	return nil
}

func (t *leanTransport) close() {
	t.conn.Close()
	t.conn = nil
}

// CloseIdleConnections closes it, while nobody asks.
func (t *leanTransport) CloseIdleConnections() {
	if t.conn != nil {
		t.close()
	}
}
