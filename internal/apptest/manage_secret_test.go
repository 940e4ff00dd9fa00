package apptest_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tidings/internal/apptest"
	"tidings/webhook"
)

type shownSecrets struct {
	Secret   string
	Previous []struct {
		Secret    string
		ExpiresAt time.Time
	}
}

func rotate(t *testing.T, a *apptest.API, id string, body any, headers ...string) (s shownSecrets) {
	t.Helper()
	r := ask(t, a, "POST", "/endpoints/"+id+"/secret/rotate", body, headers...).want(t, http.StatusOK)
	if got := r.header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
		t.Errorf("the answer with secrets has Cache-Control %q", got)
	}
	r.data(t, &s)
	return s
}

func signaturesOf(r apptest.Received) []string {
	return strings.Fields(r.Header.Get("webhook-signature"))
}

func actions(a *apptest.API, object string) (out []string) {
	for _, line := range list[struct{ Action, Object string }](a, "/audit") {
		if line.Object == object {
			out = append(out, line.Action)
		}
	}
	slices.Reverse(out)
	return out
}

func TestARotatedSecretSignsAlongUntilItsGraceIsOver(t *testing.T) {
	a, clock := managedAt(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	old := a.Secret(id)
	a.Publish(offered, "before")
	if got := receiver.Wait(1)[0]; len(signaturesOf(got)) != 1 {
		t.Errorf("signed with %v before the rotation", signaturesOf(got))
	}
	s := rotate(t, a.API, id, nil)
	if s.Secret == old || len(s.Previous) != 1 || s.Previous[0].Secret != old {
		t.Fatalf("rotated to %+v", s)
	}
	if left := s.Previous[0].ExpiresAt.Sub(clock.Now()); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("the old secret signs along for %v, want a day", left)
	}
	a.Publish(offered, "during")
	got := receiver.Wait(2)[1]
	for _, secret := range []string{old, s.Secret} {
		if err := verified(t, secret, got, clock.Now); err != nil {
			t.Errorf("during the grace: %v", err)
		}
	}
	if n := len(signaturesOf(got)); n != 2 {
		t.Errorf("%d signatures during the grace, want 2", n)
	}
	clock.Advance(24*time.Hour + time.Second)
	fresh := a.As(apptest.ClientID, apptest.ClientSecret)
	fresh.Publish(offered, "after")
	got = receiver.Wait(3)[2]
	if err := verified(t, s.Secret, got, clock.Now); err != nil {
		t.Errorf("after the grace: %v", err)
	}
	if verified(t, old, got, clock.Now) == nil || len(signaturesOf(got)) != 1 {
		t.Error("the old secret signs after its grace")
	}
	var now shownSecrets
	fresh.Call("GET", "/endpoints/"+id+"/secret", nil, http.StatusOK, &now)
	if now.Secret != s.Secret || len(now.Previous) != 0 {
		t.Errorf("after the grace the secrets are %+v", now)
	}
	if got, want := actions(fresh, id), []string{"endpoint.created", "secret.read", "secret.rotated", "secret.read"}; !slices.Equal(got, want) {
		t.Errorf("the audit log has %v, want %v", got, want)
	}
}

func TestRotationsLimits(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	all := []string{a.Secret(id)}
	for i := range 4 {
		s := rotate(t, a.API, id, apptest.Object{"gracePeriodSeconds": 604800})
		var previous []string
		for _, p := range s.Previous {
			previous = append(previous, p.Secret)
		}
		slices.Reverse(previous)
		if want := all[max(0, i-1):]; !slices.Equal(previous, want) {
			t.Errorf("after %d rotations the previous secrets are %v, want %v", i+1, previous, want)
		}
		all = append(all, s.Secret)
	}
	a.Publish(offered, "three")
	got := receiver.Wait(1)[0]
	for i, secret := range all {
		if ok := verified(t, secret, got, nil) == nil; ok != (i >= 2) {
			t.Errorf("secret %d of 5 verifies: %v", i+1, ok)
		}
	}
	s := rotate(t, a.API, id, apptest.Object{"gracePeriodSeconds": 0})
	if len(s.Previous) != 0 {
		t.Errorf("with no grace there are %d previous secrets", len(s.Previous))
	}
	a.Publish(offered, "one")
	got = receiver.Wait(2)[1]
	if verified(t, s.Secret, got, nil) != nil || len(signaturesOf(got)) != 1 {
		t.Errorf("with no grace the signatures are %v", signaturesOf(got))
	}
	for _, body := range []string{`{"gracePeriodSeconds":-1}`, `{"gracePeriodSeconds":604801}`, `{"gracePeriodSeconds":"1"}`} {
		r := ask(t, a.API, "POST", "/endpoints/"+id+"/secret/rotate", body).want(t, http.StatusBadRequest)
		if at, _ := r.problem(); at != "/gracePeriodSeconds" {
			t.Errorf("%s points to %q", body, at)
		}
	}
	ask(t, stranger(t, a, "other"), "POST", "/endpoints/"+id+"/secret/rotate", nil).want(t, http.StatusNotFound)
	if got := a.Secret(id); got != s.Secret {
		t.Error("a refused rotation changed the secret")
	}
	secretFree(t, "the audit log", ask(t, a.API, "GET", "/audit", nil).body, strings.TrimPrefix(s.Secret, "whsec_"))
	secretFree(t, "the log", []byte(a.Logs.String()), strings.TrimPrefix(s.Secret, "whsec_"))
}

