package webhook

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultTolerance is how far a webhook's timestamp may lie from now, in both
// directions, where a Verifier does not say otherwise.
const DefaultTolerance = 5 * time.Minute

// DefaultMaxBody is how many bytes of body [Verifier.VerifyRequest] reads
// where a Verifier does not say otherwise.
const DefaultMaxBody = 64 << 10

// What a hostile header can make us do is bounded by these.
const (
	maxSignatureHeader = 4096 // bytes
	maxSignatures      = 16   // signatures of any scheme that are looked at
	maxEd25519         = 4    // of which v1a, which cost more
)

// The reasons why a webhook is refused; test for them with [errors.Is]. The
// text of an error that wraps one says more and holds no secret.
var (
	// ErrMissingHeader: one of the three signed headers is not there. The
	// request is no webhook, or a proxy dropped the header.
	ErrMissingHeader = errors.New("a webhook header is missing")
	// ErrMalformedHeader: a header is there but cannot be read, is too long,
	// or stands there twice.
	ErrMalformedHeader = errors.New("a webhook header is malformed")
	// ErrTooOld: the timestamp is older than the tolerance. Either somebody
	// replays an old request, or it waited in a queue before it was verified,
	// or this machine's clock is ahead.
	ErrTooOld = errors.New("the webhook's timestamp is too old")
	// ErrTooNew: the timestamp lies further ahead than the tolerance: one of
	// the two clocks is wrong.
	ErrTooNew = errors.New("the webhook's timestamp is in the future")
	// ErrNoMatch: no signature was made with one of the secrets or keys over
	// exactly this body. The usual causes: the body was parsed and written
	// out again before it was verified, the secret is another endpoint's, or
	// it was rotated out.
	ErrNoMatch = errors.New("no signature matches: was the body parsed or changed before it was verified, or is the secret another endpoint's?")
	// ErrBodyRead: something read the request's body before it got here.
	ErrBodyRead = errors.New("the request's body was already read: verify the webhook before anything parses it")
	// ErrBodyTooLarge: the request's body is longer than MaxBody.
	ErrBodyTooLarge = errors.New("the webhook's body is too large")
	// ErrBody: the signature is right, but the body is not an event of the
	// form {"eventType":"…","payload":…}.
	ErrBody = errors.New("the webhook's body is not an event")
)

// Verifier verifies webhooks with Secrets (v1), PublicKeys (v1a) and KeySet
// (v1a): at least one of the three is set, and one signature that matches any
// of what is set is enough. Set its fields before its first use; then any
// number of goroutines may use it.
type Verifier struct {
	// Secrets are those of the endpoint. While a secret is rotated, both the
	// new and the old one stand here.
	Secrets []Secret
	// PublicKeys are those of the endpoint, where it asks for v1a signatures.
	PublicKeys []PublicKey
	// KeySet gives more of the endpoint's public keys; it gets them from the
	// sender.
	KeySet *KeySet
	// Tolerance is how far the timestamp may lie from now, in both directions;
	// 0 means DefaultTolerance.
	Tolerance time.Duration
	// MaxBody is the longest body that VerifyRequest reads, in bytes; 0 means
	// DefaultMaxBody.
	MaxBody int64
	// Now gives the time; nil means time.Now.
	Now func() time.Time
}

// Verify tells whether body came, unchanged and within the tolerance, from a
// sender that knows one of the secrets: nil if so, else an error that wraps
// [ErrNoSecret], [ErrMissingHeader], [ErrMalformedHeader], [ErrTooOld],
// [ErrTooNew], [ErrNoMatch] or, with a KeySet, [ErrKeySet]. The keys of h are
// canonical, as in a request that net/http received. What verifies may still
// be a duplicate of an earlier webhook with the same webhook-id.
func (v *Verifier) Verify(h http.Header, body []byte) error {
	e, err := v.readEnvelope(h)
	if err != nil {
		return err
	}
	return v.match(context.Background(), e, body)
}

// VerifyRequest reads the body of r, verifies it and gives the event in it.
// Errors are those of Verify and [ErrBodyRead], [ErrBodyTooLarge], [ErrBody],
// or what reading the body gave. Afterwards r.Body can be read once more, so
// that it can stand in front of other handlers.
func (v *Verifier) VerifyRequest(r *http.Request) (Event, error) {
	e, err := v.readEnvelope(r.Header) // before the body: strangers get no further
	if err != nil {
		return Event{}, err
	}
	body, err := v.readBody(r)
	if err != nil {
		return Event{}, err
	}
	if err := v.match(r.Context(), e, body); err != nil {
		return Event{}, err
	}
	event, err := ParseEvent(e.id, body)
	if err != nil {
		return Event{}, err
	}
	event.Timestamp = time.Unix(e.seconds, 0).UTC()
	event.Received = v.now()
	event.Test = r.Header.Get(HeaderTest) == "true"
	if n, err := strconv.Atoi(r.Header.Get(HeaderAttempt)); err == nil && n > 0 {
		event.Attempt = n
	}
	return event, nil
}

func (v *Verifier) readBody(r *http.Request) ([]byte, error) {
	limit := v.MaxBody
	if limit <= 0 {
		limit = DefaultMaxBody
	}
	if r.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrBodyTooLarge, r.ContentLength, limit)
	}
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case len(body) == 0 && r.ContentLength > 0:
		return nil, ErrBodyRead
	case err != nil:
		return nil, fmt.Errorf("read the webhook's body: %w", err)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, limit)
	}
	r.Body = &rewound{Reader: bytes.NewReader(body), Closer: r.Body}
	return body, nil
}

// rewound is a body that can be read again; closing it closes the first.
type rewound struct {
	io.Reader
	io.Closer
}

