package auth_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/auth"
	"tidings/internal/store"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// refused fails the test unless err says "unauthorized" without the token.
func refused(t *testing.T, name, token string, err error) {
	t.Helper()
	switch {
	case tidings.KindOf(err) != tidings.KindUnauthorized || err == nil:
		t.Errorf("%s: got %v, want a refusal", name, err)
	case len(token) > 10 && strings.Contains(err.Error(), token[:10]):
		t.Errorf("%s: the error repeats the token: %v", name, err)
	}
}

func TestCheckMalformed(t *testing.T) {
	w := newWorld(t)
	token := w.token(t)
	parts := strings.Split(token, ".")
	for name, bad := range map[string]string{
		"empty":            "",
		"word":             "hello",
		"two parts":        parts[0] + "." + parts[1],
		"four parts":       token + ".a",
		"no signature":     parts[0] + "." + parts[1] + ".",
		"other signature":  parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"changed payload":  parts[0] + "." + parts[1][:20] + "x" + parts[1][21:] + "." + parts[2],
		"JSON":             `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"white space":      " " + token,
		"very long":        strings.Repeat("a", 1<<20),
		"one byte in UTF8": token + "\xff",
	} {
		_, err := w.Check(t.Context(), bad)
		refused(t, name, bad, err)
	}
	if _, err := w.Check(t.Context(), token); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestCheckExpiry(t *testing.T) {
	w := newWorld(t)
	token := w.token(t)
	for _, step := range []time.Duration{0, 4 * time.Second, 295*time.Second + 999*time.Millisecond} {
		w.clock.advance(step)
		if _, err := w.Check(t.Context(), token); err != nil {
			t.Fatalf("before expires_in is over, at %v: %v", w.clock.Now(), err)
		}
	}
	w.clock.advance(time.Second) // the cache may not outlive the token
	_, err := w.Check(t.Context(), token)
	refused(t, "expired", token, err)
	if !strings.Contains(err.Error(), "expired") || !strings.Contains(err.Error(), auth.TokenPath) {
		t.Errorf("the sentence does not help: %v", err)
	}
	w.clock.advance(-time.Hour)
	_, err = w.service(t, publicURL, w.store).Check(t.Context(), token) // one that has not seen it
	refused(t, "from the future", token, err)
}

// A revocation by another process is seen once the five seconds are over.
func TestCheckRevocation(t *testing.T) {
	w := newWorld(t)
	token := w.token(t)
	vanished := w.forge(t, func(claims map[string]any) { claims["client_id"] = "client-gone" })
	if _, err := w.Check(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if err := w.store.RevokeClient(t.Context(), w.id); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(5 * time.Second)
	_, err := w.Check(t.Context(), token)
	refused(t, "revoked", token, err)
	_, err = w.Check(t.Context(), vanished) // as after a restore of the database
	refused(t, "a client that is not there", vanished, err)
}

// counting counts how often the client's row is read.
type counting struct {
	*store.Store
	reads atomic.Int64
}

func (c *counting) Client(ctx context.Context, id string) (tidings.Client, error) {
	c.reads.Add(1)
	return c.Store.Client(ctx, id)
}

func TestCheckReadsTheRowAtMostEveryFiveSeconds(t *testing.T) {
	w := newWorld(t)
	token := w.token(t)
	c := &counting{Store: w.store}
	service := w.service(t, publicURL, c)
	for range 10 {
		for range 100 {
			if _, err := service.Check(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		w.clock.advance(time.Second)
	}
	if n := c.reads.Load(); n != 2 {
		t.Errorf("the row was read %d times in 10 s, want 2", n)
	}
}

// key gives the service's own signing key, as a thief of the database has it.
func (w *world) key(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	text, err := w.store.Secret(t.Context(), "token-signing-key", nil)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

// keyID gives the kid of the published key.
func (w *world) keyID(t *testing.T) string {
	t.Helper()
	return w.certs(t).Keys[0].KeyID
}

func (w *world) certs(t *testing.T) jose.JSONWebKeySet {
	t.Helper()
	rec := httptest.NewRecorder()
	w.Certs(rec, httptest.NewRequest(http.MethodGet, auth.CertsPath, nil))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("key set %s: %v", rec.Body, err)
	}
	if !strings.Contains(rec.Header().Get("Cache-Control"), "max-age") {
		t.Errorf("the key set may not be cached: %v", rec.Header())
	}
	return set
}

// forge makes a token with the service's own key and other claims.
func (w *world) forge(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	return forge(t, jose.RS256, jose.JSONWebKey{Key: w.key(t), KeyID: w.keyID(t)}, "at+jwt", w.claims(t, change))
}

func (w *world) claims(t *testing.T, change func(map[string]any)) map[string]any {
	t.Helper()
	parsed, err := jwt.ParseSigned(w.token(t), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(claims)
	}
	return claims
}

func forge(t *testing.T, alg jose.SignatureAlgorithm, key any, typ jose.ContentType, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType(typ))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestPublishedKeyVerifiesTokens(t *testing.T) {
	w := newWorld(t)
	key := w.certs(t).Keys[0]
	if !key.IsPublic() || key.Algorithm != "RS256" || key.Use != "sig" {
		t.Errorf("published: %+v", key)
	}
	parsed, err := jwt.ParseSigned(w.token(t), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := parsed.Claims(key.Key, &claims); err != nil {
		t.Fatal(err)
	}
	if kid := parsed.Headers[0].KeyID; kid != key.KeyID {
		t.Errorf("kid %q, published %q", kid, key.KeyID)
	}
	for name, want := range map[string]any{
		"iss": publicURL + "/iam/realms/product-hub", "aud": publicURL + "/me-creds/api", "sub": w.id, "azp": w.id,
		"client_id": w.id, "organisation": "default", "scope": "publish read admin",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if claims["jti"] == "" || claims["jti"] == w.claims(t, nil)["jti"] {
		t.Error("two tokens have the same jti")
	}
}

// The algorithm and the key are never the token's choice (RFC 8725, section 3.1).
func TestCheckForged(t *testing.T) {
	w := newWorld(t)
	own, kid := w.key(t), w.keyID(t)
	text := w.token(t)
	parts := strings.Split(text, ".")
	public := x509.MarshalPKCS1PublicKey(&own.PublicKey)
	spki, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	spkiPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	hmac := func(secret []byte) string {
		return forge(t, jose.HS256, jose.JSONWebKey{Key: secret, KeyID: kid}, "at+jwt", w.claims(t, nil))
	}
	other := newWorld(t).key(t)
	set := func(name string, value any) string {
		return w.forge(t, func(c map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	for name, token := range map[string]string{
		"none":                         "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".",
		"None with our signature":      "eyJhbGciOiJOb25lIiwidHlwIjoiYXQrand0In0." + parts[1] + "." + parts[2],
		"HS256, the key's PKCS #1":     hmac(public),
		"HS256, the key's SPKI":        hmac(spki),
		"HS256, the key's PEM":         hmac(spkiPEM),
		"PS256 with our key":           forge(t, jose.PS256, jose.JSONWebKey{Key: own, KeyID: kid}, "at+jwt", w.claims(t, nil)),
		"RS512 with our key":           forge(t, jose.RS512, jose.JSONWebKey{Key: own, KeyID: kid}, "at+jwt", w.claims(t, nil)),
		"another key under our kid":    forge(t, jose.RS256, jose.JSONWebKey{Key: other, KeyID: kid}, "at+jwt", w.claims(t, nil)),
		"another kid":                  forge(t, jose.RS256, jose.JSONWebKey{Key: own, KeyID: "other"}, "at+jwt", w.claims(t, nil)),
		"another sort of JWT":          forge(t, jose.RS256, jose.JSONWebKey{Key: own, KeyID: kid}, "JWT", w.claims(t, nil)),
		"another issuer":               set("iss", "https://evil.example/iam/realms/product-hub"),
		"no issuer":                    set("iss", nil),
		"another audience":             set("aud", "https://other.example/api"),
		"no audience":                  set("aud", nil),
		"no expiry":                    set("exp", nil),
		"no issue time":                set("iat", nil),
		"no client":                    set("client_id", nil),
		"unknown scope":                set("scope", "root"),
		"no scope":                     set("scope", nil),
		"a number for the client":      set("client_id", 1),
		"expiry as text":               set("exp", "2030-01-01"),
		"another installation's token": newWorld(t).token(t),
	} {
		_, err := w.Check(t.Context(), token)
		refused(t, name, token, err)
	}
	if _, err := w.Check(t.Context(), w.forge(t, nil)); err != nil {
		t.Errorf("the forge itself does not work: %v", err)
	}
}

// An embedded key is not believed: the token would name its own judge.
func TestCheckEmbeddedKey(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t).key(t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: other},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("at+jwt").WithHeader("kid", w.keyID(t)))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(w.claims(t, nil)).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Check(t.Context(), token)
	refused(t, "embedded key", token, err)
}

// What a client may do is as its row says now; the token can only be less.
func TestCheckScopes(t *testing.T) {
	w := newWorld(t)
	w.id, w.secret = w.client(t, "other", tidings.ScopeRead)
	token := w.forge(t, func(c map[string]any) { c["scope"] = "read admin"; c["organisation"] = "default" })
	caller, err := w.Check(t.Context(), token)
	if err != nil || caller.Scopes.String() != "read" || caller.Organisation.Slug != "other" {
		t.Errorf("got %+v, %v", caller, err)
	}
}

// Two services on one store take each other's tokens, also after a restart.
func TestKeyIsShared(t *testing.T) {
	w := newWorld(t)
	token := w.token(t)
	if _, err := w.service(t, publicURL+"/", w.store).Check(t.Context(), token); err != nil {
		t.Error(err)
	}
	_, err := w.service(t, "https://other.example", w.store).Check(t.Context(), token)
	refused(t, "another public URL", token, err)
}

func BenchmarkCheck(b *testing.B) {
	w := newWorldB(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.service.Check(ctx, w.token); err != nil {
			b.Fatal(err)
		}
	}
}

type benchWorld struct {
	service *auth.Service
	token   string
}

func newWorldB(b *testing.B) benchWorld {
	b.Helper()
	s, err := store.Open(b.Context(), store.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	service, err := auth.New(b.Context(), auth.Config{PublicURL: publicURL}, s)
	if err != nil {
		b.Fatal(err)
	}
	id, secret := auth.NewClientID(), auth.NewClientSecret()
	if _, err := s.CreateClient(b.Context(), "default", tidings.Client{ID: id, Scopes: tidings.AllScopes, SecretHash: auth.HashClientSecret(secret)}); err != nil {
		b.Fatal(err)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(post(service, form("client_id", id, "client_secret", secret)).Body).Decode(&answer); err != nil {
		b.Fatal(err)
	}
	return benchWorld{service, answer.Token}
}
