package webhook

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	publicKeyPrefix    = "whpk_"
	signingKeyPrefix   = "whsk_"
	signingKeyRedacted = "whsk_***"
)

// Errors of reading keys. An error that wraps one says what is wrong and never
// holds any of the text.
var (
	// ErrPublicKey is wrapped by every error of [ParsePublicKey].
	ErrPublicKey = errors.New("not a public key")
	// ErrSigningKey is wrapped by every error of [ParseSigningKey].
	ErrSigningKey = errors.New("not a signing key")
)

// PublicKey verifies the v1a (Ed25519) signatures of one endpoint. It may be
// shown to anybody and compared with ==. The zero PublicKey verifies nothing.
type PublicKey struct {
	key [ed25519.PublicKeySize]byte
}

// ParsePublicKey reads a key as it is handed out: "whpk_" and the standard,
// padded base64 of 32 bytes. Errors wrap [ErrPublicKey].
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := decodeKey(text, publicKeyPrefix)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrPublicKey, err)
	}
	return newPublicKey(raw)
}

func newPublicKey(raw []byte) (PublicKey, error) {
	if len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("%w: it has %d bytes, a public key has %d", ErrPublicKey, len(raw), ed25519.PublicKeySize)
	}
	k := PublicKey{key: [ed25519.PublicKeySize]byte(raw)}
	if k.IsZero() {
		return PublicKey{}, fmt.Errorf("%w: it is empty", ErrPublicKey)
	}
	return k, nil
}

// IsZero tells whether k is the zero PublicKey.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String gives the text that [ParsePublicKey] reads; that of the zero
// PublicKey is empty.
func (k PublicKey) String() string {
	if k.IsZero() {
		return ""
	}
	return publicKeyPrefix + base64.StdEncoding.EncodeToString(k.key[:])
}

// MarshalText gives what String gives.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what [ParsePublicKey] reads, for configuration files.
func (k *PublicKey) UnmarshalText(text []byte) error {
	parsed, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// SigningKey makes v1a (Ed25519) signatures. Like a [Secret] it shows as
// "whsk_***" wherever it is printed, logged or encoded; only
// [SigningKey.Reveal] gives its text. The zero SigningKey signs nothing.
type SigningKey struct {
	key **ed25519.PrivateKey // behind two pointers as in a Secret
}

func newSigningKey(key ed25519.PrivateKey) SigningKey {
	p := &key
	return SigningKey{key: &p}
}

// private gives the key; k is not the zero SigningKey.
func (k SigningKey) private() ed25519.PrivateKey { return **k.key }

// NewSigningKey makes a random key.
func NewSigningKey() SigningKey {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	return newSigningKey(ed25519.NewKeyFromSeed(seed))
}

// ParseSigningKey reads "whsk_" and the standard, padded base64 of either 64
// bytes, the seed and the public key that follows from it, or of the 32 bytes
// of the seed alone; both are in use. Errors wrap [ErrSigningKey].
func ParseSigningKey(text string) (SigningKey, error) {
	raw, err := decodeKey(text, signingKeyPrefix)
	if err != nil {
		return SigningKey{}, fmt.Errorf("%w: %w", ErrSigningKey, err)
	}
	if len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize {
		return SigningKey{}, fmt.Errorf("%w: it has %d bytes, a signing key has %d or %d",
			ErrSigningKey, len(raw), ed25519.PrivateKeySize, ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if len(raw) == ed25519.PrivateKeySize && !key.Equal(ed25519.PrivateKey(raw)) {
		// Signing with halves that do not belong together gives the seed away.
		return SigningKey{}, fmt.Errorf("%w: its second half is not the public key of its first", ErrSigningKey)
	}
	return newSigningKey(key), nil
}

// PublicKey gives the key that verifies what k signs; that of the zero
// SigningKey is zero.
func (k SigningKey) PublicKey() PublicKey {
	if k.IsZero() {
		return PublicKey{}
	}
	return PublicKey{key: [ed25519.PublicKeySize]byte(k.private()[ed25519.SeedSize:])}
}

// Reveal gives the text of 64 bytes that [ParseSigningKey] reads, for the one
// who may see it. That of the zero SigningKey is empty.
func (k SigningKey) Reveal() string {
	if k.IsZero() {
		return ""
	}
	return signingKeyPrefix + base64.StdEncoding.EncodeToString(k.private())
}

// IsZero tells whether k is the zero SigningKey.
func (k SigningKey) IsZero() bool { return k.key == nil }

// String gives "whsk_***".
func (k SigningKey) String() string { return signingKeyRedacted }

// Format writes "whsk_***" for every verb of package fmt, %x and %#v too.
func (k SigningKey) Format(f fmt.State, _ rune) { io.WriteString(f, signingKeyRedacted) }

// LogValue gives "whsk_***" to slog.
func (k SigningKey) LogValue() slog.Value { return slog.StringValue(signingKeyRedacted) }

// MarshalText gives "whsk_***", which [ParseSigningKey] refuses.
func (k SigningKey) MarshalText() ([]byte, error) { return []byte(signingKeyRedacted), nil }

// UnmarshalText reads what [ParseSigningKey] reads, for configuration files.
func (k *SigningKey) UnmarshalText(text []byte) error {
	parsed, err := ParseSigningKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// decodeKey reads prefix and the one base64 text of some bytes.
func decodeKey(text, prefix string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("it does not start with %q", prefix)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	// Go's decoder skips line ends and stray last bits; one key has one text.
	if err != nil || base64.StdEncoding.EncodeToString(raw) != encoded {
		return nil, fmt.Errorf("what follows %q is not padded standard base64; look for white space or a missing end", prefix)
	}
	return raw, nil
}
