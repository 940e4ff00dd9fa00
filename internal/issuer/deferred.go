package issuer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidings"
)

// deferralInterval is after how many seconds a wallet may ask again (section
// 9.2). A decision by people takes longer; one by a program should not wait.
const deferralInterval = 5

// deferredAnswer tells a wallet to come again (sections 8.3 and 9.2). It has no
// notification_id: nothing was issued.
type deferredAnswer struct {
	TransactionID string `json:"transaction_id"`
	Interval      int    `json:"interval"`
}

func (s *Issuer) pending(r *request, issuance, credential string) answer {
	id := s.mac.seal(forDeferral, []byte(credential), r.org.Slug, issuance)
	return answer{status: http.StatusAccepted, body: deferredAnswer{id, deferralInterval}}
}

// deferCredential keeps the keys that a wallet has proved until the credential is
// approved. The transaction id is the same each time.
func (s *Issuer) deferCredential(ctx context.Context, r *request, i tidings.Issuance, c tidings.Credential, p proofs) (answer, error) {
	var keys []jose.JSONWebKey
	for _, key := range p.keys {
		keys = append(keys, jose.JSONWebKey{Key: key})
	}
	text, err := json.Marshal(keys)
	if err != nil {
		return answer{}, fmt.Errorf("keeping the keys of credential %s: %w", c.ID, err)
	}
	_, err = s.store.Transition(ctx, r.org.Key, i.ID, tidings.Defer{CredentialID: c.ID, Nonce: p.nonce, Keys: string(text)})
	if refusal, _ := errors.AsType[tidings.Refusal](err); refusal == tidings.RefusedNotDeferred {
		return s.deliver(ctx, r, i, c, p) // it was approved at this moment
	}
	if err != nil {
		return answer{}, refusedAccess(refusalOr(err, deliverRefusals))
	}
	s.cfg.Log.InfoContext(ctx, "credential deferred", "organisation", r.org.Slug, "issuance", i.ID, "credential", c.ID)
	return s.pending(r, i.ID, c.ID), nil
}

var errTransactionID = refuse("invalid_transaction_id", "The transaction_id is not one of this token, or nothing waits for it any more.")

// deferred gives a deferred credential once it is approved (section 9).
func (s *Issuer) deferred(ctx context.Context, r *request) (answer, error) {
	// 1. The access token.
	a, err := s.authorize(r)
	if err != nil {
		return answer{}, err
	}

	// 2. The request (section 9.1).
	var req struct {
		ID         string         `json:"transaction_id"`
		Encryption jsontext.Value `json:"credential_response_encryption"`
	}
	if err := readRequest(r, &req); err != nil {
		return answer{}, err
	}
	switch {
	case present(req.Encryption):
		return answer{}, errEncryption
	case req.ID == "":
		return answer{}, refuse(codeInvalidRequest, "The parameter transaction_id is required.")
	}

	// 3. The credential, which must be one of this token's issuance that was
	// deferred. Wallets ask again and again, so this only looks.
	id, ok := s.mac.open(forDeferral, req.ID, r.org.Slug, a.issuance)
	if !ok {
		return answer{}, errTransactionID
	}
	i, err := s.store.Issuance(ctx, r.org.Key, a.issuance)
	if err != nil {
		return answer{}, refusedAccess(err)
	}
	i, _, _ = i.Apply(tidings.Tick{}, r.now) // the sweep writes it
	c := i.Credential(string(id))
	if c == nil || c.HolderKeys == "" || c.Accepted { // accepted: the wallet said that it has it (section 9.1)
		return answer{}, errTransactionID
	}

	// 4. What became of it.
	switch {
	case i.State == tidings.StateFailed || i.State == tidings.StateExpired:
		return answer{}, refuse(codeDenied, "The issuance has ended without this credential.")
	case i.Deferral == tidings.DeferralPending:
		return s.pending(r, i.ID, c.ID), nil
	}
	p, err := keptProofs(*c)
	if err != nil {
		return answer{}, err
	}
	return s.deliver(ctx, r, i, *c, p)
}

// keptProofs gives the keys that a wallet proved when its credential was deferred.
func keptProofs(c tidings.Credential) (p proofs, err error) {
	var keys []jose.JSONWebKey
	if err := json.Unmarshal([]byte(c.HolderKeys), &keys); err != nil {
		return p, fmt.Errorf("reading the keys of credential %s: %w", c.ID, err)
	}
	for _, key := range keys {
		p.keys = append(p.keys, crypto.PublicKey(key.Key))
	}
	return p, nil
}
