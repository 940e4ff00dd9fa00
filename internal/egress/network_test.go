package egress

import (
	"bufio"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// noBody answers 204 to everything.
func noBody(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// TestNamesAreJudgedWhenDialled: what a name resolves to decides, not its look,
// and on every dial anew.
func TestNamesAreJudgedWhenDialled(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, noBody)
	_, port, err := net.SplitHostPort(r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var rebound atomic.Bool
	resolver := nameServer(t, func(name string) []string {
		switch {
		case name == "receiver.test" && rebound.Load():
			return []string{"127.0.0.2"}
		case name == "receiver.test":
			return []string{"127.0.0.1"}
		case name == "metadata.test":
			return []string{"169.254.169.254", "10.0.0.1"}
		}
		return nil
	})
	post := func(client *Client, host string) Result {
		return client.Post(within(t, patience), "https://"+host+":"+port+"/?token=hidden", nil, []byte("{}"))
	}
	blocked := expectation{0, CodeBlocked, "public internet"}
	strict := newClient(t, a, func(c *Config) { c.Allow, c.Resolver = nil, resolver })
	allowing := newClient(t, a, func(c *Config) { c.Resolver = resolver })

	blocked.check(t, post(strict, "receiver.test"))
	blocked.check(t, post(strict, "metadata.test"))
	blocked.check(t, post(strict, "localhost"))
	blocked.check(t, post(strict, "127.0.0.1"))
	if n := r.conns.Load(); n != 0 {
		t.Fatalf("%d connections were made", n)
	}
	blocked.check(t, post(allowing, "metadata.test"))
	expectation{0, CodeDNS, "has no address"}.check(t, post(allowing, "missing.test"))
	ok := expectation{204, "", ""}
	result := post(allowing, "receiver.test")
	ok.check(t, result)
	if result.Timing.DNS <= 0 {
		t.Errorf("%+v", result.Timing)
	}
	ok.check(t, post(allowing, "localhost"))

	rebound.Store(true)
	ok.check(t, post(allowing, "receiver.test")) // the connection that was judged
	allowing.CloseIdle()
	result = post(allowing, "receiver.test")
	blocked.check(t, result)
	if b, ok := errors.AsType[*BlockedError](result.Cause); !ok || b.Addr != netip.MustParseAddr("127.0.0.2") {
		t.Errorf("the log does not learn the address: %v", result.Cause)
	}
}

func TestBrokenNameServer(t *testing.T) {
	a := newAuthority(t)
	client := newClient(t, a, func(c *Config) {
		c.Resolver = &net.Resolver{PreferGo: true, Dial: failingDial}
	})
	expectation{0, CodeDNS, "could not be resolved"}.check(t, client.Post(within(t, patience), "https://receiver.test/", nil, nil))
}

func TestPorts(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, noBody)
	client := newClient(t, a, func(c *Config) { c.Ports = []uint16{443} })
	expectation{0, CodeBlocked, "is not allowed here"}.check(t, client.Post(within(t, patience), r.URL, nil, nil))
}

// TestEnvironmentIsIgnored: only the configuration names a proxy.
func TestEnvironmentIsIgnored(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, noBody)
	trap := "http://" + rawServer(t, func(net.Conn) { t.Error("the environment's proxy was asked") })
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, trap)
	}
	t.Setenv("NO_PROXY", "")
	expectation{204, "", ""}.check(t, newClient(t, a, nil).Post(within(t, patience), r.URL, nil, nil))
}

// connectProxy is an HTTP proxy that sends every CONNECT to target, or refuses
// it where target is empty. It counts its connections.
func connectProxy(t *testing.T, target string, asked *atomic.Value) *url.URL {
	addr := rawServer(t, func(client net.Conn) {
		reader := bufio.NewReader(client)
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		asked.Store(request.Method + " " + request.Host + " " + request.Header.Get("Proxy-Authorization"))
		if target == "" {
			io.WriteString(client, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			return
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(client, server)
			client.Close()
		}()
		io.Copy(server, reader)
		server.Close()
		<-done
	})
	return &url.URL{Scheme: "http", Host: addr, User: url.UserPassword("u", "hidden")}
}

func TestProxy(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, noBody)
	var asked atomic.Value
	open := connectProxy(t, r.Listener.Addr().String(), &asked)
	// Loopback is not allowed: the proxy is dialled all the same.
	client := newClient(t, a, func(c *Config) { c.Allow, c.Proxy = nil, open })
	expectation{204, "", ""}.check(t, client.Post(within(t, patience), "https://receiver.test/?token=hidden", nil, []byte("{}")))
	if got := asked.Load(); got != "CONNECT receiver.test:443 Basic dTpoaWRkZW4=" {
		t.Errorf("the proxy was asked %q", got)
	}
	for _, host := range []string{"127.0.0.1", "10.0.0.1", "[::ffff:10.0.0.1]", "localhost"} {
		expectation{0, CodeBlocked, "public internet"}.check(t, client.Post(within(t, patience), "https://"+host+"/?token=hidden", nil, nil))
	}
	if open, _, made := client.Connections(); open != 1 || made != 1 {
		t.Errorf("%d connections are open and %d were made, want 1", open, made)
	}
	client.CloseIdle()
	if open, _, _ := client.Connections(); open != 0 {
		t.Errorf("%d connections are open after all were closed", open)
	}
	refusing := newClient(t, a, func(c *Config) { c.Proxy = connectProxy(t, "", &asked) })
	expectation{0, CodeConnect, "proxy"}.check(t, refusing.Post(within(t, patience), "https://receiver.test/?token=hidden", nil, nil))
}

func TestNewReportsAllMistakes(t *testing.T) {
	_, err := New(Config{
		Allow: []netip.Prefix{{}}, Proxy: &url.URL{Scheme: "ftp"},
		Timeout: -1, DialTimeout: -1, MaxHeaderBytes: -1, MaxIdle: -1, MaxIdlePerHost: -1, IdleTime: -1,
	})
	if err == nil {
		t.Fatal("everything is wrong and nothing is said")
	}
	for _, want := range []string{"network", "scheme", "no host", "Timeout", "DialTimeout", "MaxHeaderBytes", "MaxIdle ", "MaxIdlePerHost", "IdleTime"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing: %v", want, err)
		}
	}
}

func TestProxyAddress(t *testing.T) {
	for raw, want := range map[string]string{
		"http://proxy": "proxy:80", "https://proxy": "proxy:443", "socks5://proxy": "proxy:1080",
		"socks5h://proxy:9": "proxy:9", "http://[::1]": "[::1]:80",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := proxyAddress(u); got != want {
			t.Errorf("%s: %s", raw, got)
		}
	}
}

func TestLoadRoots(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, noBody)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	pool, err := LoadRoots(good)
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(t, a, func(c *Config) { c.RootCAs = pool })
	expectation{204, "", ""}.check(t, client.Post(within(t, patience), r.URL, nil, nil))
	for _, path := range []string{filepath.Join(dir, "missing"), write("empty.pem", nil), write("text.pem", []byte("hello"))} {
		if _, err := LoadRoots(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
