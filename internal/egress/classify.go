package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// classify gives the code of err and a sentence for the endpoint's owner. The
// sentences are fixed: err's own text may hold addresses of this network and
// what a stranger wrote. ended is why the call might go on no longer, nil where
// it still might.
func classify(ended, err error, tlsFailed, answered bool) (Code, string) {
	var (
		urlError *URLError
		dnsError *net.DNSError
		opError  *net.OpError
		netError net.Error
	)
	switch {
	case errors.As(err, &urlError):
		return CodeBlocked, urlError.Sentence
	case errors.Is(err, ErrBlocked):
		return CodeBlocked, "The host's address is not on the public internet: webhooks do not go there."
	case errors.Is(ended, context.Canceled):
		return CodeCanceled, "The attempt was given up before it ended."
	case ended != nil:
		return CodeTimeout, timeoutSentence(answered)
	case errors.As(err, &dnsError):
		if dnsError.IsNotFound {
			return CodeDNS, "The host's name has no address."
		}
		return CodeDNS, "The host's name could not be resolved."
	case errors.As(err, &netError) && netError.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return CodeTimeout, timeoutSentence(answered)
	case errors.Is(err, errProxyRefused), errors.As(err, &opError) && isConnect(opError.Op):
		return CodeConnect, connectSentence(err, opError)
	case tlsFailed, errors.As(err, &opError) && opError.Op == "remote error":
		// The second is an alert after the handshake, as TLS 1.3 sends where a
		// client certificate is wanted.
		return CodeTLS, tlsSentence(err)
	case isBroken(err):
		if answered {
			return CodeClosed, "The connection was closed before the answer's body was whole."
		}
		return CodeClosed, "The connection was closed before an answer came."
	case strings.Contains(err.Error(), "headers exceeded"):
		return CodeProtocol, "The answer's headers are too large."
	default:
		return CodeProtocol, "The answer is not valid HTTP/1.1."
	}
}

func timeoutSentence(answered bool) string {
	if answered {
		return "The status came, but the answer's body did not end in time."
	}
	return "No answer came in time."
}

// isConnect tells whether op is the making of a connection, by a proxy too.
func isConnect(op string) bool {
	return op == "dial" || op == "proxyconnect" || strings.HasPrefix(op, "socks")
}

func connectSentence(err error, op *net.OpError) string {
	switch {
	case op == nil || op.Op != "dial":
		return "The outgoing proxy made no connection to the host."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "The host refused the connection."
	default:
		return "No connection to the host could be made."
	}
}

func tlsSentence(err error) string {
	var (
		hostname  x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &hostname):
		return "The certificate is not for the URL's host."
	case errors.As(err, &authority):
		return "The certificate is not signed by a trusted authority; is an intermediate certificate missing?"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "The certificate has expired or is not valid yet."
	case errors.As(err, &invalid):
		return "The certificate is not valid for a server."
	case errors.As(err, &record):
		return "The host does not speak TLS on this port."
	default:
		return "The TLS handshake failed."
	}
}

// isBroken tells whether err is a connection that the other side ended.
func isBroken(err error) bool {
	for _, known := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, io.ErrClosedPipe,
		syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return isIdleClosed(err)
}

// isIdleClosed tells whether net/http gave up a request because the server had
// closed the idle connection before the request got to it. net/http does not
// export that error, and repeats the request by itself only if its method is
// idempotent, although it never wrote any of it.
func isIdleClosed(err error) bool {
	return errors.Is(err, errIdleClosed) || err != nil && err.Error() == "http: server closed idle connection"
}

// boundedError keeps what a stranger wrote from flooding a log.
type boundedError struct{ err error }

func (e boundedError) Error() string {
	const most = 512
	if text := e.err.Error(); len(text) > most {
		return text[:most] + "…"
	}
	return e.err.Error()
}

func (e boundedError) Unwrap() error { return e.err }
