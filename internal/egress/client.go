package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Bounds of what is read of an answer's body.
const (
	// MaxExcerpt is how many bytes of an answer's body are kept.
	MaxExcerpt = 4 << 10
	// MaxDrain is how many bytes are read so that the connection can be used
	// again; that of a longer answer is closed.
	MaxDrain = 64 << 10
)

// Sizes that memory depends on.
const (
	connBufferSize  = 4 << 10 // of each direction of each connection; a webhook fits
	sessionCacheLen = 2048    // TLS sessions kept to be resumed
	maxHeaderKept   = 128     // bytes of an answer's header that a Result repeats
	maxIdleRetries  = 3       // idle connections found closed, before a call gives up
)

var errProxyRefused = errors.New("the outgoing proxy refused the connection")

// Client posts to URLs that strangers chose. Any number of goroutines may use
// it. It never limits the connections to one host: the caller does, where it
// knows whose they are.
type Client struct {
	guard     *Guard
	places    places
	wire      *wire             // nil where requests go out by a proxy
	transport http.RoundTripper // by which they then do
	closeIdle func()
	idle      func() int
	count     *connCount
	timeout   time.Duration
	scratch   sync.Pool // *[MaxExcerpt]byte
}

// New makes a Client. The error names every mistake in config.
func New(config Config) (*Client, error) {
	config, err := config.withDefaults()
	guard, guardErr := NewGuard(config.Allow, config.Ports)
	if err := errors.Join(err, guardErr); err != nil {
		return nil, err
	}
	client := &Client{guard: guard, timeout: config.Timeout, scratch: sync.Pool{New: func() any { return new([MaxExcerpt]byte) }}, count: &connCount{}}
	if config.Proxy != nil {
		transport := newTransport(config, guard)
		transport.DialContext = client.count.counted(transport.DialContext)
		client.transport, client.closeIdle, client.idle = transport, transport.CloseIdleConnections, func() int { return 0 }
	} else {
		client.wire = newWire(config, guard, newTLS(config), client.count)
		client.closeIdle, client.idle = client.wire.idle.close, client.wire.idle.count
	}
	return client, nil
}

func newTLS(config Config) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            config.RootCAs,
		NextProtos:         []string{"http/1.1"}, // HTTP/2 would mix organisations on one host's connection
		ClientSessionCache: tls.NewLRUClientSessionCache(sessionCacheLen),
	}
}

// newTransport is for those who go out by a proxy.
func newTransport(config Config, guard *Guard) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		DialContext:            dialer(config, guard),
		TLSClientConfig:        newTLS(config),
		TLSHandshakeTimeout:    config.DialTimeout,
		Protocols:              protocols,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		DisableCompression:     true, // a compressed answer stays as it is: no bombs
		MaxResponseHeaderBytes: config.MaxHeaderBytes,
		MaxIdleConns:           config.MaxIdle,
		MaxIdleConnsPerHost:    config.MaxIdlePerHost,
		IdleConnTimeout:        config.IdleTime,
		ReadBufferSize:         connBufferSize,
		WriteBufferSize:        connBufferSize,
	}
	if config.Proxy != nil {
		transport.Proxy = http.ProxyURL(config.Proxy)
		transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK { // net/http's own error could be anybody's
				return fmt.Errorf("%w: %s", errProxyRefused, answer.Status)
			}
			return nil
		}
	}
	return transport
}

