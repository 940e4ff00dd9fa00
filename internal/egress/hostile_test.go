package egress

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// untilClosed blocks until the client closes the connection.
func untilClosed(conn net.Conn) { io.Copy(io.Discard, conn) }

// drip writes text again and again, a bit at a time, until the client is gone.
func drip(conn net.Conn, text string) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
	}
}

// answer reads the request and writes text.
func answer(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if readRequest(bufio.NewReader(conn)) {
			io.WriteString(conn, text)
		}
	}
}

// expectation is what a call must give, whoever is on the far side. Neither
// the sentence nor the cause holds anything of the URL's query.
type expectation struct {
	status int
	code   Code
	says   string // in the sentence
}

func (want expectation) check(t *testing.T, got Result) {
	t.Helper()
	if got.StatusCode != want.status || got.Code != want.code || !strings.Contains(got.Error, want.says) {
		t.Errorf("got %d %q %q (%v), want %+v", got.StatusCode, got.Code, got.Error, got.Cause, want)
	}
	if (got.Code == "") != (got.Error == "") || (got.Code == "") != (got.Cause == nil) {
		t.Errorf("code %q, sentence %q, cause %v", got.Code, got.Error, got.Cause)
	}
	if all := fmt.Sprintf("%+v %v", got, got.Cause); strings.Contains(all, "hidden") {
		t.Errorf("leaks: %s", all)
	}
	if strings.Contains(got.Error, "127.0.0") {
		t.Errorf("the sentence names an address: %s", got.Error)
	}
	if got.Cause != nil && len(got.Cause.Error()) > 600 {
		t.Errorf("the cause has %d bytes", len(got.Cause.Error()))
	}
}

const statusOK = "HTTP/1.1 200 OK\r\n"

