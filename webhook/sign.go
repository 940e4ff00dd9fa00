package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// What every signature starts with.
const (
	schemeHMAC    = "v1,"
	schemeEd25519 = "v1a,"
)

// The length of a signature after its scheme.
var (
	encodedSumLength     = base64.StdEncoding.EncodedLen(sha256.Size)
	encodedEd25519Length = base64.StdEncoding.EncodedLen(ed25519.SignatureSize)
)

// Errors of the signing side.
var (
	// ErrNoSecret comes where there is no secret or key to sign or verify
	// with, or where one of them is the zero Secret, SigningKey or PublicKey.
	ErrNoSecret = errors.New("no signing secret is set")
	// ErrID comes where an event's id cannot be signed: it is empty, longer
	// than 256 bytes, or holds a full stop, a space or a character outside
	// of visible ASCII.
	ErrID = errors.New("not a webhook-id")
)

// Signer signs webhooks with one or several secrets, and with Ed25519 keys
// where it has some. It is made once and kept: it holds prepared hash states,
// and may be used by any number of goroutines.
type Signer struct {
	keys        []*macPool
	signingKeys []SigningKey
}

// NewSigner makes a Signer. With several secrets (the new one first, then the
// one that is being rotated out) each signature header holds one signature per
// secret, in that order. The error is [ErrNoSecret].
func NewSigner(secrets ...Secret) (*Signer, error) {
	if len(secrets) == 0 {
		return nil, ErrNoSecret
	}
	s := &Signer{keys: make([]*macPool, len(secrets))}
	for i, secret := range secrets {
		if secret.IsZero() {
			return nil, ErrNoSecret
		}
		s.keys[i] = newMACPool(secret)
	}
	return s, nil
}

// WithKeys gives a Signer that signs with the secrets of s and with keys. The
// v1 signatures come first, so that a receiver who knows only those finds them
// as before. The error is [ErrNoSecret].
func (s *Signer) WithKeys(keys ...SigningKey) (*Signer, error) {
	if len(keys) == 0 || slices.ContainsFunc(keys, SigningKey.IsZero) {
		return nil, ErrNoSecret
	}
	return &Signer{keys: s.keys, signingKeys: slices.Concat(s.signingKeys, keys)}, nil
}

// Sign gives the value of the header webhook-signature for one attempt at
// sending body as event id at time at (of which whole seconds count):
// "v1,<base64>" once per secret, then "v1a,<base64>" once per key, separated
// by spaces. The error wraps [ErrID].
func (s *Signer) Sign(id string, at time.Time, body []byte) (string, error) {
	if !validID(id) {
		return "", fmt.Errorf("%w: %q", ErrID, shorten(id))
	}
	var room [4 * 48]byte // three live secrets need no more than this
	out := room[:0]
	for i, key := range s.keys {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, schemeHMAC...)
		m := key.get()
		out = m.appendSum(out, id, at.Unix(), body)
		key.put(m)
	}
	if len(s.signingKeys) == 0 {
		return string(out), nil
	}
	content := appendContent(nil, id, at.Unix(), body)
	for _, key := range s.signingKeys {
		out = append(out, ' ')
		out = append(out, schemeEd25519...)
		out = base64.StdEncoding.AppendEncode(out, ed25519.Sign(key.private(), content))
	}
	return string(out), nil
}

// SetHeaders signs and sets webhook-id, webhook-timestamp and
// webhook-signature in h. The error wraps [ErrID].
func (s *Signer) SetHeaders(h http.Header, id string, at time.Time, body []byte) error {
	signature, err := s.Sign(id, at, body)
	if err != nil {
		return err
	}
	values := []string{id, strconv.FormatInt(at.Unix(), 10), signature}
	h[canonicalID], h[canonicalTimestamp], h[canonicalSignature] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}

// The headers' names as [http.Header] has them, made once.
var (
	canonicalID        = http.CanonicalHeaderKey(HeaderID)
	canonicalTimestamp = http.CanonicalHeaderKey(HeaderTimestamp)
	canonicalSignature = http.CanonicalHeaderKey(HeaderSignature)
)

// mac is a keyed hash state with the scratch space that keeps a signature from
// allocating.
type mac struct {
	hash hash.Hash
	head []byte
	sum  [sha256.Size]byte
}

func newMAC(secret Secret) *mac { return &mac{hash: hmac.New(sha256.New, secret.bytes())} }

// appendSum appends the base64 of HMAC(id "." seconds "." body) to dst.
func (m *mac) appendSum(dst []byte, id string, seconds int64, body []byte) []byte {
	m.head = appendContent(m.head[:0], id, seconds, nil)
	m.hash.Reset()
	m.hash.Write(m.head)
	m.hash.Write(body)
	return base64.StdEncoding.AppendEncode(dst, m.hash.Sum(m.sum[:0]))
}

// appendContent appends what every scheme signs: id "." seconds "." body.
func appendContent(dst []byte, id string, seconds int64, body []byte) []byte {
	dst = append(dst, id...)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, seconds, 10)
	dst = append(dst, '.')
	return append(dst, body...)
}

// macPool keeps states of one key: to key a state anew costs two of the five
// or so blocks that a webhook hashes.
type macPool struct{ pool sync.Pool }

func newMACPool(secret Secret) *macPool {
	return &macPool{pool: sync.Pool{New: func() any { return newMAC(secret) }}}
}

func (p *macPool) get() *mac  { return p.pool.Get().(*mac) }
func (p *macPool) put(m *mac) { p.pool.Put(m) }

// shorten keeps a stranger's text out of an error but for its start.
func shorten(text string) string {
	const most = 64
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