// dialer makes the one way out: guarded, but for the configured proxy.
func dialer(config Config, guard *Guard) func(context.Context, string, string) (net.Conn, error) {
	guarded := &net.Dialer{Timeout: config.DialTimeout, Resolver: config.Resolver, Control: guard.Control}
	if config.Proxy == nil {
		return guarded.DialContext
	}
	plain := &net.Dialer{Timeout: config.DialTimeout, Resolver: config.Resolver}
	proxy := proxyAddress(config.Proxy)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == proxy {
			return plain.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

// proxyAddress is the address that net/http dials for a proxy.
func proxyAddress(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	if port == "" {
		port = "1080" // socks5, socks5h
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// Guard gives the judgement of URLs and addresses that this client uses.
func (c *Client) Guard() *Guard { return c.guard }

// CloseIdle closes the idle connections. Calls in flight go on.
func (c *Client) CloseIdle() { c.closeIdle() }

// Connections tells how many connections are open, how many of them wait to be
// used again, and how many were made so far. Of those that go out by a proxy it
// is not known which wait.
func (c *Client) Connections() (open, idle int, made int64) {
	return int(c.count.open.Load()), c.idle(), c.count.made.Load()
}

// Post sends body to the https URL endpoint with the given headers and gives
// what came of it. It returns when the answer was read as far as it is read,
// or at the latest when ctx ends. The URL is judged as by [Guard.CheckURL].
//
// The request is sent at most once; only where an idle connection turns out to
// be closed before any byte was written is another one tried. Post does not
// change header or body, and nobody may change them after the call: a write
// that was cut off by the deadline can still be reading them.
func (c *Client) Post(ctx context.Context, endpoint string, header http.Header, body []byte) Result {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(c.timeout)
	}
	return c.PostUntil(ctx, deadline, endpoint, header, body)
}

// PostUntil is Post with a deadline beside that of ctx: to give each call a
// context of its own would cost more than the deadline of its connection.
func (c *Client) PostUntil(ctx context.Context, deadline time.Time, endpoint string, header http.Header, body []byte) Result {
	call := &call{deadline: deadline, header: header, body: body, times: recorder{start: time.Now()}}
	var result Result
	err := c.post(ctx, call, &result, endpoint)
	var tlsFailed bool
	result.Timing, tlsFailed = call.times.finish()
	if err != nil {
		result.Cause = boundedError{err}
		result.Code, result.Error = classify(call.ended(ctx), err, tlsFailed, result.StatusCode != 0)
	}
	return result
}

// call is one request on its way.
type call struct {
	place    *place
	header   http.Header
	body     []byte
	deadline time.Time
	times    recorder
}

// ended tells why the call may go on no longer; nil while it may.
func (c *call) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil || time.Now().Before(c.deadline) {
		return err
	}
	return context.DeadlineExceeded
}

func (c *Client) post(ctx context.Context, call *call, result *Result, endpoint string) (err error) {
	if err := call.ended(ctx); err != nil {
		return err
	}
	if call.place, err = c.places.find(c.guard, endpoint); err != nil {
		return err
	}
	if c.wire == nil {
		return c.postByProxy(ctx, call, result)
	}
	response, conn, err := c.wire.post(ctx, call)
	if err != nil {
		return err
	}
	whole, err := c.take(response, result)
	c.wire.release(conn, whole && !response.Close)
	return err
}

func (c *Client) postByProxy(ctx context.Context, call *call, result *Result) error {
	ctx, cancel := context.WithDeadline(ctx, call.deadline)
	defer cancel()
	// NewRequest sets GetBody, with which net/http can start again on a fresh
	// connection. It gets no URL, because that is parsed already.
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, call.times.trace()), http.MethodPost, "", bytes.NewReader(call.body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	request.URL, request.Host, request.Header = call.place.url, call.place.url.Host, onceOnly(call.header)
	response, err := c.roundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = c.take(response, result)
	return err
}

// take notes what an answer says. whole tells whether it was read to its end.
func (c *Client) take(response *http.Response, result *Result) (whole bool, err error) {
	result.StatusCode = response.StatusCode
	result.RetryAfter = keep(response.Header.Get("Retry-After"))
	result.Date = keep(response.Header.Get("Date"))
	if response.StatusCode == http.StatusSwitchingProtocols {
		// Its body would be the connection itself, which no deadline of ours reaches.
		return false, errors.New("the answer switches protocols")
	}
	result.Excerpt, whole, err = c.read(response)
	return whole, err
}

// roundTrip sends the request, once. It goes below http.Client, so that there
// are no redirects, no cookies, and no errors that repeat the URL.
func (c *Client) roundTrip(request *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		response, err := c.transport.RoundTrip(request)
		if !isIdleClosed(err) || try > maxIdleRetries || request.Context().Err() != nil {
			return response, err
		}
		body, bodyErr := request.GetBody()
		if bodyErr != nil {
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Body = body
	}
}

// onceOnly gives header in a form in which net/http repeats no request: it
// takes one with an idempotency key, which an endpoint's own headers may hold,
// for safe to send again after the server may have acted on it. It knows the
// keys by their canonical spelling only.
func onceOnly(header http.Header) http.Header {
	if header == nil {
		return http.Header{}
	}
	for _, key := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := header[key]; ok {
			header = header.Clone()
			delete(header, key)
			header[strings.ToLower(key)] = values
		}
	}
	return header
}

// read gives the start of the body, and reads on as far as that is cheaper than
// a new connection. whole tells whether it came to the end.
func (c *Client) read(response *http.Response) (excerpt []byte, whole bool, err error) {
	scratch := c.scratch.Get().(*[MaxExcerpt]byte)
	defer c.scratch.Put(scratch)
	n := 0
	for n < MaxExcerpt && err == nil { // not io.ReadFull: it hides whether the body was whole
		var m int
		m, err = response.Body.Read(scratch[n:])
		n += m
	}
	excerpt = append(excerpt, scratch[:n]...)
	for response.ContentLength <= MaxDrain && n < MaxDrain && err == nil {
		var m int
		m, err = response.Body.Read(scratch[:min(MaxExcerpt, MaxDrain-n)])
		n += m
	}
	if err == io.EOF {
		return excerpt, true, nil
	}
	return excerpt, false, err
}

// keep gives a short copy of a header's value, nothing of a long one.
func keep(value string) string {
	if len(value) > maxHeaderKept {
		return ""
	}
	return strings.Clone(value) // else it holds on to all of the headers
}
