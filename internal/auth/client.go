package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
)

// NewClientID gives a random client_id of lower-case letters and digits, which
// needs no escaping anywhere.
func NewClientID() string {
	raw := make([]byte, 10)
	rand.Read(raw)
	return "client-" + base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").
		WithPadding(base32.NoPadding).EncodeToString(raw)
}

// NewClientSecret gives a random client_secret of 256 bits, base64url. Only
// its [HashClientSecret] is kept.
func NewClientSecret() string {
	raw := make([]byte, 32)
	rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// HashClientSecret gives what is kept of a client_secret, as
// [tidings.Client.HasSecret] compares it.
func HashClientSecret(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }
