package egress

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"
)

// The defaults of [Config].
const (
	DefaultTimeout        = 15 * time.Second
	DefaultDialTimeout    = 10 * time.Second
	DefaultMaxHeaderBytes = 32 << 10
	DefaultMaxIdle        = 2000
	DefaultMaxIdlePerHost = 512
	DefaultIdleTime       = 90 * time.Second
)

// Config says whom the client may call, and how. The zero Config calls public
// addresses on any port and trusts the system's roots.
type Config struct {
	// Allow lists networks that may be dialled although they are not public.
	// Name them narrowly: whoever may register an endpoint reaches all of it.
	Allow []netip.Prefix
	// Ports are the only ports that may be dialled; empty means any.
	Ports []uint16
	// RootCAs are the authorities whose certificates are believed; nil means
	// the system's. LoadRoots adds a file to those.
	RootCAs *x509.CertPool
	// Proxy is an outgoing proxy (http, https, socks5 or socks5h), nil for
	// none; that of the environment is never used. The proxy's own address
	// is not judged. Names are then resolved by the proxy, so that it is the
	// proxy that must keep requests out of private networks: here only
	// addresses and localhost written in the URL itself are still refused.
	Proxy *url.URL
	// Resolver looks names up; nil means net.DefaultResolver.
	Resolver *net.Resolver

	// Timeout bounds a call whose context has no deadline.
	// 0 means DefaultTimeout.
	Timeout time.Duration
	// DialTimeout bounds each of the two steps to a new connection, TCP (with
	// the name's resolution) and TLS. Both go on when the call that wanted
	// the connection has ended, because the next one may want it, too.
	// 0 means DefaultDialTimeout.
	DialTimeout time.Duration
	// MaxHeaderBytes bounds an answer's headers. 0 means DefaultMaxHeaderBytes.
	MaxHeaderBytes int64
	// MaxIdle bounds the idle connections that are kept (24 to 32 kB each),
	// MaxIdlePerHost those to one host, IdleTime how long one is kept.
	// 0 means DefaultMaxIdle, DefaultMaxIdlePerHost, DefaultIdleTime.
	MaxIdle        int
	MaxIdlePerHost int
	IdleTime       time.Duration
}

// withDefaults fills in what is not set and reports all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	var problems []error
	positive := func(name string, value int64) {
		if value < 0 {
			problems = append(problems, fmt.Errorf("egress: %s is negative", name))
		}
	}
	positive("Timeout", int64(c.Timeout))
	positive("DialTimeout", int64(c.DialTimeout))
	positive("MaxHeaderBytes", c.MaxHeaderBytes)
	positive("MaxIdle", int64(c.MaxIdle))
	positive("MaxIdlePerHost", int64(c.MaxIdlePerHost))
	positive("IdleTime", int64(c.IdleTime))
	if c.Proxy != nil {
		switch c.Proxy.Scheme {
		case "http", "https", "socks5", "socks5h":
		default:
			problems = append(problems, fmt.Errorf("egress: the proxy's scheme is %q, not http, https, socks5 or socks5h", c.Proxy.Scheme))
		}
		if c.Proxy.Hostname() == "" {
			problems = append(problems, errors.New("egress: the proxy's URL has no host"))
		}
	}
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.DialTimeout, DefaultDialTimeout)
	setDefault(&c.MaxHeaderBytes, DefaultMaxHeaderBytes)
	setDefault(&c.MaxIdle, DefaultMaxIdle)
	setDefault(&c.MaxIdlePerHost, DefaultMaxIdlePerHost)
	setDefault(&c.IdleTime, DefaultIdleTime)
	return c, errors.Join(problems...)
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// LoadRoots gives the system's roots and those in a PEM file on top of them.
// A file without a certificate is an error.
func LoadRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read extra roots: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's roots: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read extra roots: %s holds no PEM certificate", path)
	}
	return pool, nil
}
