package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const (
	secretPrefix    = "whsec_"
	secretRedacted  = "whsec_***"
	minSecretLength = 24 // bytes, by the standard
	maxSecretLength = 64
	newSecretLength = 32
)

// ErrSecret is wrapped by every error of [ParseSecret]. The error says what is
// wrong and never holds any of the text.
var ErrSecret = errors.New("not a signing secret")

// Secret is a signing secret: the key of an endpoint's HMAC, 24 to 64 bytes.
// Printed, logged or encoded in any way it shows as "whsec_***"; only
// [Secret.Reveal] gives its text. The zero Secret signs and verifies nothing.
type Secret struct {
	// Behind two pointers, because fmt reaches an unexported field of
	// somebody's struct by reflection, without our methods. It prints a
	// pointer there as an address, but follows one if the verb is wrong.
	key **[]byte
}

func newSecret(key []byte) Secret {
	p := &key
	return Secret{key: &p}
}

// bytes gives the key; s is not the zero Secret.
func (s Secret) bytes() []byte { return **s.key }

// NewSecret makes a random secret of 32 bytes.
func NewSecret() Secret {
	key := make([]byte, newSecretLength)
	rand.Read(key)
	return newSecret(key)
}

// ParseSecret reads a secret as it is handed out: "whsec_" and the standard,
// padded base64 of 24 to 64 bytes. Errors wrap [ErrSecret].
func ParseSecret(text string) (Secret, error) {
	key, err := decodeKey(text, secretPrefix)
	if err != nil {
		return Secret{}, fmt.Errorf("%w: %w", ErrSecret, err)
	}
	if len(key) < minSecretLength || len(key) > maxSecretLength {
		return Secret{}, fmt.Errorf("%w: it has %d bytes, a secret has %d to %d", ErrSecret, len(key), minSecretLength, maxSecretLength)
	}
	return newSecret(key), nil
}

// Reveal gives the text that [ParseSecret] reads, for the one who may see it.
// That of the zero Secret is empty.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(s.bytes())
}

// IsZero tells whether s is the zero Secret.
func (s Secret) IsZero() bool { return s.key == nil }

// String gives "whsec_***".
func (s Secret) String() string { return secretRedacted }

// Format writes "whsec_***" for every verb of package fmt, %x and %#v too.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, secretRedacted) }

// LogValue gives "whsec_***" to slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(secretRedacted) }

// MarshalText gives "whsec_***", which [ParseSecret] refuses: a secret that
// was encoded by accident is lost loudly rather than leaked quietly.
func (s Secret) MarshalText() ([]byte, error) { return []byte(secretRedacted), nil }

// UnmarshalText is [ParseSecret] for decoders of configuration.
func (s *Secret) UnmarshalText(text []byte) error {
	parsed, err := ParseSecret(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
