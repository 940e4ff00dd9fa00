package webhook

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// What a KeySet allows itself.
const (
	keySetBody     = 64 << 10        // bytes read of an answer
	keySetKeys     = 8               // keys taken from it
	keySetTimeout  = 5 * time.Second // for one request
	keySetInterval = time.Minute     // between two requests, at least
	keySetFresh    = time.Hour       // then the keys are asked for again
	keySetUsable   = 24 * time.Hour  // then keys that could not be renewed are dropped
	keySetAccept   = "application/jwk-set+json, application/json;q=0.9"
)

// ErrKeySet comes where the sender's public keys could not be had, so that
// nothing can be said about a signature. The webhook may be good: answer 503,
// and the sender sends it again.
var ErrKeySet = errors.New("the sender's public keys could not be fetched")

// KeySet gets an endpoint's public keys from the sender, as a JSON Web Key Set
// of Ed25519 keys (RFC 8037), and keeps them in memory. It asks again after an
// hour, and when a v1a signature matches none of the keys that it has, but at
// most once a minute whoever calls. Keys that cannot be renewed are used on
// for a day. Set the fields before the first use; then any number of
// goroutines may use it. It must not be copied after its first use.
type KeySet struct {
	// URL is where the sender publishes the keys:
	// https://<sender>/.well-known/webhook-keys/<endpoint id>.
	URL string
	// Client makes the requests; nil means http.DefaultClient. Redirects are
	// not followed and a request ends after 5 seconds, whatever it says.
	Client *http.Client
	// AllowHTTP lets URL start with http. Whoever is on the way can then
	// replace the keys: it is for a sender on the same machine.
	AllowHTTP bool

	renewal sync.Mutex // held during a request
	state   atomic.Pointer[keySetState]
}

// keySetState is replaced, never changed.
type keySetState struct {
	keys    []PublicKey
	fetched time.Time // when keys came
	tried   time.Time // the last request
	err     error     // of the last request
}

// match verifies with the keys at hand, and once more if the sender has others.
func (k *KeySet) match(ctx context.Context, signatures [][]byte, content []byte) error {
	s := k.state.Load()
	if s == nil || time.Since(s.fetched) > keySetFresh {
		s = k.renew(ctx, s)
	}
	if matchKeys(s.usable(), signatures, content) {
		return nil
	}
	if newer := k.renew(ctx, s); newer != s {
		s = newer
		if matchKeys(s.usable(), signatures, content) {
			return nil
		}
	}
	if s.err != nil {
		return s.err
	}
	return ErrNoMatch
}

// usable gives the keys unless they are too old.
func (s *keySetState) usable() []PublicKey {
	if time.Since(s.fetched) > keySetUsable {
		return nil
	}
	return s.keys
}

// renew asks for the keys, unless somebody did so since the caller took old or
// less than a minute ago.
func (k *KeySet) renew(ctx context.Context, old *keySetState) *keySetState {
	k.renewal.Lock()
	defer k.renewal.Unlock()
	s := k.state.Load()
	if s != nil && (s != old || time.Since(s.tried) < keySetInterval) {
		return s
	}
	next := &keySetState{tried: time.Now()}
	// The caller's request may break off; the answer serves others as well.
	next.keys, next.err = k.fetch(context.WithoutCancel(ctx))
	next.fetched = next.tried
	if next.err != nil {
		next.err = fmt.Errorf("%w: %w", ErrKeySet, next.err)
		next.fetched = time.Time{}
		if s != nil {
			next.keys, next.fetched = s.keys, s.fetched
		}
	}
	k.state.Store(next)
	return next
}

func (k *KeySet) fetch(ctx context.Context) ([]PublicKey, error) {
	u, err := url.Parse(k.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parse the URL of the keys: %w", err)
	case u.Scheme != "https" && (u.Scheme != "http" || !k.AllowHTTP):
		return nil, fmt.Errorf("the URL of the keys does not start with https: %q", u.Redacted())
	}
	ctx, cancel := context.WithTimeout(ctx, keySetTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for the keys: %w", err)
	}
	request.Header.Set("Accept", keySetAccept)
	response, err := k.client().Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask for the keys: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for the keys: the answer is %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, keySetBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	if len(body) > keySetBody {
		return nil, fmt.Errorf("read the keys: more than %d bytes", keySetBody)
	}
	return parseKeySet(body)
}

// client follows no redirect: it could lead to http.
func (k *KeySet) client() *http.Client {
	c := http.DefaultClient
	if k.Client != nil {
		c = k.Client
	}
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// jwk is a key of a JSON Web Key Set.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Kid string `json:"kid,omitempty"`
	Use string `json:"use,omitempty"`
	Alg string `json:"alg,omitempty"`
}

// parseKeySet takes the Ed25519 keys and passes over others, so that the
// sender can add to them. No key at all is an answer, too: there is none now.
func parseKeySet(body []byte) ([]PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New(`read the keys: the answer has no "keys"`)
	}
	var found []PublicKey
	for _, raw := range set.Keys {
		var key jwk
		if json.Unmarshal(raw, &key) != nil || !key.verifies() {
			continue
		}
		x, err := base64.RawURLEncoding.Strict().DecodeString(key.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("read the keys: the x of a key is not the base64url of %d bytes", ed25519.PublicKeySize)
		}
		public, err := newPublicKey(x)
		if err != nil {
			return nil, fmt.Errorf("read the keys: %w", err)
		}
		if found = append(found, public); len(found) > keySetKeys {
			return nil, fmt.Errorf("read the keys: more than %d", keySetKeys)
		}
	}
	return found, nil
}

// verifies tells whether the key is for Ed25519 signatures.
func (k jwk) verifies() bool {
	return k.Kty == "OKP" && k.Crv == "Ed25519" && (k.Use == "" || k.Use == "sig") &&
		(k.Alg == "" || k.Alg == "EdDSA" || k.Alg == "Ed25519")
}

// MarshalKeySet gives the JSON Web Key Set that a [KeySet] reads: what a
// sender publishes for an endpoint. Each key's kid is its thumbprint (RFC 7638).
func MarshalKeySet(keys ...PublicKey) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, key := range keys {
		if key.IsZero() {
			return nil, fmt.Errorf("%w: it is empty", ErrPublicKey)
		}
		x := base64.RawURLEncoding.EncodeToString(key.key[:])
		thumb := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`))
		set.Keys = append(set.Keys, jwk{Kty: "OKP", Crv: "Ed25519", X: x, Use: "sig", Alg: "EdDSA",
			Kid: base64.RawURLEncoding.EncodeToString(thumb[:])})
	}
	return json.Marshal(set)
}
