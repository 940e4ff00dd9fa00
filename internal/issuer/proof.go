package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidings"
)

// proofAlgs are the algorithms of proofs that we verify: asymmetric ones only
// (appendix F.1).
var proofAlgs = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

const (
	proofTyp = "openid4vci-proof+jwt"

	// proofWindow is how far a wallet's clock may be off (section 13.8). The
	// nonce, which carries our own time, is the real measure of freshness.
	proofWindow = 5 * time.Minute

	// batchSize is how many keys a request may prove (section 12.2.4,
	// batch_credential_issuance).
	batchSize = 5
)

// proof is what a good proof proves.
type proof struct {
	key   crypto.PublicKey // of the wallet
	nonce tidings.UsedNonce
}

// proofs are the good proofs of one request: of distinct keys, made with one
// nonce, which they spend together.
type proofs struct {
	keys  []crypto.PublicKey
	nonce tidings.UsedNonce
}

// checkProofs verifies each proof of a request. One that comes twice, or two of
// one key, would give two copies that can be linked, which a batch is there to
// avoid.
func (s *Issuer) checkProofs(r *request, req credentialRequest) (out proofs, err error) {
	texts, err := req.proofs()
	if err != nil {
		return out, err
	}
	for k, text := range texts {
		p, err := s.checkProof(r, text)
		switch {
		case err != nil:
			return out, err
		case k > 0 && p.nonce != out.nonce:
			return out, refuse(codeInvalidProof, "All proofs of a request must hold the same nonce.")
		case slices.ContainsFunc(out.keys, p.sameKey):
			return out, refuse(codeInvalidProof, "Each proof of a request must be of another key.")
		}
		out.keys, out.nonce = append(out.keys, p.key), p.nonce
	}
	return out, nil
}

// sameKey tells whether another key is the proof's own. Keys that fit an
// algorithm are compared by their own method.
func (p proof) sameKey(other crypto.PublicKey) bool {
	key, ok := p.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(other)
}

// proofHeader is the part of the JOSE header that we judge ourselves.
type proofHeader struct {
	Alg  jose.SignatureAlgorithm `json:"alg"`
	Typ  string                  `json:"typ"`
	Kid  jsontext.Value          `json:"kid"`
	JWK  jsontext.Value          `json:"jwk"`
	X5C  jsontext.Value          `json:"x5c"`
	Crit jsontext.Value          `json:"crit"`
}

// proofClaims is the body. iss is not looked at: the flow is anonymous, but
// wallets in production always send one.
type proofClaims struct {
	Aud   jsontext.Value `json:"aud"`
	Iat   *float64       `json:"iat"`
	Exp   *float64       `json:"exp"`
	Nbf   *float64       `json:"nbf"`
	Nonce *string        `json:"nonce"`
}

// checkProof verifies a jwt proof (appendices F.1 and F.4): header, key,
// signature, audience, nonce, time. The nonce is judged before the times, since
// a proof with an old nonce is to be made anew, not given up.
func (s *Issuer) checkProof(r *request, jwt string) (proof, error) {
	key, payload, err := verifyProof(jwt)
	if err != nil {
		return proof{}, err
	}
	var c proofClaims
	if json.Unmarshal(payload, &c) != nil {
		return proof{}, refuse(codeInvalidProof, "The claims of the proof are malformed.")
	}
	if !names(c.Aud, s.IssuerURL(r.org.Slug)) {
		return proof{}, refuse(codeInvalidProof, "The aud of the proof must be the credential issuer identifier.")
	}
	if c.Nonce == nil { // section 8.3.1.2: a proof without any is an invalid proof
		return proof{}, refuse(codeInvalidProof, "The proof must hold a nonce from the nonce endpoint.")
	}
	nonce, ok := s.openNonce(r.org, *c.Nonce, r.now)
	if !ok {
		return proof{}, refuse(codeInvalidNonce, "The nonce is not valid or has expired; please get a new one.")
	}
	if problem := c.timely(r.now); problem != nil {
		return proof{}, problem
	}
	return proof{key: key, nonce: nonce}, nil
}

