package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"
)

// foreign is the public Go library with the same secret.
func foreign(t interface{ Fatal(...any) }, s Secret) *standardwebhooks.Webhook {
	wh, err := standardwebhooks.NewWebhook(s.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return wh
}

// TestInterop: what we sign the public library verifies, and the other way
// round, for any id, time and body; and nothing verifies once it is changed.
func TestInterop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := NewSecret()
		id := rapid.StringMatching(`[!-\-/-~]{1,64}`).Draw(t, "id")
		seconds := rapid.Int64Range(0, 1<<36).Draw(t, "seconds")
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		signer, err := NewSigner(secret, NewSecret())
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		if err := signer.SetHeaders(h, id, time.Unix(seconds, 0), body); err != nil {
			t.Fatal(err)
		}
		if err := foreign(t, secret).VerifyIgnoringTimestamp(body, h); err != nil {
			t.Fatalf("the public library refuses ours: %v", err)
		}
		theirs, err := foreign(t, secret).Sign(id, time.Unix(seconds, 0), body)
		if err != nil {
			t.Fatal(err)
		}
		if own := strings.Split(h.Get(HeaderSignature), " ")[0]; own != theirs {
			t.Fatalf("we sign %q, they %q", own, theirs)
		}
		h.Set(HeaderSignature, theirs)
		v := &Verifier{Secrets: []Secret{NewSecret(), secret}, Now: at(seconds)}
		if err := v.Verify(h, body); err != nil {
			t.Fatalf("we refuse theirs: %v", err)
		}
		changed := append([]byte(nil), body...)
		changed = append(changed, 0)
		if n := rapid.IntRange(0, len(body)).Draw(t, "change"); n < len(body) {
			changed = changed[:len(body)]
			changed[n] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		if v.Verify(h, changed) == nil {
			t.Fatal("a changed body verifies")
		}
	})
}

// TestInteropNow lets the public library judge the time, too.
func TestInteropNow(t *testing.T) {
	secret := NewSecret()
	h := signedHeader(t, mustSigner(t, secret), "e1", time.Now().Unix(), eventBody)
	if err := foreign(t, secret).Verify([]byte(eventBody), h); err != nil {
		t.Fatal(err)
	}
}

// TestInteropEd25519: a header that carries v1a signatures as well does not
// disturb a library that knows only v1, nor do they pass there alone.
func TestInteropEd25519(t *testing.T) {
	old, current := NewSecret(), NewSecret()
	key := NewSigningKey()
	signer := withKeys(t, mustSigner(t, current, old), key, NewSigningKey())
	h := signedHeader(t, signer, "e1", time.Now().Unix(), eventBody)
	for _, secret := range []Secret{old, current} {
		if err := foreign(t, secret).Verify([]byte(eventBody), h); err != nil {
			t.Error(err)
		}
	}
	v := &Verifier{PublicKeys: []PublicKey{key.PublicKey()}}
	if err := v.Verify(h, []byte(eventBody)); err != nil {
		t.Error(err)
	}
	signatures := strings.Split(h.Get(HeaderSignature), " ")
	h.Set(HeaderSignature, strings.Join(signatures[2:], " "))
	if foreign(t, current).Verify([]byte(eventBody), h) == nil {
		t.Error("v1a signatures pass as v1")
	}
	if err := v.Verify(h, []byte(eventBody)); err != nil {
		t.Error(err)
	}
}
