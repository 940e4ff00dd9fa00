package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"time"
)

// wire sends requests over HTTP/1.1 (RFC 9112), each in the goroutine that asks
// for it. net/http's Transport moves every request and answer between three
// goroutines, which costs as much as all the rest; answers are still read by
// net/http's own parser. It knows TLS only, no proxies and no HTTP/2.
type wire struct {
	dial       func(ctx context.Context, network, address string) (net.Conn, error)
	tls        *tls.Config
	timeout    time.Duration // of the TLS handshake
	maxHeaders int64         // bytes of an answer's headers
	idle       *idleConns
	count      *connCount
	readers    sync.Pool // *bufio.Reader
	buffers    sync.Pool // *[]byte
}

// maxPooledRequest is the size over which a request's buffer is not kept.
const maxPooledRequest = 64 << 10

// sendGrace is how long an answer is waited for after the request could not be
// written to its end: a receiver may refuse it before it has read all of it.
const sendGrace = 50 * time.Millisecond

// errIdleClosed says that an idle connection was found dead before a byte was
// written to it.
var errIdleClosed = errors.New("the idle connection was closed")

func newWire(config Config, guard *Guard, tls *tls.Config, count *connCount) *wire {
	return &wire{
		dial: dialer(config, guard), tls: tls, count: count, timeout: config.DialTimeout, maxHeaders: config.MaxHeaderBytes,
		idle:    newIdleConns(config.MaxIdle, config.MaxIdlePerHost, config.IdleTime),
		readers: sync.Pool{New: func() any { return bufio.NewReaderSize(nil, connBufferSize) }},
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
}

// post sends a request and reads the head of its answer. The body is read with
// what is left of the call's time; then the connection is to be released.
func (w *wire) post(ctx context.Context, call *call) (*http.Response, *wireConn, error) {
	buffer := w.buffers.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= maxPooledRequest {
			w.buffers.Put(buffer)
		}
	}()
	var err error
	if *buffer, err = appendRequest((*buffer)[:0], call); err != nil {
		return nil, nil, err
	}
	for try := 1; ; try++ {
		answer, c, err := w.exchange(ctx, call, *buffer)
		if !errors.Is(err, errIdleClosed) || try > maxIdleRetries || call.ended(ctx) != nil {
			return answer, c, err
		}
	}
}

// exchange sends a request over one connection.
func (w *wire) exchange(ctx context.Context, call *call, request []byte) (*http.Response, *wireConn, error) {
	c, err := w.connection(ctx, call)
	if err != nil {
		return nil, nil, err
	}
	c.stop = context.AfterFunc(ctx, c.interrupt)
	if err = w.send(c, call, request); err != nil {
		c.close()
		return nil, nil, err
	}
	answer, err := w.receive(c, call)
	if err != nil {
		c.close()
		return nil, nil, becauseOf(call.ended(ctx), err)
	}
	return answer, c, nil
}

