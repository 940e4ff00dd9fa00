package egress

import "time"

// Code says why a call has no whole answer. The set is closed: see [Codes].
type Code string

// The codes. A call with a whole answer, of whatever status, has none.
const (
	CodeDNS      Code = "dns"      // the host's name could not be resolved
	CodeConnect  Code = "connect"  // no TCP connection, or the proxy made none
	CodeTLS      Code = "tls"      // no TLS, or a certificate that is not believed
	CodeTimeout  Code = "timeout"  // the deadline came first
	CodeBlocked  Code = "blocked"  // the URL or its address is refused by the Guard
	CodeClosed   Code = "closed"   // the connection broke before the answer was whole
	CodeProtocol Code = "protocol" // what came is not HTTP, or its headers are too large
	CodeCanceled Code = "canceled" // the caller gave up
)

// Codes lists every code, for those who count by it.
var Codes = []Code{CodeDNS, CodeConnect, CodeTLS, CodeTimeout, CodeBlocked, CodeClosed, CodeProtocol, CodeCanceled}

// Result is what a call gave. StatusCode is 0 where no answer came. Where both
// StatusCode and Code are set, the status arrived, but the body did not end.
type Result struct {
	StatusCode int
	RetryAfter string // the header Retry-After as it came, at most 128 bytes
	Date       string // the header Date likewise; Retry-After may be relative to it
	// Excerpt is the start of the body, at most MaxExcerpt bytes: a stranger's,
	// perhaps cut inside of a character, and never decompressed.
	Excerpt []byte

	Code Code
	// Error is a sentence for the endpoint's owner, empty where Code is. It
	// holds nothing of the URL, no address and no header.
	Error string
	// Cause is the error behind Code, for this server's own log: it may name
	// addresses, and quote up to 512 bytes of what a stranger sent. It holds
	// no part of the URL but its host and port.
	Cause error

	Timing Timing
}

// Timing says where the time of a call went. Steps that did not happen are 0.
// Where a call had to wait for a connection, the steps are those of the
// connection that it made, even if it got another one that became free first.
type Timing struct {
	DNS     time.Duration // resolving the name
	Connect time.Duration // making the TCP connection
	TLS     time.Duration // the handshake
	Wait    time.Duration // from the sent request to the first byte of the answer
	Total   time.Duration // from the call's start to its end, with the body
	Reused  bool          // an idle connection was used
}
