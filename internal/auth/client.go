package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
)

// NewClientID gives a random client_id of lower-case letters and digits, which
// needs no escaping anywhere.
func NewClientID() string {
	raw := make([]byte, 10)
	rand.Read(raw)
	return "client-" + base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").
		WithPadding(base32.NoPadding).EncodeToString(raw)
}

// NewClientSecret gives a random client_secret of 260 bits, base32: letters and
// digits only, as a shell takes what begins with a dash for a flag. Only its
// hash is stored, see [HashClientSecret].
func NewClientSecret() string { return rand.Text() + rand.Text() }

// HashClientSecret gives what is kept of a client_secret, as
// [tidings.Client.HasSecret] compares it.
func HashClientSecret(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }
