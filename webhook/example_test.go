package webhook_test

import (
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
