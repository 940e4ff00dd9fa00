// Package webhook signs and verifies webhooks as Standard Webhooks 1.0
// describes (https://www.standardwebhooks.com): three headers, and over them
// and the body an HMAC-SHA256 with a secret that only the two sides know.
//
// A receiver needs a [Verifier] and the endpoint's secret:
//
//	secret, err := webhook.ParseSecret(os.Getenv("WEBHOOK_SECRET"))
//	…
//	verifier := &webhook.Verifier{Secrets: []webhook.Secret{secret}}
//
//	http.HandleFunc("POST /webhooks", func(w http.ResponseWriter, r *http.Request) {
//		event, err := verifier.VerifyRequest(r)
//		if err != nil {
//			http.Error(w, err.Error(), http.StatusBadRequest)
//			return
//		}
//		… // keep event.ID: the same event may come again
//	})
//
// The signature covers the body byte for byte. When verification fails with
// [ErrNoMatch] although the secret is right, the usual cause is that something
// in front of it parsed the body and wrote it out again (a JSON body parser, a
// gateway that changes white space or the order of fields). Verify the bytes
// as they came, then parse them.
//
// # Receiving in full
//
// A [Handler] does all that a receiver has to: it verifies, keeps the event in
// an [Inbox] before it answers, drops duplicates, and then processes what it
// kept, with retries, and again after a restart. Package tidings/webhook/sqlinbox
// keeps the inbox in the program's own database.
//
// # Keys that only verify
//
// Beside v1 there is the scheme v1a, Ed25519 signatures over the same content.
// Who verifies them holds a [PublicKey], with which nothing can be signed: set
// [Verifier.PublicKeys], or let a [KeySet] get them from the sender. Schemes
// other than these two are skipped.
//
// # Sending
//
// A sender needs a [Signer], made once per set of secrets.
package webhook

// The headers of a webhook. The first three are signed (the signature covers
// the first two); HeaderAttempt, the number of the attempt from 1, and
// HeaderTest, "true" for a sample event, are not.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
	HeaderAttempt   = "webhook-attempt"
	HeaderTest      = "webhook-test"
)

// maxIDLength bounds a webhook-id, in bytes. The standard has no bound; the
// ids in use have about 30.
const maxIDLength = 256

// validID tells whether id may be signed. A full stop would let the borders of
// "id.timestamp.body" be read in two ways, so the standard rules it out.
func validID(id string) bool {
	if id == "" || len(id) > maxIDLength {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '.' {
			return false
		}
	}
	return true
}
