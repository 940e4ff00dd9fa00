package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tidings"

	"github.com/go-jose/go-jose/v4"
)

// algorithms are those that a signature may have. They are asymmetric all, so
// that whoever can check a token cannot make one.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

const algorithmNames = "RS256, PS256, ES256, EdDSA"

const (
	maxKeys    = 64   // of an issuer
	maxRSABits = 8192 // a larger key makes each check slow
)

// ring is what is known of an issuer.
type ring struct {
	keys          []jose.JSONWebKey
	tokenEndpoint string // may be empty
	fetched       time.Time
}

// parseKeys gives the keys of a key set (RFC 7517) that can check tokens. Each
// is read by itself: one of an unknown sort does not spoil the rest.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("the key set is not JSON with keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && usable(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the key set has no key that can check a signature with %s", algorithmNames)
	}
	return keys, nil
}

// usable tells whether a key can check tokens. One that was published with its
// private part proves nothing any more.
func usable(key jose.JSONWebKey) bool {
	if !key.IsPublic() || !key.Valid() || key.Use != "" && key.Use != "sig" {
		return false
	}
	return slices.ContainsFunc(algorithms, func(alg jose.SignatureAlgorithm) bool { return fits(key, alg) })
}

// fits tells whether a key may check a signature of this algorithm.
func fits(key jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(alg) {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return (alg == jose.RS256 || alg == jose.PS256) && bits >= 2048 && bits <= maxRSABits
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// verifiedBy is a token whose signature was checked: [oidc.KeySet] for it alone.
type verifiedBy struct{ payload []byte }

// VerifySignature gives the payload of the token.
func (v verifiedBy) VerifySignature(context.Context, string) ([]byte, error) { return v.payload, nil }

// keys checks the signature. Where no key is known that it could be of, the
// issuer may have a new one and is asked.
func (o *Outside) keys(ctx context.Context, token *jose.JSONWebSignature, header jose.Header, now time.Time) (verifiedBy, error) {
	r := o.ring.Load()
	if !r.alive(now) {
		return verifiedBy{}, tidings.Unavailable(5*time.Second, nil, "The token issuer cannot be reached at the moment; try again.")
	}
	payload, known := r.check(token, header)
	if payload == nil && !known && o.askIssuer(ctx, now) {
		payload, known = o.ring.Load().check(token, header)
	}
	switch {
	case payload != nil:
		return verifiedBy{payload}, nil
	case known:
		return verifiedBy{}, unauthorized("The access token was not given out by %s: its signature does not verify.", o.cfg.Issuer)
	}
	return verifiedBy{}, unauthorized("The access token was not given out by %s, or with a key that it does not publish.", o.cfg.Issuer)
}

// check gives the payload of a token that one of the keys signed. known says
// that the key which the token names is there.
func (r *ring) check(token *jose.JSONWebSignature, header jose.Header) (payload []byte, known bool) {
	for _, key := range r.keys {
		if header.KeyID != "" && key.KeyID != "" && key.KeyID != header.KeyID || !fits(key, jose.SignatureAlgorithm(header.Algorithm)) {
			continue
		}
		known = known || header.KeyID != "" && key.KeyID == header.KeyID
		if payload, err := token.Verify(key.Key); err == nil {
			return payload, true
		}
	}
	return nil, known
}

// alive tells whether the keys were fetched recently enough.
func (r *ring) alive(now time.Time) bool { return r != nil && now.Sub(r.fetched) < ringLife }

// askIssuer has Run fetch the keys anew, unless that was asked for too often,
// and waits for it. Whoever asks at the same time waits for the same answer.
func (o *Outside) askIssuer(ctx context.Context, now time.Time) bool {
	o.mu.Lock()
	if o.round == nil {
		if !o.asking.AllowN(now, 1) {
			o.mu.Unlock()
			return false
		}
		o.round = make(chan struct{})
		select {
		case o.ask <- struct{}{}:
		default: // Run is woken already
		}
	}
	round := o.round
	o.mu.Unlock()
	select {
	case <-round:
		return true
	case <-ctx.Done():
	case <-o.stopped:
	}
	return false
}

// Ready tells whether tokens can be checked.
func (o *Outside) Ready(context.Context) error {
	if !o.ring.Load().alive(o.cfg.Now()) {
		return fmt.Errorf("the keys of the token issuer %s are not known", o.cfg.Issuer)
	}
	return nil
}

// Run learns the issuer's keys and keeps them fresh until ctx ends. While the
// issuer cannot be reached it tries again, and what is known counts on.
func (o *Outside) Run(ctx context.Context) {
	defer close(o.stopped)
	defer o.http.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-o.ask:
		}
		o.mu.Lock()
		round := o.round
		o.mu.Unlock()
		wait := ringEvery
		if err := o.refresh(ctx); err == nil {
			failures = 0
		} else if ctx.Err() == nil {
			wait = min(time.Second<<min(failures, 10), maxBackoff)
			failures++
			o.cfg.Log.Warn("the token issuer's keys could not be fetched", "issuer", o.cfg.Issuer, "error", err, "again_in", wait)
		}
		timer.Reset(wait)
		if round != nil {
			o.mu.Lock()
			o.round = nil
			o.mu.Unlock()
			close(round)
		}
	}
}

// refresh fetches the keys once.
func (o *Outside) refresh(ctx context.Context) error {
	now := o.cfg.Now() // before the answer: it may be old when it comes
	fresh, err := fetchRing(ctx, o.http, o.cfg.Issuer)
	if err != nil {
		return err
	}
	fresh.fetched = now
	if old := o.ring.Swap(fresh); old == nil || !sameKeys(old.keys, fresh.keys) {
		o.cfg.Log.Info("the token issuer's keys", "issuer", o.cfg.Issuer, "keys", len(fresh.keys), "first", old == nil)
	}
	return nil
}

func sameKeys(a, b []jose.JSONWebKey) bool {
	return slices.EqualFunc(a, b, func(a, b jose.JSONWebKey) bool { return a.KeyID == b.KeyID })
}
