package wallet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The example of RFC 9901, sections 4.2.1 and 4.2.3.
const (
	rfcDisclosure = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
	rfcDigest     = "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"
)

func TestDisclose(t *testing.T) {
	payload := func(digests ...any) map[string]any {
		return map[string]any{"iss": "x", "_sd": digests, "_sd_alg": "sha-256"}
	}
	got, err := disclose(payload(rfcDigest, "decoy"), []string{rfcDisclosure})
	if err != nil || got["family_name"] != "Möbius" || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for name, c := range map[string]struct {
		payload     map[string]any
		disclosures []string
	}{
		"no digest":        {payload("other"), []string{rfcDisclosure}},
		"twice":            {payload(rfcDigest), []string{rfcDisclosure, rfcDisclosure}},
		"digest twice":     {payload(rfcDigest, rfcDigest), nil},
		"digest no string": {payload(1.0), nil},
		"other hash":       {map[string]any{"_sd_alg": "sha-512"}, nil},
		"claim taken":      {map[string]any{"family_name": "x", "_sd": []any{rfcDigest}}, []string{rfcDisclosure}},
	} {
		if _, err := disclose(c.payload, c.disclosures); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	for _, three := range []string{`{}`, `["AAAAAAAAAAAAAAAAAAAAAA","iss"]`, `["short","a",1]`, `[1,"a",1]`} {
		if _, _, err := readDisclosure(base64.RawURLEncoding.EncodeToString([]byte(three))); err == nil {
			t.Errorf("the disclosure %s is not refused", three)
		}
	}
}

const issuerURL = "https://a.example/o/acme"

// signed makes a credential; its parts may be altered.
type signed struct {
	key, certKey *ecdsa.PrivateKey
	typ, kid     string
	uri          string
	selfSigned   bool
	bare         bool // without its certificate
	ending       string
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s signed) make(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(s.uri)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "leaf"}, URIs: []*url.URL{u}}
	parent := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "anchor"}}
	if s.selfSigned {
		parent = leaf
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, &s.certKey.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(s.typ))
	if !s.bare {
		options.WithHeader("x5c", [][]byte{der})
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(`{"iss":"` + issuerURL + `","_sd":["` + rfcDigest + `"]}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text + "~" + rfcDisclosure + s.ending
}

func TestOpen(t *testing.T) {
	key, other := newKey(t), newKey(t)
	keys := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k"}}}
	good := signed{key: key, certKey: key, typ: "dc+sd-jwt", uri: issuerURL, ending: "~"}
	byKid := good
	byKid.bare, byKid.kid = true, "k"
	for _, text := range []string{good.make(t), byKid.make(t)} {
		if claims, err := open(text, issuerURL, keys); err != nil || claims["family_name"] != "Möbius" {
			t.Errorf("%v, %v", claims, err)
		}
	}
	for name, change := range map[string]func(*signed){
		"other typ":         func(s *signed) { s.typ = "JWT" },
		"unknown kid":       func(s *signed) { s.bare, s.kid = true, "x" },
		"no kid":            func(s *signed) { s.bare = true },
		"unpublished key":   func(s *signed) { s.key, s.certKey = other, other },
		"signed by another": func(s *signed) { s.key = other },
		"other certificate": func(s *signed) { s.certKey = other },
		"other SAN":         func(s *signed) { s.uri = "https://b.example" },
		"self-signed leaf":  func(s *signed) { s.selfSigned = true },
		"no closing tilde":  func(s *signed) { s.ending = "" },
		"cut short":         func(s *signed) { s.ending = "A~" },
	} {
		bad := good
		change(&bad)
		if _, err := open(bad.make(t), issuerURL, keys); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	for _, text := range []string{"", "~", "a~b~", "a.b.c~"} {
		if _, err := open(text, issuerURL, keys); err == nil {
			t.Errorf("%q is not refused", text)
		}
	}
}

func TestBinding(t *testing.T) {
	key, other := newKey(t), newKey(t)
	cnf := func(k any) map[string]any {
		text, err := json.Marshal(jose.JSONWebKey{Key: k})
		if err != nil {
			t.Fatal(err)
		}
		var jwk any
		if err := json.Unmarshal(text, &jwk); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"cnf": map[string]any{"jwk": jwk}}
	}
	if !boundTo(cnf(&key.PublicKey), &key.PublicKey) {
		t.Error("the wallet's own key is refused")
	}
	for _, bad := range []map[string]any{{}, {"cnf": "x"}, cnf(&other.PublicKey), cnf(key)} {
		if boundTo(bad, &key.PublicKey) {
			t.Errorf("bound to %v", bad)
		}
	}
	now := time.Unix(1000, 0)
	for name, claims := range map[string]map[string]any{
		"future": {"iat": 1001.0}, "not yet": {"nbf": 1001.0}, "expired": {"exp": 1000.0},
	} {
		if due(claims, now) {
			t.Errorf("%s: taken", name)
		}
	}
	if !due(map[string]any{"iat": 1000.0, "exp": 1001.0, "nbf": 1000.0}, now) {
		t.Error("a credential that is due is refused")
	}
}

// far is the far side: it answers every request with the same.
type far struct {
	status int
	body   string
	err    error
}

func (f far) RoundTrip(*http.Request) (*http.Response, error) {
	if f.err != nil {
		return nil, f.err
	}
	return &http.Response{StatusCode: f.status, Body: io.NopCloser(strings.NewReader(f.body)),
		Header: http.Header{"Www-Authenticate": {"Bearer"}}}, nil
}

// What an issuer answers is told as it is; an offer's address is in no error.
func TestErrors(t *testing.T) {
	const secret = "https://a.example/o/acme/offers/SECRET"
	for _, f := range []far{
		{status: 404, body: `{"error":"not_found","error_description":"Gone."}`}, {status: 500, body: "<html>"},
		{status: 200, body: "x"}, {status: 200, body: "{}"}, {err: errors.New("no route")},
	} {
		w := New(&http.Client{Transport: f}, newKey(t))
		_, err := w.Claim(t.Context(), "openid-credential-offer://?credential_offer_uri="+url.QueryEscape(secret))
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v: %v", f, err)
		}
		if p, ok := errors.AsType[*ProtocolError](err); f.status >= 400 && (!ok || p.Status != f.status || p.Challenge != "Bearer") {
			t.Errorf("%v: %v", f, err)
		}
	}
	for _, bad := range []string{"http://[", "", "::"} {
		if _, err := New(&http.Client{Transport: far{status: 200, body: "{}"}}, newKey(t)).ResolveOffer(t.Context(), bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