func TestARepeatedRotationRotatesOnce(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	ask(t, a.API, "POST", "/endpoints", apptest.Object{"url": receiver.URL, "id": "mine"}).want(t, http.StatusCreated)
	first := rotate(t, a.API, "mine", nil, "Idempotency-Key", "k")
	again := rotate(t, a.API, "mine", nil, "Idempotency-Key", "k")
	if again.Secret != first.Secret || len(again.Previous) != 1 {
		t.Errorf("a repeated rotation gives %+v, want %+v", again, first)
	}
	ask(t, a.API, "POST", "/endpoints/mine/secret/rotate", `{"gracePeriodSeconds":1}`, "Idempotency-Key", "k").want(t, http.StatusConflict)
	if got := actions(a.API, "mine"); !slices.Equal(got, []string{"endpoint.created", "secret.rotated", "secret.read"}) {
		t.Errorf("the audit log has %v", got)
	}
	// The id is used again: the key belonged to the endpoint before.
	a.Call("DELETE", "/endpoints/mine", nil, http.StatusNoContent, nil)
	ask(t, a.API, "POST", "/endpoints", apptest.Object{"url": receiver.URL, "id": "mine"}).want(t, http.StatusCreated)
	ask(t, a.API, "POST", "/endpoints/mine/secret/rotate", nil, "Idempotency-Key", "k").want(t, http.StatusConflict)
}

func TestEd25519SignaturesVerifyFromTheKeysThatAnEndpointPublishes(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	made := apptest.Object{"url": receiver.URL, "id": "chosen", "signatures": []string{"v1", "v1a"}}
	ask(t, a.API, "POST", "/endpoints", made).want(t, http.StatusCreated)
	a.Publish(offered, "i")
	got := receiver.Wait(1)[0]
	signatures := signaturesOf(got)
	if len(signatures) != 2 || !strings.HasPrefix(signatures[0], "v1,") || !strings.HasPrefix(signatures[1], "v1a,") {
		t.Fatalf("signed with %v", signatures)
	}

	keys := a.URL + "/.well-known/webhook-keys/chosen"
	answer, err := a.HTTP.Get(keys)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var set struct {
		Keys []struct{ Kty, Crv, X, Kid, Use, Alg, D string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil || answer.StatusCode != http.StatusOK || len(set.Keys) != 1 {
		t.Fatalf("the keys: status %d, %v, %+v", answer.StatusCode, err, set)
	}
	if k := set.Keys[0]; k.Kty != "OKP" || k.Crv != "Ed25519" || k.Kid != "chosen" || k.Use != "sig" || k.Alg != "EdDSA" || k.D != "" {
		t.Errorf("the key is %+v", k)
	}
	public, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signatures[1], "v1a,"))
	if err != nil {
		t.Fatal(err)
	}
	signed := fmt.Sprintf("%s.%s.%s", got.ID(), got.Header.Get("webhook-timestamp"), got.Body)
	if !ed25519.Verify(public, []byte(signed), signature) {
		t.Error("the signature does not verify")
	}
	if ed25519.Verify(public, []byte(signed+" "), signature) {
		t.Error("the signature verifies another body")
	}
	v := webhook.Verifier{KeySet: &webhook.KeySet{URL: keys, Client: a.HTTP}}
	if err := v.Verify(got.Header, got.Body); err != nil {
		t.Errorf("with a KeySet: %v", err)
	}
	foreign, err := standardwebhooks.NewWebhook(a.Secret("chosen"))
	if err != nil {
		t.Fatal(err)
	}
	if err := foreign.Verify(got.Body, got.Header); err != nil {
		t.Errorf("a library that knows v1 only: %v", err)
	}

	change(t, a.API, "chosen", apptest.Object{"signatures": []string{"v1"}})
	wantKeys(t, a.API, "chosen", http.StatusNotFound)
	a.Publish(offered, "j")
	if s := signaturesOf(receiver.Wait(2)[1]); len(s) != 1 {
		t.Errorf("without v1a it is signed with %v", s)
	}
	change(t, a.API, "chosen", apptest.Object{"signatures": []string{"v1", "v1a"}})
	wantKeys(t, a.API, "chosen", http.StatusOK)
	a.Call("DELETE", "/endpoints/chosen", nil, http.StatusNoContent, nil)
	wantKeys(t, a.API, "chosen", http.StatusNotFound)
	wantKeys(t, a.API, "nobody", http.StatusNotFound)
}

func wantKeys(t *testing.T, a *apptest.API, id string, status int) {
	t.Helper()
	answer, err := a.HTTP.Get(a.URL + "/.well-known/webhook-keys/" + id)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != status {
		t.Errorf("the keys of %s: status %d, want %d", id, answer.StatusCode, status)
	}
}

// Two organisations may choose the same id, but not the same place for their keys.
func TestNoTwoOrganisationsShareAPlaceForKeys(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	other := stranger(t, a, "other")
	v1a := []string{"v1", "v1a"}
	ask(t, a.API, "POST", "/endpoints", apptest.Object{"url": receiver.URL, "id": "shared", "signatures": v1a}).want(t, http.StatusCreated)
	r := ask(t, other, "POST", "/endpoints", apptest.Object{"url": receiver.URL, "id": "shared", "signatures": v1a}).want(t, http.StatusConflict)
	if at, _ := r.problem(); at != "/signatures" {
		t.Errorf("points to %q: %s", at, r.body)
	}
	ask(t, other, "POST", "/endpoints", apptest.Object{"url": receiver.URL, "id": "shared"}).want(t, http.StatusCreated)
	ask(t, other, "PATCH", "/endpoints/shared", apptest.Object{"signatures": v1a}).want(t, http.StatusConflict)
	if got := endpointOf(t, other, "shared"); !slices.Equal(got.Signatures, []string{"v1"}) {
		t.Errorf("the refused patch left %v", got.Signatures)
	}
	change(t, a.API, "shared", apptest.Object{"description": "may be changed"})
}