// timely judges iat and, where they are there, exp and nbf (RFC 7519, section 4.1).
func (c proofClaims) timely(now time.Time) error {
	at := float64(now.UnixMilli()) / 1000
	window := proofWindow.Seconds()
	switch {
	case c.Iat == nil:
		return refuse(codeInvalidProof, "The proof must say when it was made (iat).")
	case math.Abs(*c.Iat-at) > window:
		return refuse(codeInvalidProof, "The iat of the proof is more than 5 minutes off.")
	case c.Exp != nil && *c.Exp+window < at, c.Nbf != nil && *c.Nbf-window > at:
		return refuse(codeInvalidProof, "The proof has expired or is not valid yet.")
	}
	return nil
}

// names tells whether an aud, one string or an array of them, holds want.
func names(aud jsontext.Value, want string) bool {
	var one string
	if json.Unmarshal(aud, &one) == nil {
		return one == want
	}
	var many []string
	return json.Unmarshal(aud, &many) == nil && slices.Contains(many, want)
}

// verifyProof checks the header, finds the wallet's key and verifies the
// signature with it.
func verifyProof(jwt string) (crypto.PublicKey, []byte, error) {
	text, _, _ := strings.Cut(jwt, ".")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	var h proofHeader
	if err != nil || json.Unmarshal(raw, &h) != nil {
		return nil, nil, refuse(codeInvalidProof, "The proof is not a JWT.")
	}
	switch {
	case h.Typ != proofTyp:
		return nil, nil, refuse(codeInvalidProof, "The typ of the proof must be openid4vci-proof+jwt.")
	case !slices.Contains(proofAlgs, h.Alg):
		return nil, nil, refuse(codeInvalidProof, "The alg of the proof must be one of the metadata: ES256, ES384, ES512 or EdDSA.")
	case h.Crit != nil:
		return nil, nil, refuse(codeInvalidProof, "The proof must not have critical header parameters.")
	}
	key, err := h.key()
	if err != nil {
		return nil, nil, err
	}
	if !fits(h.Alg, key) {
		return nil, nil, refuse(codeInvalidProof, "The key of the proof does not fit its alg.")
	}
	jws, err := jose.ParseSignedCompact(jwt, proofAlgs)
	if err != nil {
		return nil, nil, refuse(codeInvalidProof, "The proof is not a JWT.")
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return nil, nil, refuse(codeInvalidProof, "The signature of the proof does not verify.")
	}
	return key, payload, nil
}

// key gives the wallet's key from exactly one of jwk, kid and x5c.
func (h proofHeader) key() (crypto.PublicKey, error) {
	given := 0
	for _, v := range []jsontext.Value{h.JWK, h.Kid, h.X5C} {
		if v != nil {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, refuse(codeInvalidProof, "The header of the proof must hold exactly one of jwk, kid and x5c.")
	case h.JWK != nil:
		return publicJWK(h.JWK)
	case h.X5C != nil:
		return certifiedKey(h.X5C)
	}
	var kid string
	if json.Unmarshal(h.Kid, &kid) != nil {
		return nil, errKid
	}
	return didKey(kid)
}

// publicJWK reads a key that must not have a private part (appendix F.4).
func publicJWK(raw []byte) (crypto.PublicKey, error) {
	var members map[string]jsontext.Value
	if json.Unmarshal(raw, &members) != nil {
		return nil, errJWK
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, ok := members[private]; ok {
			return nil, refuse(codeInvalidProof, "The jwk of the proof must not hold a private key.")
		}
	}
	var key jose.JSONWebKey
	if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() {
		return nil, errJWK
	}
	return key.Key, nil
}

var errJWK = refuse(codeInvalidProof, "The jwk of the proof is not a public key that is supported.")

// certifiedKey reads the key of the first certificate (RFC 7515, section
// 4.1.6). Who certified it is of no concern: the signature proves possession.
func certifiedKey(raw []byte) (crypto.PublicKey, error) {
	problem := refuse(codeInvalidProof, "The x5c of the proof is not a chain of certificates.")
	var chain []string
	if json.Unmarshal(raw, &chain) != nil || len(chain) == 0 {
		return nil, problem
	}
	der, err := base64.StdEncoding.DecodeString(chain[0])
	if err != nil {
		return nil, problem
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, problem
	}
	return leaf.PublicKey, nil
}

// fits tells whether a key may be used with alg: each ES algorithm has its own
// curve (RFC 7518, section 3.4).
func fits(alg jose.SignatureAlgorithm, key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		curves := map[jose.SignatureAlgorithm]elliptic.Curve{
			jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521(),
		}
		return curves[alg] == k.Curve
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}
