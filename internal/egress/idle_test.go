package egress

import (
	"bufio"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// TestAnswersThatNobodyAsked: what a server says after its answer is not taken
// for the next one, be it in the same record of TLS or later.
func TestAnswersThatNobodyAsked(t *testing.T) {
	const first, more = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
	for name, records := range map[string][]string{"one record": {first + more}, "two records": {first, more}} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			said := make(chan struct{}, 2)
			addr := rawTLS(t, a.serverConfig(), func(conn net.Conn) {
				if !readRequest(bufio.NewReader(conn)) {
					return
				}
				for _, r := range records {
					io.WriteString(conn, r)
				}
				said <- struct{}{}
				untilClosed(conn)
			})
			client := newClient(t, a, nil)
			for range 2 {
				result := client.Post(within(t, patience), "https://"+addr, nil, []byte("{}"))
				expectation{200, "", ""}.check(t, result)
				if result.Timing.Reused {
					t.Error("the connection was used again")
				}
				<-said
			}
		})
	}
}

// TestIdleConnectionsAreBounded: over either bound the one that has been idle
// longest is closed, and after its time each is.
func TestIdleConnectionsAreBounded(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*Config)
		hosts  int // receivers that get two calls at the same time each
		kept   int
	}{
		"in all":   {func(c *Config) { c.MaxIdle = 3 }, 3, 3},
		"per host": {func(c *Config) { c.MaxIdlePerHost = 1 }, 3, 3},
		"neither":  {nil, 2, 4},
		"by age":   {func(c *Config) { c.IdleTime = time.Millisecond }, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			client := newClient(t, a, row.change)
			defer client.CloseIdle() // the receivers wait for it
			closed := make(chan struct{}, 2*row.hosts)
			for range row.hosts {
				var both, done sync.WaitGroup
				both.Add(2)
				addr := rawTLS(t, a.serverConfig(), func(conn net.Conn) {
					if readRequest(bufio.NewReader(conn)) {
						both.Done()
						both.Wait()
						io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
						untilClosed(conn)
						closed <- struct{}{}
					}
				})
				for range 2 {
					done.Go(func() {
						expectation{200, "", ""}.check(t, client.Post(within(t, patience), "https://"+addr, nil, []byte("{}")))
					})
				}
				done.Wait()
			}
			for range 2*row.hosts - row.kept {
				<-closed
			}
			if open, idle, made := client.Connections(); open != row.kept || idle != row.kept || made != int64(2*row.hosts) {
				t.Errorf("%d connections are open, %d of them idle, and %d were made; want %d, all idle, and %d", open, idle, made, row.kept, 2*row.hosts)
			}
		})
	}
}