// becauseOf names the end of a call, where that is what went wrong.
func becauseOf(ended, err error) error {
	if ended != nil {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// connection gives an idle connection that is alive, or makes one.
func (w *wire) connection(ctx context.Context, call *call) (*wireConn, error) {
	for c := w.idle.take(call.place.address); c != nil; c = w.idle.take(call.place.address) {
		c.SetDeadline(call.deadline)
		if c.alive() {
			c.reused = true
			call.times.got(true)
			return c, nil
		}
		c.close()
	}
	c, err := w.connect(ctx, call)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(call.deadline)
	call.times.got(false)
	return c, nil
}

// connect makes a connection: TCP, by way of the guard, then TLS.
func (w *wire) connect(ctx context.Context, call *call) (*wireConn, error) {
	trace := call.times.trace()
	ctx, cancel := context.WithDeadline(httptrace.WithClientTrace(ctx, trace), call.deadline)
	defer cancel()
	conn, err := w.dial(ctx, "tcp", call.place.address)
	if err != nil {
		return nil, err
	}
	config := w.tls.Clone()
	config.ServerName = call.place.url.Hostname()
	raw := newSocket(conn)
	c := &wireConn{Conn: tls.Client(raw, config), raw: raw, address: call.place.address}
	c.interrupt = func() { c.SetDeadline(time.Unix(1, 0)) }
	shake, cancelShake := context.WithTimeout(ctx, w.timeout)
	defer cancelShake()
	trace.TLSHandshakeStart()
	err = c.HandshakeContext(shake)
	trace.TLSHandshakeDone(tls.ConnectionState{}, err)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.count = w.count
	c.count.add()
	return c, nil
}

// send writes the request. What could not be written at all to a connection
// that was idle may be sent again.
func (w *wire) send(c *wireConn, call *call, request []byte) error {
	before := c.raw.written
	_, err := c.Write(request)
	call.times.wrote()
	switch {
	case err == nil:
		return nil
	case c.reused && c.raw.written == before:
		return fmt.Errorf("%w: %w", errIdleClosed, err)
	}
	if grace := time.Now().Add(sendGrace); grace.Before(call.deadline) {
		c.SetReadDeadline(grace)
	}
	c.broken = err
	return nil
}

// receive reads the head of the answer.
func (w *wire) receive(c *wireConn, call *call) (*http.Response, error) {
	c.in = w.readers.Get().(*bufio.Reader)
	c.in.Reset(c)
	c.left = w.maxHeaders
	if _, err := c.in.Peek(1); err != nil {
		return nil, c.readError(err)
	}
	call.times.answered()
	for {
		answer, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return nil, c.readError(err)
		}
		if answer.StatusCode/100 != 1 || answer.StatusCode == http.StatusSwitchingProtocols {
			c.left = math.MaxInt64
			return answer, nil
		}
	}
}

// appendRequest writes the request. Names and values of headers that would end
// the line are refused; the errors do not repeat them.
func appendRequest(b []byte, call *call) ([]byte, error) {
	b = append(append(b, call.place.head...), "\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(call.body)), 10), "\r\n"...)
	for name, values := range call.header {
		for _, value := range values {
			if !isToken(name) || !isFieldValue(value) {
				return b, errors.New("a header cannot be sent")
			}
			b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
		}
	}
	return append(append(b, "\r\n"...), call.body...), nil
}

// isToken tells whether text is a token (RFC 9110, section 5.6.2).
func isToken(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !isTokenMark(c) {
			return false
		}
	}
	return text != ""
}

func isTokenMark(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// isFieldValue tells whether text can be a header's value (RFC 9110, section 5.5).
func isFieldValue(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// wireConn is a connection of a wire, used by one goroutine at a time.
type wireConn struct {
	*tls.Conn
	raw       *socket
	address   string
	reused    bool
	interrupt func()        // breaks off what is being read or written
	stop      func() bool   // ends the watch over the call's context
	in        *bufio.Reader // while an answer is read
	left      int64         // bytes that may still be read of it
	broken    error         // why the request could not be written to its end
	since     time.Time     // since when it is idle
	count     *connCount    // that it is open
}

// Read reads within the bound that is set.
func (c *wireConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the answer's headers exceeded their bound")
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	c.left -= int64(n)
	return n, err
}

// readError is what to tell of an answer that did not come: where the request
// could not be written either, that came first.
func (c *wireConn) readError(err error) error {
	if c.broken != nil && errors.Is(err, errDeadline) {
		return c.broken
	}
	return err
}

// alive tells whether the connection is open and the server has said nothing on
// it since the last answer: what it said unasked would pass for the next one.
func (c *wireConn) alive() bool {
	c.raw.probe = true
	_, err := c.Conn.Read(make([]byte, 1))
	c.raw.probe = false
	return err == errNothing
}

func (c *wireConn) close() {
	if c.stop != nil {
		c.stop()
	}
	c.count.open.Add(-1)
	c.raw.Conn.Close() // without a farewell, which could block
}

// release takes a connection back after an answer, or closes it. keep tells
// whether it can be used again: the answer was read to its end.
func (w *wire) release(c *wireConn, keep bool) {
	quiet := c.stop() && c.in.Buffered() == 0
	if !keep || !quiet || c.broken != nil {
		c.close()
		return
	}
	c.in.Reset(nil)
	w.readers.Put(c.in)
	c.in, c.stop = nil, nil
	w.idle.put(c)
}
