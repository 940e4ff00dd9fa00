package issuer

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"tidings"
)

// This file is RFC 9449: a wallet that sends a DPoP proof gets tokens that are of
// no use without its key. Sections are those of that RFC.

const (
	dpopTyp    = "dpop+jwt"
	dpopWindow = 5 * time.Minute // how far iat may be off (section 11.1)
	maxJTI     = 256
)

// thumbprint names the key that a token is bound to (RFC 7638); zero: to none.
type thumbprint [sha256.Size]byte

// dpopProof is what a good DPoP proof proves.
type dpopProof struct {
	key   thumbprint
	spend tidings.UsedNonce // its jti, which must be new
}

// errDPoP is the refusal of a proof at the token endpoint (section 5).
func errDPoP(description string) *protocolError { return refuse("invalid_dpop_proof", description) }

// atResource turns it into that of a protected resource (section 7.1).
func atResource(err error) error {
	p, ok := err.(*protocolError)
	if !ok || p.code != "invalid_dpop_proof" {
		return err
	}
	return &protocolError{status: http.StatusUnauthorized, code: p.code, description: p.description, challenge: dpopChallenge(p.code)}
}

// dpopChallenge is the challenge of section 7.1.
func dpopChallenge(code string) string {
	var algs []string
	for _, a := range proofAlgs {
		algs = append(algs, string(a))
	}
	return `DPoP error="` + code + `", algs="` + strings.Join(algs, " ") + `"`
}

// errBoundToken is for a token of the one sort that comes as the other.
var errBoundToken = &protocolError{status: http.StatusUnauthorized, code: "invalid_token",
	description: "The access token is bound to a key and must come with a DPoP proof.", challenge: dpopChallenge("invalid_token")}

type dpopClaims struct {
	JTI string   `json:"jti"`
	HTM string   `json:"htm"`
	HTU string   `json:"htu"`
	Iat *float64 `json:"iat"`
	ATH string   `json:"ath"`
}

// dpop verifies the DPoP proof of a request (section 4.3), if it has one. token is
// the access token that comes with it, if any. It is not spent yet: only what
// comes with a token or a code of ours is remembered, so that nobody can fill the
// disk.
func (s *Issuer) dpop(r *request, token string) (p dpopProof, given bool, err error) {
	headers := r.Header.Values("DPoP")
	switch {
	case len(headers) == 0:
		return p, false, nil
	case len(headers) > 1:
		return p, true, errDPoP("Only one DPoP header may be there.")
	}
	key, payload, err := verifyDPoP(headers[0])
	if err != nil {
		return p, true, err
	}
	var c dpopClaims
	if json.Unmarshal(payload, &c) != nil {
		return p, true, errDPoP("The claims of the DPoP proof are malformed.")
	}
	if err := c.check(r, s.cfg.PublicURL+r.URL.EscapedPath(), token); err != nil {
		return p, true, err
	}
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return p, true, errDPoP("The jwk of the DPoP proof is not a public key that is supported.")
	}
	p.key = thumbprint(sum)
	spent := sha256.Sum256(append(append([]byte("dpop"), sum...), c.JTI...))
	p.spend = tidings.UsedNonce{Hash: [16]byte(spent[:16]), ExpiresAt: r.now.Add(2*dpopWindow + time.Second)} // a little longer than iat can pass
	return p, true, nil
}

// check judges the claims (section 4.3, points 8 to 12).
func (c dpopClaims) check(r *request, address, token string) error {
	switch {
	case c.JTI == "" || len(c.JTI) > maxJTI:
		return errDPoP("The jti of the DPoP proof must be 1 to 256 bytes.")
	case c.HTM != r.Method:
		return errDPoP("The htm of the DPoP proof is another method.")
	case c.HTU == "" || normalURL(c.HTU) != normalURL(address):
		return errDPoP("The htu of the DPoP proof is another address.")
	case c.Iat == nil || math.Abs(*c.Iat-float64(r.now.UnixMilli())/1000) > dpopWindow.Seconds():
		return errDPoP("The iat of the DPoP proof is missing or more than 5 minutes off.")
	}
	if token == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare([]byte(c.ATH), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) != 1 {
		return errDPoP("The ath of the DPoP proof is not that of the access token.")
	}
	return nil
}

// normalURL writes an address in one way, without query and fragment (RFC 3986,
// sections 6.2.2 and 6.2.3); empty if it is none.
func normalURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[scheme])
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path
}

// verifyDPoP checks header and signature (section 4.3, points 3 to 7).
func verifyDPoP(jwt string) (crypto.PublicKey, []byte, error) {
	text, _, _ := strings.Cut(jwt, ".")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	var h proofHeader
	switch {
	case err != nil || json.Unmarshal(raw, &h) != nil:
		return nil, nil, errDPoP("The DPoP proof is not a JWT.")
	case h.Typ != dpopTyp:
		return nil, nil, errDPoP("The typ of the DPoP proof must be dpop+jwt.")
	case !slices.Contains(proofAlgs, h.Alg):
		return nil, nil, errDPoP("The alg of the DPoP proof must be one of the metadata.")
	case h.Crit != nil || h.JWK == nil:
		return nil, nil, errDPoP("The header of the DPoP proof must hold a jwk and nothing critical.")
	}
	key, err := publicJWK(h.JWK)
	if err != nil || !fits(h.Alg, key) {
		return nil, nil, errDPoP("The jwk of the DPoP proof is not a public key that fits its alg.")
	}
	jws, err := jose.ParseSignedCompact(jwt, proofAlgs)
	if err != nil {
		return nil, nil, errDPoP("The DPoP proof is not a JWT.")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, nil, errDPoP("The signature of the DPoP proof does not verify.")
	}
	return key, payload, nil
}

// spendDPoP remembers the proof while it could come again (section 11.1).
func (s *Issuer) spendDPoP(ctx context.Context, p dpopProof, given bool) error {
	if !given {
		return nil
	}
	fresh, err := s.store.Spend(ctx, p.spend)
	if err == nil && !fresh {
		err = errDPoP("The DPoP proof was used already.")
	}
	return err
}
