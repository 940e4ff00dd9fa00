package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	maxDocument  = 256 << 10        // of an issuer's answer
	documentLife = 10 * time.Second // for one request, all told
)

// newClient gives a client for an issuer's documents. It follows no redirect:
// who speaks for the issuer is what the configuration says.
func newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:       documentLife,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: documentLife / 2}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    documentLife / 2,
			MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives:      true, // there are minutes between two requests
		},
	}
}

// metadata is what is read of an issuer's own description.
type metadata struct {
	Issuer        string `json:"issuer"`
	JWKSURI       string `json:"jwks_uri"`
	TokenEndpoint string `json:"token_endpoint"`
}

// fetchRing asks an issuer who it is and for its keys.
func fetchRing(ctx context.Context, client *http.Client, issuer string) (*ring, error) {
	m, err := discover(ctx, client, issuer)
	if err != nil {
		return nil, err
	}
	if m.Issuer != issuer {
		return nil, fmt.Errorf("the issuer calls itself %.200q, not %q: auth-issuer must be exactly what it says", m.Issuer, issuer)
	}
	if err := checkURL(m.JWKSURI); err != nil {
		return nil, fmt.Errorf("its jwks_uri %w", err)
	}
	if strings.HasPrefix(issuer, "https:") && !strings.HasPrefix(m.JWKSURI, "https:") {
		return nil, errors.New("its jwks_uri is not https, as the issuer is")
	}
	text, err := fetch(ctx, client, m.JWKSURI)
	if err != nil {
		return nil, fmt.Errorf("fetching its keys: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, err
	}
	if checkURL(m.TokenEndpoint) != nil { // shown to people
		m.TokenEndpoint = ""
	}
	return &ring{keys: keys, tokenEndpoint: m.TokenEndpoint}, nil
}

// discover reads an issuer's description: OpenID Connect Discovery, section 4,
// or where there is none RFC 8414, section 3.
func discover(ctx context.Context, client *http.Client, issuer string) (m metadata, err error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return m, err
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	text, err := fetch(ctx, client, origin+path+"/.well-known/openid-configuration")
	if status, ok := errors.AsType[statusError](err); ok && status >= 400 && status < 500 {
		text, err = fetch(ctx, client, origin+"/.well-known/oauth-authorization-server"+path)
	}
	if err != nil {
		return m, fmt.Errorf("fetching its description: %w", err)
	}
	if json.Unmarshal(text, &m) != nil {
		return m, errors.New("its description is not a JSON object with issuer and jwks_uri")
	}
	return m, nil
}

// statusError is an answer other than 200.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("the answer has status %d", int(s)) }

// fetch gets a JSON document of bounded size. Errors repeat nothing of it.
func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %w", address, statusError(answer.StatusCode))
	}
	media, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return nil, fmt.Errorf("%s: the answer is not JSON", address)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	if len(text) > maxDocument {
		return nil, fmt.Errorf("%s: the answer is over 256 KiB", address)
	}
	return text, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
