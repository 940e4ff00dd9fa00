package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
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

// RoundTrip sends a request and reads the head of its answer. The end of its
// context also ends the reading of the body.
func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	buffer := w.buffers.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= maxPooledRequest {
			w.buffers.Put(buffer)
		}
	}()
	var err error
	if *buffer, err = appendRequest((*buffer)[:0], request); err != nil {
		return nil, err
	}
	trace := httptrace.ContextClientTrace(ctx)
	c, err := w.connection(ctx, request.URL, trace)
	if err != nil {
		return nil, err
	}
	c.stop = context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	if err = w.send(c, *buffer, trace); err != nil {
		c.close()
		return nil, err
	}
	answer, err := w.receive(c, request, trace)
	if err != nil {
		c.close()
		return nil, becauseOf(ctx, err)
	}
	answer.Body = &wireBody{ReadCloser: answer.Body, wire: w, conn: c, keep: !answer.Close && answer.StatusCode != http.StatusSwitchingProtocols}
	return answer, nil
}

// becauseOf names the end of the context where that is what ended a call.
func becauseOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// connection gives an idle connection that is alive, or makes one.
func (w *wire) connection(ctx context.Context, u *url.URL, trace *httptrace.ClientTrace) (*wireConn, error) {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	for c := w.idle.take(address); c != nil; c = w.idle.take(address) {
		if c.alive() {
			c.reused = true
			trace.GotConn(httptrace.GotConnInfo{Conn: c, Reused: true, WasIdle: true})
			return c, nil
		}
		c.close()
	}
	c, err := w.connect(ctx, address, u.Hostname(), trace)
	if err != nil {
		return nil, err
	}
	trace.GotConn(httptrace.GotConnInfo{Conn: c})
	return c, nil
}

// connect makes a connection: TCP, by way of the guard, then TLS.
func (w *wire) connect(ctx context.Context, address, host string, trace *httptrace.ClientTrace) (*wireConn, error) {
	conn, err := w.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config := w.tls.Clone()
	config.ServerName = host
	raw := newSocket(conn)
	c := &wireConn{Conn: tls.Client(raw, config), raw: raw, address: address}
	shake, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
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
func (w *wire) send(c *wireConn, request []byte, trace *httptrace.ClientTrace) error {
	before := c.raw.written
	_, err := c.Write(request)
	trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	switch {
	case err == nil:
		return nil
	case c.reused && c.raw.written == before:
		return fmt.Errorf("%w: %w", errIdleClosed, err)
	}
	c.SetReadDeadline(time.Now().Add(sendGrace))
	c.broken = err
	return nil
}

// receive reads the head of the answer.
func (w *wire) receive(c *wireConn, request *http.Request, trace *httptrace.ClientTrace) (*http.Response, error) {
	c.in = w.readers.Get().(*bufio.Reader)
	c.in.Reset(c)
	c.left = w.maxHeaders
	if _, err := c.in.Peek(1); err != nil {
		return nil, c.readError(err)
	}
	trace.GotFirstResponseByte()
	for {
		answer, err := http.ReadResponse(c.in, request)
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
func appendRequest(b []byte, request *http.Request) ([]byte, error) {
	b = append(append(append(b, request.Method...), ' '), request.URL.RequestURI()...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), request.Host...), "\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, request.ContentLength, 10), "\r\n"...)
	for name, values := range request.Header {
		for _, value := range values {
			if !isToken(name) || !isFieldValue(value) {
				return b, errors.New("a header cannot be sent")
			}
			b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
		}
	}
	b = append(b, "\r\n"...)
	if request.Body == nil {
		return b, nil
	}
	defer request.Body.Close()
	head := len(b)
	b = append(b, make([]byte, request.ContentLength)...)
	_, err := io.ReadFull(request.Body, b[head:])
	return b, err
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
	raw     *socket
	address string
	reused  bool
	stop    func() bool   // ends the watch over the call's context
	in      *bufio.Reader // while an answer is read
	left    int64         // bytes that may still be read of it
	broken  error         // why the request could not be written to its end
	since   time.Time     // since when it is idle
	count   *connCount    // that it is open
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

// wireBody is an answer's body. Its end gives the connection back.
type wireBody struct {
	io.ReadCloser
	wire *wire
	conn *wireConn
	keep bool // the connection can be used again, once this was read to its end
	end  bool
}

// Read notes the end.
func (b *wireBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.end = b.end || err == io.EOF
	return n, err
}

// Close gives the connection back, or closes it.
func (b *wireBody) Close() error {
	c := b.conn
	if c == nil {
		return nil
	}
	b.conn = nil
	quiet := c.stop() && c.in.Buffered() == 0
	if !b.end || !b.keep || !quiet || c.broken != nil {
		c.close()
		return nil
	}
	c.in.Reset(nil)
	b.wire.readers.Put(c.in)
	c.in, c.stop = nil, nil
	b.wire.idle.put(c)
	return nil
}
