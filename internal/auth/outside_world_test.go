package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/internal/auth"

	"github.com/go-jose/go-jose/v4"
)

const (
	realm    = "https://login.example/realms/main"
	audience = "https://tidings.example/me-creds/api"
)

// realmKeys are the keys of the tests' issuers, by algorithm; each has a second.
var realmKeys = sync.OnceValue(func() map[jose.SignatureAlgorithm][2]jose.JSONWebKey {
	out := map[jose.SignatureAlgorithm][2]jose.JSONWebKey{}
	for alg, make := range map[jose.SignatureAlgorithm]func() (crypto.Signer, error){
		jose.RS256: func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		jose.PS256: func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		jose.ES256: func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		jose.EdDSA: func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err },
	} {
		var pair [2]jose.JSONWebKey
		for i := range pair {
			key, err := make()
			if err != nil {
				panic(err)
			}
			pair[i] = jose.JSONWebKey{Key: key, KeyID: string(alg) + "-" + string(rune('1'+i)), Algorithm: string(alg), Use: "sig"}
		}
		out[alg] = pair
	}
	return out
})

// realmIssuer is an outside issuer that can misbehave. It carries requests to
// itself.
type realmIssuer struct {
	mu       sync.Mutex
	metadata map[string]any
	keys     any                         // the key set
	routes   map[string]http.HandlerFunc // by path, instead of the usual
	down     error
	instead  http.RoundTripper // answers all, where it is set
	asked    int               // for the key set
}

func newRealm(keys ...jose.JSONWebKey) *realmIssuer {
	i := &realmIssuer{routes: map[string]http.HandlerFunc{}}
	i.metadata = map[string]any{"issuer": realm, "jwks_uri": realm + "/certs", "token_endpoint": realm + "/token"}
	i.publish(keys...)
	return i
}

// change changes the issuer.
func (i *realmIssuer) change(what func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	what()
}

func (i *realmIssuer) publish(keys ...jose.JSONWebKey) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range keys {
		set.Keys = append(set.Keys, key.Public())
	}
	i.change(func() { i.keys = set })
}

func (i *realmIssuer) fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// RoundTrip answers a request.
func (i *realmIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	if i.instead != nil {
		return i.instead.RoundTrip(r)
	}
	i.mu.Lock()
	down, route := i.down, i.routes[r.URL.Path]
	if r.URL.Path == "/realms/main/certs" {
		i.asked++
	}
	var body any
	switch r.URL.String() {
	case realm + "/.well-known/openid-configuration":
		body = i.metadata
	case realm + "/certs":
		body = i.keys
	}
	text, err := json.Marshal(body)
	i.mu.Unlock()
	if down != nil || err != nil {
		return nil, down
	}
	w := httptest.NewRecorder()
	switch {
	case route != nil:
		route(w, r)
	case body == nil:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Write(text)
	}
	if err := r.Context().Err(); err != nil { // it took too long
		return nil, err
	}
	return w.Result(), nil
}

// organisations is a store that has these.
type organisations []string

func (o organisations) OrganisationBySlug(_ context.Context, slug string) (tidings.Organisation, error) {
	for i, have := range o {
		if have == slug {
			return tidings.Organisation{Key: int64(i + 1), Slug: slug}, nil
		}
	}
	return tidings.Organisation{}, tidings.NotFound("organisation", slug)
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write keeps a line.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String gives all lines.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// outsideWorld is a checker of the realm's tokens, at work.
type outsideWorld struct {
	*auth.Outside
	realm *realmIssuer
	log   *lines
	stop  func()
}

// inBubble runs a test with a checker whose time is the bubble's.
func inBubble(t *testing.T, i *realmIssuer, change func(*auth.OutsideConfig), test func(*testing.T, *outsideWorld)) {
	t.Helper()
	realmKeys()
	synctest.Test(t, func(t *testing.T) {
		w := &outsideWorld{realm: i, log: &lines{}}
		cfg := auth.OutsideConfig{Issuer: realm, Audience: audience, Log: slog.New(slog.NewTextHandler(w.log, nil))}
		if change != nil {
			change(&cfg)
		}
		var err error
		if w.Outside, err = auth.NewOutside(cfg, organisations{"default", "acme"}); err != nil {
			t.Fatal(err)
		}
		w.Through(i)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		w.stop = func() {
			cancel()
			<-done
		}
		defer w.stop()
		synctest.Wait()
		test(t, w)
	})
}

// claimsNow are those of a good token.
func claimsNow(change func(map[string]any)) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": realm, "aud": []string{"account", audience}, "exp": now + 300, "iat": now, "jti": "a", "sub": "service-account",
		"azp": "shop", "typ": "Bearer", "scope": "email profile publish read", "organisation": "acme",
	}
	if change != nil {
		change(c)
	}
	return c
}

// signed gives a good token, or one with other claims.
func signed(t *testing.T, key jose.JSONWebKey, change func(map[string]any)) string {
	t.Helper()
	return forge(t, jose.SignatureAlgorithm(key.Algorithm), key, "JWT", claimsNow(change))
}

// set changes one claim; nil deletes it.
func set(name string, value any) func(map[string]any) {
	return func(c map[string]any) {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
}
