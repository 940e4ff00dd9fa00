package pgtest

import (
	"context"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands between programs and a PostgreSQL server, as a network that can
// fail does. Those who use its URL reach the server through it.
type Proxy struct {
	URL string // of the database, over TCP on loopback

	listener net.Listener
	socket   string
	done     chan struct{} // closed at the end
	group    sync.WaitGroup

	replies atomic.Int64
	mu      sync.Mutex
	links   map[*link]bool
	cut     bool
	asks    chan struct{} // what the server is told waits until it is closed
	answers chan struct{} // what it answers does
	delay   time.Duration // of each answer
}

// link is a connection through the proxy.
type link struct{ client, server net.Conn }

func (l *link) close() {
	l.client.Close()
	l.server.Close()
}

// NewProxy stands before the database of dsn, which [Start] or [NewDatabase]
// gave, until the end of the test.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	p := &Proxy{socket: filepath.Join(query.Get("host"), ".s.PGSQL.5432"), links: map[*link]bool{}, done: make(chan struct{}), asks: ungated(), answers: ungated()}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	query.Del("host")
	u.Host, u.User, u.RawQuery = p.listener.Addr().String(), url.User(query.Get("user")), query.Encode()
	p.URL = u.String()
	p.group.Go(p.accept)
	t.Cleanup(func() {
		close(p.done)
		p.listener.Close()
		p.Cut()
		p.group.Wait()
	})
	return p
}

// ungated is a gate that lets everything through.
func ungated() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Cut ends every connection, and each new one at once, as a server that has gone
// does.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for l := range p.links {
		l.close()
	}
}

// Stall lets nothing through and tells nobody, as a cable that was pulled does:
// connections seem to stand, and new ones are taken, but no byte arrives.
func (p *Proxy) Stall() {
	p.StallAnswers()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks = make(chan struct{})
}

// StallAnswers lets through what the server is told, and keeps what it answers.
func (p *Proxy) StallAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = make(chan struct{})
}

// Delay makes the server slow: each answer takes so much longer.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Answers tells in how many pieces the server's answers have come so far: at
// least one for each round trip.
func (p *Proxy) Answers() int64 { return p.replies.Load() }

// Mend ends what [Proxy.Cut], [Proxy.Stall] and [Proxy.Delay] began.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.delay = false, 0
	for _, gate := range []*chan struct{}{&p.asks, &p.answers} {
		select {
		case <-*gate:
		default:
			close(*gate)
		}
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{Timeout: startTimeout}).DialContext(context.Background(), "unix", p.socket)
	if err != nil {
		return // the server is not there: the client sees its connection end
	}
	l := &link{client, server}
	defer l.close()
	if !p.join(l) {
		return
	}
	defer p.leave(l)
	var both sync.WaitGroup
	both.Go(func() { defer l.close(); p.pump(server, client, false) })
	both.Go(func() { defer l.close(); p.pump(client, server, true) })
	both.Wait()
}

func (p *Proxy) join(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[l] = true
	return !p.cut
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// pump carries bytes in one direction until one end is gone.
func (p *Proxy) pump(to, from net.Conn, answers bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !p.pass(answers) {
			return
		}
		if answers {
			p.replies.Add(1)
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// pass waits until bytes may go on, and tells whether they may.
func (p *Proxy) pass(answers bool) bool {
	p.mu.Lock()
	gate, delay := p.asks, time.Duration(0)
	if answers {
		gate, delay = p.answers, p.delay
	}
	p.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-p.done:
			return false
		}
	}
	select {
	case <-gate:
		return true
	case <-p.done:
		return false
	}
}