// hostileReceivers is what may be on the far side, behind a good certificate.
var hostileReceivers = []struct {
	name   string
	handle func(net.Conn) // after the TLS handshake
	want   expectation
}{
	{"hangs", untilClosed, expectation{0, CodeTimeout, "in time"}},
	{"drips headers", func(c net.Conn) {
		answer(statusOK)(c)
		drip(c, "A: b\r\n")
	}, expectation{0, CodeTimeout, "in time"}},
	{"drips early hints", func(c net.Conn) { drip(c, "HTTP/1.1 103 Early Hints\r\n\r\n") }, expectation{0, CodeTimeout, "in time"}},
	{"drips a body", func(c net.Conn) {
		answer(statusOK + "Content-Length: 60000\r\n\r\n")(c)
		drip(c, "x")
	}, expectation{200, CodeTimeout, "body did not end"}},
	{"drips chunks", func(c net.Conn) {
		answer(statusOK + "Transfer-Encoding: chunked\r\n\r\n")(c)
		drip(c, "1\r\nx\r\n")
	}, expectation{200, CodeTimeout, "body did not end"}},
	{"hangs in the body", func(c net.Conn) {
		answer(statusOK + "Content-Length: 10\r\n\r\nabc")(c)
		untilClosed(c)
	}, expectation{200, CodeTimeout, "body did not end"}},
	{"cuts the body", answer(statusOK + "Content-Length: 10\r\n\r\nabc"), expectation{200, CodeClosed, "body was whole"}},
	{"cuts a chunk", answer(statusOK + "Transfer-Encoding: chunked\r\n\r\n5\r\nab"), expectation{200, CodeClosed, "body was whole"}},
	{"bad chunk", answer(statusOK + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), expectation{200, CodeProtocol, "not valid HTTP"}},
	{"closes at once", func(net.Conn) {}, expectation{0, CodeClosed, "before an answer"}},
	{"closes after the request", answer(""), expectation{0, CodeClosed, "before an answer"}},
	{"closes in the headers", answer(statusOK + "A: b"), expectation{0, CodeClosed, "before an answer"}},
	{"large header", answer(statusOK + "A: " + strings.Repeat("x", 2*DefaultMaxHeaderBytes) + "\r\n\r\n"), expectation{0, CodeProtocol, "too large"}},
	{"many headers", answer(statusOK + strings.Repeat("A: b\r\n", DefaultMaxHeaderBytes) + "\r\n"), expectation{0, CodeProtocol, "too large"}},
	{"endless status line", answer("HTTP/1.1 200 " + strings.Repeat("x", 2*DefaultMaxHeaderBytes)), expectation{0, CodeProtocol, "too large"}},
	{"garbage", answer("\x00\x01\x02 what?\r\n\r\n"), expectation{0, CodeProtocol, "not valid HTTP"}},
	{"SMTP", answer("220 mail.example ESMTP\r\n"), expectation{0, CodeProtocol, "not valid HTTP"}},
	{"long garbage", answer(strings.Repeat("\x00", 20_000) + "\r\n\r\n"), expectation{0, CodeProtocol, "not valid HTTP"}},
	{"HTTP/2 unasked", answer("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), expectation{0, CodeProtocol, "not valid HTTP"}},
	{"two lengths", answer(statusOK + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), expectation{0, CodeProtocol, "not valid HTTP"}},
	{"negative length", answer(statusOK + "Content-Length: -1\r\n\r\nab"), expectation{0, CodeProtocol, "not valid HTTP"}},
	{"switches protocols", func(c net.Conn) {
		answer("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")(c)
		untilClosed(c)
	}, expectation{101, CodeProtocol, "not valid HTTP"}},
	{"HTTP/1.0", answer("HTTP/1.0 200 OK\r\n\r\nto the end"), expectation{200, "", ""}},
	{"odd status", answer("HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n"), expectation{999, "", ""}},
}

func TestHostileReceivers(t *testing.T) {
	for _, row := range hostileReceivers {
		t.Run(row.name, func(t *testing.T) {
			a := newAuthority(t)
			addr := rawTLS(t, a.serverConfig(), row.handle)
			deadline := patience
			if row.want.code == CodeTimeout {
				deadline = 150 * time.Millisecond
			}
			ctx := within(t, deadline)
			result := newClient(t, a, nil).Post(ctx, "https://"+addr+"/?token=hidden", nil, []byte("{}"))
			row.want.check(t, result)
			if end, _ := ctx.Deadline(); row.want.code == CodeTimeout && time.Now().Before(end) {
				t.Error("gave up before the deadline")
			}
			if result.Timing.Total > patience/2 {
				t.Errorf("took %s", result.Timing.Total)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	hour := time.Now().Add(time.Hour)
	for _, row := range []struct {
		name   string
		config *tls.Config
		want   expectation
	}{
		{"good", &tls.Config{Certificates: []tls.Certificate{a.leaf(hour, "127.0.0.1")}}, expectation{200, "", ""}},
		{"unknown authority", &tls.Config{Certificates: []tls.Certificate{stranger.leaf(hour, "127.0.0.1")}}, expectation{0, CodeTLS, "trusted authority"}},
		{"expired", &tls.Config{Certificates: []tls.Certificate{a.leaf(time.Now().Add(-time.Minute), "127.0.0.1")}}, expectation{0, CodeTLS, "expired"}},
		{"other host", &tls.Config{Certificates: []tls.Certificate{a.leaf(hour, "example.com")}}, expectation{0, CodeTLS, "not for the URL's host"}},
		{"other address", &tls.Config{Certificates: []tls.Certificate{a.leaf(hour, "127.0.0.2")}}, expectation{0, CodeTLS, "not for the URL's host"}},
		{"no host", &tls.Config{Certificates: []tls.Certificate{a.leaf(hour)}}, expectation{0, CodeTLS, "not for the URL's host"}},
		{"self-signed", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{stranger.cert.Raw}, PrivateKey: stranger.key}}}, expectation{0, CodeTLS, ""}},
		{"TLS 1.1", &tls.Config{Certificates: []tls.Certificate{a.leaf(hour, "127.0.0.1")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, expectation{0, CodeTLS, "handshake failed"}},
		{"TLS 1.2", &tls.Config{Certificates: []tls.Certificate{a.leaf(hour, "127.0.0.1")}, MaxVersion: tls.VersionTLS12}, expectation{200, "", ""}},
		{"wants ours", &tls.Config{Certificates: []tls.Certificate{a.leaf(hour, "127.0.0.1")}, ClientAuth: tls.RequireAnyClientCert}, expectation{0, CodeTLS, "handshake failed"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := rawTLS(t, row.config, answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			row.want.check(t, newClient(t, a, nil).Post(within(t, patience), "https://"+addr+"/?token=hidden", nil, []byte("{}")))
		})
	}
}

func TestSystemRootsByDefault(t *testing.T) {
	a := newAuthority(t)
	addr := rawTLS(t, a.serverConfig(), answer(""))
	client := newClient(t, a, func(c *Config) { c.RootCAs = nil })
	result := client.Post(within(t, patience), "https://"+addr, nil, nil)
	expectation{0, CodeTLS, "trusted authority"}.check(t, result)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](result.Cause); !ok {
		t.Errorf("%v", result.Cause)
	}
}

// TestWithoutTLS: whoever is there, speaks something else or says nothing.
func TestWithoutTLS(t *testing.T) {
	a := newAuthority(t)
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	for _, row := range []struct {
		name, addr string
		want       expectation
	}{
		{"plain HTTP", rawServer(t, func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			untilClosed(c)
		}), expectation{0, CodeTLS, "does not speak TLS"}},
		{"closes in the handshake", rawServer(t, func(c net.Conn) { c.Read(make([]byte, 1)) }), expectation{0, CodeTLS, "handshake failed"}},
		{"hangs in the handshake", rawServer(t, untilClosed), expectation{0, CodeTimeout, "in time"}},
		{"nobody there", refused.Addr().String(), expectation{0, CodeConnect, "refused"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			// The handshake ends by its own clock, after the call, or else
			// the connection would be there for the next one.
			client := newClient(t, a, func(c *Config) { c.DialTimeout = 200 * time.Millisecond })
			ctx := within(t, patience)
			row.want.check(t, client.Post(ctx, "https://"+row.addr+"/?token=hidden", nil, []byte("{}")))
		})
	}
}
