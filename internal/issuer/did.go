package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"strings"
)

var errKid = refuse(codeInvalidProof, "The kid of the proof must be a did:jwk or did:key; better send the key itself as jwk.")

// didKey gives the key that a DID URL itself holds. Only such methods are
// supported: nothing is fetched from anywhere.
func didKey(kid string) (crypto.PublicKey, error) {
	did, _, _ := strings.Cut(kid, "#")
	if text, ok := strings.CutPrefix(did, "did:jwk:"); ok {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			return nil, errKid
		}
		return publicJWK(raw)
	}
	// did:key is a multicodec in base58 ("z" of multibase).
	text, ok := strings.CutPrefix(did, "did:key:z")
	if !ok || len(text) > 128 {
		return nil, errKid
	}
	raw := string(base58(text))
	if k, ok := strings.CutPrefix(raw, "\xed\x01"); ok && len(k) == ed25519.PublicKeySize { // ed25519-pub
		return ed25519.PublicKey(k), nil
	}
	if k, ok := strings.CutPrefix(raw, "\x80\x24"); ok { // p256-pub, varint of 0x1200
		return point(elliptic.P256(), k)
	}
	if k, ok := strings.CutPrefix(raw, "\x81\x24"); ok { // p384-pub
		return point(elliptic.P384(), k)
	}
	return nil, errKid
}

// point reads a compressed point and makes sure that it is on the curve.
func point(curve elliptic.Curve, compressed string) (crypto.PublicKey, error) {
	x, y := elliptic.UnmarshalCompressed(curve, []byte(compressed))
	if x == nil {
		return nil, errKid
	}
	return &ecdsa.PublicKey{Curve: curve, X: x, Y: y}, nil
}

// base58 decodes the alphabet of Bitcoin; nil where it is not that. Keys start
// with a byte that is not zero, so leading zeros need no care.
func base58(text string) []byte {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	n := new(big.Int)
	for _, c := range text {
		digit := strings.IndexRune(alphabet, c)
		if digit < 0 {
			return nil
		}
		n.Mul(n, big.NewInt(58)).Add(n, big.NewInt(int64(digit)))
	}
	return n.Bytes()
}
