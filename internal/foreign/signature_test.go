package foreign

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidings/internal/apptest"
	"tidings/webhook"
)

// verification is what js/verifier.mjs is asked.
func verification(secret string, got apptest.Received) object {
	headers := object{}
	for name := range got.Header {
		headers[strings.ToLower(name)] = got.Header.Get(name) // as Node has them
	}
	return object{"secret": secret, "headers": headers, "body": string(got.Body)}
}

// rejects has the library refuse a webhook with its own message.
func rejects(t *testing.T, v *stepper, secret string, got apptest.Received, message string) {
	t.Helper()
	r := v.try("verify", verification(secret, got), nil)
	if r == nil || r.Name != "WebhookVerificationError" || r.Message != message {
		t.Errorf("the library says %v, want %q", r, message)
	}
}

func TestAForeignLibraryVerifiesDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := startStepper(t, w.files.CA, "verifier.mjs")
	w.issue(nil)
	w.publish(3)
	all := w.receiver.Wait(4)
	for _, got := range all {
		var verified struct{ Body object }
		v.do("verify", verification(w.secret, got), &verified)
		if !strings.HasPrefix(verified.Body["eventType"].(string), "openid4vc.issuance.") {
			t.Errorf("the library read %v", verified.Body)
		}
	}

	const mismatch = "No matching signature found"
	real := all[0]
	rejects(t, v, webhook.NewSecret().Reveal(), real, mismatch)

	forged := real
	forged.Body = []byte(strings.Replace(string(real.Body), "offered", "completed", 1))
	rejects(t, v, w.secret, forged, mismatch)

	for name, value := range map[string]string{
		webhook.HeaderID:        all[1].ID(),
		webhook.HeaderTimestamp: strconv.FormatInt(time.Now().Add(-time.Minute).Unix(), 10),
	} {
		moved := real
		moved.Header = real.Header.Clone()
		moved.Header.Set(name, value)
		rejects(t, v, w.secret, moved, mismatch)
	}
	bare := real
	bare.Header = real.Header.Clone()
	bare.Header.Del(webhook.HeaderSignature)
	rejects(t, v, w.secret, bare, "Missing required headers")
}

func TestAForeignLibraryAndTheSigner(t *testing.T) {
	t.Parallel()
	v := startStepper(t, "", "verifier.mjs")
	current, previous := webhook.NewSecret(), webhook.NewSecret()
	signer, err := webhook.NewSigner(current, previous)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"Zoë"}}`
	signed := func(at time.Time) apptest.Received {
		got := apptest.Received{Header: http.Header{}, Body: []byte(body)}
		if err := signer.SetHeaders(got.Header, "an-event", at, got.Body); err != nil {
			t.Fatal(err)
		}
		return got
	}

	// While a secret is being rotated, holders of either verify.
	rotating := signed(time.Now())
	for _, secret := range []webhook.Secret{current, previous} {
		v.do("verify", verification(secret.Reveal(), rotating), nil)
	}
	rejects(t, v, webhook.NewSecret().Reveal(), rotating, "No matching signature found")
	rejects(t, v, current.Reveal(), signed(time.Now().Add(-6*time.Minute)), "Message timestamp too old")
	rejects(t, v, current.Reveal(), signed(time.Now().Add(6*time.Minute)), "Message timestamp too new")

	// And the other way round: what the library signs, the receiver's side takes.
	var theirs struct{ Signature string }
	now := time.Now().Unix()
	v.do("sign", object{"secret": current.Reveal(), "id": "an-event", "seconds": now, "body": body}, &theirs)
	header := http.Header{}
	header.Set(webhook.HeaderID, "an-event")
	header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now, 10))
	header.Set(webhook.HeaderSignature, theirs.Signature)
	verifier := webhook.Verifier{Secrets: []webhook.Secret{current}}
	if err := verifier.Verify(header, []byte(body)); err != nil {
		t.Error(err)
	}
}
