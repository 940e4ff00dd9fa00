package issuer

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

const (
	macKeySize = 32
	tagSize    = 24  // 192 bits; the specification asks for codes of 128 or more
	maxSealed  = 512 // no text of ours is longer
)

// What a sealed text is for. It is part of what the tag covers, so that none can
// stand in for another.
const (
	forOffer        = "credential offer"
	forCode         = "pre-authorized code"
	forAccess       = "access token"
	forNonce        = "nonce"
	forNotification = "notification"
	forRefresh      = "refresh token"
	forDeferral     = "transaction id"
	forTxCode       = "transaction code"
)

// macKey authenticates everything that wallets bring back. The texts are not
// secret storage: whoever holds one holds what it stands for.
type macKey []byte

var sealing = base64.RawURLEncoding.Strict() // strict: one text for one value

// seal gives body with its tag, as text for URLs and JSON. Context is what the
// other side has to know anyway, such as the organisation.
func (k macKey) seal(purpose string, body []byte, context ...string) string {
	return sealing.EncodeToString(append(body, k.tag(purpose, body, context)...))
}

// open gives the body back if text was sealed for this purpose and context.
func (k macKey) open(purpose, text string, context ...string) ([]byte, bool) {
	if len(text) > maxSealed || strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return nil, false
	}
	raw, err := sealing.DecodeString(text)
	if err != nil || len(raw) <= tagSize {
		return nil, false
	}
	body, tag := raw[:len(raw)-tagSize], raw[len(raw)-tagSize:]
	return body, hmac.Equal(tag, k.tag(purpose, body, context))
}

// tag covers each part with its length, so that no two different inputs give
// the same bytes.
func (k macKey) tag(purpose string, body []byte, context []string) []byte {
	h := hmac.New(sha256.New, k)
	write := func(part []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	write([]byte("tidings issuer 1"))
	write([]byte(purpose))
	for _, c := range context {
		write([]byte(c))
	}
	write(body)
	return h.Sum(nil)[:tagSize]
}

// appendTime and cutTime write a time as milliseconds in 8 bytes.
func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
}

func cutTime(b []byte) (time.Time, []byte, bool) {
	if len(b) < 8 {
		return time.Time{}, nil, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC(), b[8:], true
}

const randomSize = 16 // 128 bits

func appendRandom(b []byte) []byte {
	var r [randomSize]byte
	rand.Read(r[:])
	return append(b, r[:]...)
}
