package wallet

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"github.com/go-jose/go-jose/v4"
)

// WithDPoP gives the same wallet with tokens that are bound to a key (RFC 9449).
func (w *Wallet) WithDPoP(key *ecdsa.PrivateKey) *Wallet {
	other := *w
	other.dpop = key
	return &other
}

func (w *Wallet) scheme() string {
	if w.dpop != nil {
		return "DPoP"
	}
	return "Bearer"
}

// DPoP makes the proof of one request (RFC 9449, section 4.2). Where the request
// has an access token, the proof is for it.
func (w *Wallet) DPoP(method, address, token string) (string, error) {
	var id [16]byte
	rand.Read(id[:])
	claims := map[string]any{"jti": hex.EncodeToString(id[:]), "htm": method, "htu": address, "iat": w.now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return w.SignDPoP(claims)
}

// SignDPoP signs any claims as a DPoP proof, for tests.
func (w *Wallet) SignDPoP(claims map[string]any) (string, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: w.dpop}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
