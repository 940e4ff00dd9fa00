package wallet

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Verify verifies an SD-JWT VC that was issued to this wallet, with the keys
// that its issuer publishes (SD-JWT VC, sections 2.4 and 4), and gives its claims with
// all disclosures applied (RFC 9901, section 7.1).
func (w *Wallet) Verify(ctx context.Context, issuer *Issuer, credential string) (map[string]any, error) {
	var meta struct {
		Issuer string             `json:"issuer"`
		JWKS   jose.JSONWebKeySet `json:"jwks"`
	}
	if err := w.wellKnown(ctx, issuer.URL, "jwt-vc-issuer", &meta); err != nil {
		return nil, err
	}
	if meta.Issuer != issuer.URL {
		return nil, errors.New("wallet: the keys belong to another issuer")
	}
	claims, err := open(credential, issuer.URL, meta.JWKS)
	if err != nil {
		return nil, fmt.Errorf("wallet: the credential is refused: %w", err)
	}
	switch {
	case claims["iss"] != issuer.URL:
		return nil, errors.New("wallet: the credential names another issuer")
	case !boundTo(claims, &w.key.PublicKey):
		return nil, errors.New("wallet: the credential is bound to another key")
	case !due(claims, w.now()):
		return nil, errors.New("wallet: the credential is from the future or has expired")
	}
	if vct, ok := claims["vct"].(string); !ok || vct == "" {
		return nil, errors.New("wallet: the credential has no vct")
	}
	return claims, nil
}

// open verifies the signature and applies the disclosures.
func open(credential, issuer string, keys jose.JSONWebKeySet) (map[string]any, error) {
	parts := strings.Split(credential, "~")
	if len(parts) < 2 || parts[len(parts)-1] != "" {
		return nil, errors.New("it does not end with a tilde")
	}
	jws, err := jose.ParseSignedCompact(parts[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, errors.New("it is not a JWT signed with ES256")
	}
	key, err := signer(parts[0], issuer, keys)
	if err != nil {
		return nil, err
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, errors.New("its signature does not verify")
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, errors.New("its payload is not a JSON object")
	}
	return disclose(claims, parts[1:len(parts)-1])
}

// signer finds the key among those that the issuer publishes, by the
// certificate in the header or else by kid. The certificate must name the issuer
// and not be signed by itself (SD-JWT VC, section 3.5).
func signer(jwt, issuer string, keys jose.JSONWebKeySet) (crypto.PublicKey, error) {
	text, _, _ := strings.Cut(jwt, ".")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	var h struct {
		Typ string   `json:"typ"`
		Kid string   `json:"kid"`
		X5C [][]byte `json:"x5c"` // base64, not base64url (RFC 7515, section 4.1.6)
	}
	if err != nil || json.Unmarshal(raw, &h) != nil {
		return nil, errors.New("its header is malformed")
	}
	if h.Typ != "dc+sd-jwt" {
		return nil, errors.New("its typ is not dc+sd-jwt")
	}
	if len(h.X5C) == 0 {
		found := keys.Key(h.Kid)
		if h.Kid == "" || len(found) != 1 {
			return nil, errors.New("its kid is not among the issuer's keys")
		}
		return found[0].Key, nil
	}
	leaf, err := x509.ParseCertificate(h.X5C[0])
	switch {
	case err != nil:
		return nil, errors.New("its certificate cannot be read")
	case bytes.Equal(leaf.RawIssuer, leaf.RawSubject):
		return nil, errors.New("its certificate is signed by itself")
	case !slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return u.String() == issuer }):
		return nil, errors.New("its certificate does not name the issuer")
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !slices.ContainsFunc(keys.Keys, func(k jose.JSONWebKey) bool { return key.Equal(k.Key) }) {
		return nil, errors.New("its certificate is for a key that the issuer does not publish")
	}
	return key, nil
}

// disclose replaces digests by the claims that they stand for. Each disclosure
// must be referred to exactly once, and none may overwrite a claim.
func disclose(claims map[string]any, disclosures []string) (map[string]any, error) {
	if alg, ok := claims["_sd_alg"]; ok && alg != "sha-256" {
		return nil, errors.New("its digests are not of SHA-256")
	}
	list, _ := claims["_sd"].([]any)
	digests := map[string]bool{}
	for _, d := range list {
		text, ok := d.(string)
		if !ok || digests[text] {
			return nil, errors.New("a digest is no string or comes twice")
		}
		digests[text] = true
	}
	delete(claims, "_sd")
	delete(claims, "_sd_alg")
	for _, d := range disclosures {
		sum := sha256.Sum256([]byte(d))
		digest := base64.RawURLEncoding.EncodeToString(sum[:])
		if !digests[digest] {
			return nil, errors.New("a disclosure has no digest, or comes twice")
		}
		delete(digests, digest)
		name, value, err := readDisclosure(d)
		if err != nil {
			return nil, err
		}
		if _, taken := claims[name]; taken || slices.Contains([]string{"_sd", "...", "iss", "vct", "cnf", "exp", "nbf", "status"}, name) {
			return nil, errors.New("a disclosure names a claim that it may not")
		}
		claims[name] = value
	}
	return claims, nil
}

// readDisclosure reads [salt, name, value] (RFC 9901, section 4.2.1) and asks
// for a salt of 128 bits.
func readDisclosure(d string) (name string, value any, err error) {
	problem := errors.New("a disclosure is malformed")
	raw, err := base64.RawURLEncoding.DecodeString(d)
	if err != nil {
		return "", nil, problem
	}
	var three []any
	if json.Unmarshal(raw, &three) != nil || len(three) != 3 {
		return "", nil, problem
	}
	salt, ok := three[0].(string)
	name, named := three[1].(string)
	if !ok || !named || base64.RawURLEncoding.DecodedLen(len(salt)) < 16 {
		return "", nil, problem
	}
	return name, three[2], nil
}

// boundTo tells whether cnf holds key, and nothing but a public key (RFC 7800).
func boundTo(claims map[string]any, key *ecdsa.PublicKey) bool {
	cnf, _ := claims["cnf"].(map[string]any)
	text, err := json.Marshal(cnf["jwk"])
	if err != nil {
		return false
	}
	var jwk jose.JSONWebKey
	if jwk.UnmarshalJSON(text) != nil || !jwk.IsPublic() {
		return false
	}
	return key.Equal(jwk.Key)
}

// due judges iat, nbf and exp with no allowance: an honest issuer needs none.
func due(claims map[string]any, now time.Time) bool {
	at := float64(now.Unix())
	iat, ok := claims["iat"].(float64)
	if ok && iat > at {
		return false
	}
	if nbf, ok := claims["nbf"].(float64); ok && nbf > at {
		return false
	}
	exp, ok := claims["exp"].(float64)
	return !ok || at < exp
}