// envelope is what the three signed headers say.
type envelope struct {
	id      string
	seconds int64    // Unix time
	macs    []string // v1, in base64
	ed25519 [][]byte // v1a
}

// readEnvelope reads the headers and judges the timestamp.
func (v *Verifier) readEnvelope(h http.Header) (envelope, error) {
	var e envelope
	if len(v.Secrets)+len(v.PublicKeys) == 0 && v.KeySet == nil {
		return e, ErrNoSecret
	}
	// What is empty anybody can sign with.
	if slices.ContainsFunc(v.Secrets, Secret.IsZero) || slices.ContainsFunc(v.PublicKeys, PublicKey.IsZero) {
		return e, ErrNoSecret
	}
	id, err := single(h, HeaderID)
	if err != nil {
		return e, err
	}
	stamp, err := single(h, HeaderTimestamp)
	if err != nil {
		return e, err
	}
	signature, err := single(h, HeaderSignature)
	if err != nil {
		return e, err
	}
	if !validID(id) {
		return e, fmt.Errorf("%w: %s %q", ErrMalformedHeader, HeaderID, shorten(id))
	}
	seconds, ok := parseSeconds(stamp)
	if !ok {
		return e, fmt.Errorf("%w: %s %q is not a Unix time in seconds", ErrMalformedHeader, HeaderTimestamp, shorten(stamp))
	}
	if len(signature) > maxSignatureHeader {
		return e, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrMalformedHeader, HeaderSignature, len(signature), maxSignatureHeader)
	}
	e = envelope{id: id, seconds: seconds}
	e.macs, e.ed25519 = parseSignatures(signature)
	return e, v.checkTime(time.Unix(seconds, 0))
}

// single gives the only value of a header. Two values could be read one way
// here and another way where duplicates are dropped.
func single(h http.Header, name string) (string, error) {
	switch values := h.Values(name); {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", fmt.Errorf("%w: %s", ErrMissingHeader, name)
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s stands there %d times", ErrMalformedHeader, name, len(values))
	default:
		return values[0], nil
	}
}

// parseSeconds reads a Unix time in its one spelling: digits, no sign, no
// leading zero.
func parseSeconds(text string) (int64, bool) {
	const mostDigits = 12 // until the year 33658
	if len(text) > mostDigits {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == text
}

// parseSignatures gives the base64 of the v1 signatures in header, as it
// stands there, and the bytes of the v1a signatures; other schemes are skipped.
func parseSignatures(header string) (macs []string, edwards [][]byte) {
	seen := 0
	for signature := range strings.SplitSeq(header, " ") {
		if signature == "" {
			continue
		}
		if seen++; seen > maxSignatures {
			break
		}
		if encoded, ok := strings.CutPrefix(signature, schemeHMAC); ok {
			if len(encoded) == encodedSumLength {
				macs = append(macs, encoded)
			}
		} else if encoded, ok := strings.CutPrefix(signature, schemeEd25519); ok && len(edwards) < maxEd25519 {
			if raw, ok := decodeEd25519(encoded); ok {
				edwards = append(edwards, raw)
			}
		}
	}
	return macs, edwards
}

func decodeEd25519(encoded string) ([]byte, bool) {
	if len(encoded) != encodedEd25519Length {
		return nil, false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	return raw, err == nil && len(raw) == ed25519.SignatureSize
}

func (v *Verifier) checkTime(at time.Time) error {
	tolerance := v.Tolerance
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	switch age := v.now().Sub(at); {
	case age > tolerance:
		return fmt.Errorf("%w: it is %s old, at most %s; is this machine's clock right, and is the webhook verified as it arrives?", ErrTooOld, age.Round(time.Second), tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: by %s, at most %s; is this machine's clock right?", ErrTooNew, (-age).Round(time.Second), tolerance)
	}
	return nil
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

// match looks for one signature that one of the secrets or keys made.
func (v *Verifier) match(ctx context.Context, e envelope, body []byte) error {
	asymmetric := len(v.PublicKeys) > 0 || v.KeySet != nil
	switch {
	case len(v.Secrets) > 0 && !asymmetric && len(e.macs) == 0:
		return fmt.Errorf("%w (the header holds no v1 signature)", ErrNoMatch)
	case len(v.Secrets) == 0 && len(e.ed25519) == 0:
		return fmt.Errorf("%w (the header holds no v1a signature: does the endpoint ask for them?)", ErrNoMatch)
	}
	if matchSecrets(v.Secrets, e, body) {
		return nil
	}
	if !asymmetric || len(e.ed25519) == 0 {
		return ErrNoMatch
	}
	content := appendContent(nil, e.id, e.seconds, body)
	if matchKeys(v.PublicKeys, e.ed25519, content) {
		return nil
	}
	if v.KeySet == nil {
		return ErrNoMatch
	}
	return v.KeySet.match(ctx, e.ed25519, content)
}

// matchSecrets compares, in constant time, every signature with what each
// secret would have signed.
func matchSecrets(secrets []Secret, e envelope, body []byte) bool {
	if len(e.macs) == 0 {
		return false
	}
	var room [64]byte
	for _, secret := range secrets {
		want := newMAC(secret).appendSum(room[:0], e.id, e.seconds, body)
		for _, got := range e.macs {
			if hmac.Equal([]byte(got), want) {
				return true
			}
		}
	}
	return false
}

func matchKeys(keys []PublicKey, signatures [][]byte, content []byte) bool {
	for _, key := range keys {
		for _, signature := range signatures {
			if ed25519.Verify(key.key[:], content, signature) {
				return true
			}
		}
	}
	return false
}
