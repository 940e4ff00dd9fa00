package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"tidings/webhook"
)

// A receiver verifies a request before anything else reads its body, answers
// at once, and does nothing for an event that it has seen.
func ExampleVerifier_VerifyRequest() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") // from the configuration
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier := &webhook.Verifier{Secrets: []webhook.Secret{secret}}
	receive := func(w http.ResponseWriter, r *http.Request) {
		event, err := verifier.VerifyRequest(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Println(event.Type, event.IssuanceID)
	}

	// What the sender does:
	body := `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"cmfwfjxdq003js601bmgy9tva"}}`
	request := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
	signer, _ := webhook.NewSigner(secret)
	_ = signer.SetHeaders(request.Header, "evt1", time.Now(), []byte(body))

	receive(httptest.NewRecorder(), request)
	// Output: openid4vc.issuance.completed cmfwfjxdq003js601bmgy9tva
}

// The published test vector of Standard Webhooks.
func ExampleSigner_Sign() {
	secret, _ := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	signer, _ := webhook.NewSigner(secret)
	signature, _ := signer.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	fmt.Println(signature)
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}

// Every refusal has a kind.
func ExampleVerifier_Verify() {
	verifier := &webhook.Verifier{Secrets: []webhook.Secret{webhook.NewSecret()}}
	err := verifier.Verify(http.Header{}, []byte(`{}`))
	fmt.Println(errors.Is(err, webhook.ErrMissingHeader), err)
	// Output: true a webhook header is missing: webhook-id
}

// A secret does not show itself by accident.
func ExampleSecret() {
	secret, _ := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	fmt.Printf("%v %+v %#v %x\n", secret, secret, secret, secret)
	// Output: whsec_*** whsec_*** whsec_*** whsec_***
}

// A Handler in front of an inbox. Here it forgets at a restart: a program has
// one of package sqlinbox, and runs Run beside its HTTP server until it is
// told to stop.
func ExampleHandler() {
	secret := webhook.NewSecret() // in a program: webhook.ParseSecret(os.Getenv("WEBHOOK_SECRET"))
	ctx, stop := context.WithCancel(context.Background())
	handler := &webhook.Handler{
		Verifier: &webhook.Verifier{Secrets: []webhook.Secret{secret}},
		Inbox:    &webhook.MemoryInbox{},
		Process: func(_ context.Context, event webhook.Event) error {
			if event.Test {
				return nil // somebody tries the endpoint
			}
			fmt.Println("processed", event.Type, event.IssuanceID)
			stop()
			return nil // an error would bring the event back later
		},
	}

	// What the sender does, twice:
	body := `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"cmfwfjxdq003js601bmgy9tva"}}`
	signer, _ := webhook.NewSigner(secret)
	for range 2 {
		request := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
		_ = signer.SetHeaders(request.Header, "evt1", time.Now(), []byte(body))
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		fmt.Println("answered", answer.Code)
	}

	if err := handler.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// answered 204
	// answered 204
	// processed openid4vc.issuance.completed cmfwfjxdq003js601bmgy9tva
}

// Who only verifies needs no secret: the test vector of the Svix server.
func ExampleVerifier_publicKeys() {
	key, err := webhook.ParsePublicKey("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier := &webhook.Verifier{
		PublicKeys: []webhook.PublicKey{key},
		Now:        func() time.Time { return time.Unix(1614265330, 0) },
	}
	header := http.Header{}
	header.Set(webhook.HeaderID, "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set(webhook.HeaderTimestamp, "1614265330")
	header.Set(webhook.HeaderSignature, "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==")
	fmt.Println(verifier.Verify(header, []byte(`{"test": 2432232314}`)))
	// Output: <nil>
}

// A sender adds v1a signatures after those of v1.
func ExampleSigner_WithKeys() {
	secret, _ := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	key, _ := webhook.ParseSigningKey("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
	signer, _ := webhook.NewSigner(secret)
	signer, _ = signer.WithKeys(key)
	signature, _ := signer.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	fmt.Println(strings.ReplaceAll(signature, " ", "\n"))
	fmt.Println(key.PublicKey())
	// Output:
	// v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
	// v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==
	// whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=
}

// A KeySet lets the receiver follow when the sender changes its keys.
func ExampleKeySet() {
	verifier := &webhook.Verifier{KeySet: &webhook.KeySet{
		URL: "https://tidings.example/.well-known/webhook-keys/du398r0fqd",
	}}
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks", &webhook.Handler{Verifier: verifier}) // and Inbox, Process
}
