package issuer

import (
	"context"
	"crypto"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidings"
)

// credentialRequest is a credential request (section 8.2). Unknown members are
// ignored; a repeated one is malformed.
type credentialRequest struct {
	Identifier      string         `json:"credential_identifier"`
	ConfigurationID string         `json:"credential_configuration_id"`
	Proofs          jsontext.Value `json:"proofs"`
	Proof           jsontext.Value `json:"proof"`
	Encryption      jsontext.Value `json:"credential_response_encryption"`
}

// legacyProof is the one proof of the drafts before 1.0, which wallets in the
// field still send. It costs nothing to take: it says the same.
type legacyProof struct {
	Type string `json:"proof_type"`
	JWT  string `json:"jwt"`
}

// credentialAnswer is a credential response (section 8.3).
type credentialAnswer struct {
	Credentials    []issued `json:"credentials"`
	NotificationID string   `json:"notification_id"`
}

type issued struct {
	Credential string `json:"credential"`
}

// credential issues one credential to one key, or a copy to each of several
// (section 8). It is signed before the delivery commits and leaves only after:
// whatever fails in between gives the wallet nothing and changes nothing, and an answer that is lost on its way
// can be had again with a fresh nonce while the token lives.
func (s *Issuer) credential(ctx context.Context, r *request) (answer, error) {
	// 1. The access token (section 8.3.1.1).
	a, err := s.authorize(r)
	if err != nil {
		return answer{}, err
	}

	// 2. The request.
	req, err := parseCredentialRequest(r)
	if err != nil {
		return answer{}, err
	}

	// 3. The credential that is asked for.
	i, err := s.store.Issuance(ctx, r.org.Key, a.issuance)
	if err != nil {
		return answer{}, refusedAccess(err)
	}
	c, err := req.find(i, a)
	if err != nil {
		return answer{}, err
	}

	// 4. The proof of possession (section 8.2.1), with a nonce not used so far.
	p, err := s.checkProofs(r, req)
	if err != nil {
		return answer{}, err
	}

	// 5. A deferred credential that is not approved is not made yet (section 8.3).
	if i.Deferral == tidings.DeferralPending {
		return s.deferCredential(ctx, r, i, c, p)
	}

	// 6. The credential itself, and its delivery.
	return s.deliver(ctx, r, i, c, p)
}

// deliver signs a credential for the keys that were proved and delivers it.
func (s *Issuer) deliver(ctx context.Context, r *request, i tidings.Issuance, c tidings.Credential, p proofs) (answer, error) {
	// 1. The credential itself, a copy for each key.
	copies, statuses, err := s.signAll(ctx, r, c, p.keys)
	if err != nil {
		return answer{}, err
	}

	// 2. Delivery, which spends the nonce. Of any number of requests with one
	// proof, one wins.
	i, err = s.store.Transition(ctx, r.org.Key, i.ID, tidings.Deliver{CredentialID: c.ID, Nonce: p.nonce, Statuses: statuses, Grace: s.cfg.Grace})
	if err != nil {
		return answer{}, refusedAccess(refusalOr(err, deliverRefusals))
	}
	s.cfg.Log.InfoContext(ctx, "credential delivered", "organisation", r.org.Slug, "issuance", i.ID, "credential", c.ID)

	// 3. The answer.
	return answer{body: credentialAnswer{Credentials: copies, NotificationID: s.notificationID(r.org, i.ID, c.ID)}}, nil
}

// signAll signs a copy of the credential for each of the holder's keys, with a
// place in a status list of its own where it is revocable: so that no two
// verifiers see that they were shown the same one (section 3.3.2).
func (s *Issuer) signAll(ctx context.Context, r *request, c tidings.Credential, keys []crypto.PublicKey) (copies []issued, statuses []tidings.StatusIndex, err error) {
	t, err := s.templateOf(ctx, r, c)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		text, places, err := s.sign(ctx, r, t, c, key)
		if err != nil {
			return nil, nil, err
		}
		copies, statuses = append(copies, issued{text}), append(statuses, places...)
	}
	return copies, statuses, nil
}

var deliverRefusals = map[tidings.Refusal]*protocolError{
	tidings.RefusedNonceUsed: refuse(codeInvalidNonce, "The nonce was used already; please get a new one."),
	// Wallets take this one as final (section 8.3.1.2), which it is.
	tidings.RefusedEnded:    refuse(codeDenied, "The issuance has ended."),
	tidings.RefusedExpired:  refuse(codeDenied, "The issuance has ended."),
	tidings.RefusedRedeemed: refuse(codeDenied, "The issuance has ended."),
	tidings.RefusedRevoked:  refuse(codeDenied, "The credential was revoked."),
	tidings.RefusedUnknown:  errUnknownIdentifier,
}

var (
	errUnknownIdentifier    = refuse(codeUnknownIdentifier, "The token allows no credential of this identifier.")
	errUnknownConfiguration = refuse(codeUnknownConfiguration, "The token allows no credential of this configuration.")
)

// errEncryption is for who wants an encrypted answer (section 10): a plain one
// would tell more than was agreed to.
var errEncryption = refuse(codeInvalidEncryption, "Encrypted responses are not supported.")

// readRequest reads the body of a credential request or of a deferred one.
func readRequest(r *request, into any) error {
	switch r.mediaType() {
	case "application/json":
	case "application/jwt": // section 10
		return refuse(codeInvalidEncryption, "Encrypted requests are not supported.")
	default:
		return refuse(codeInvalidRequest, "The content type must be application/json.")
	}
	if json.Unmarshal(r.body, into) != nil {
		return refuse(codeInvalidRequest, "The body is not a credential request.")
	}
	return nil
}

func parseCredentialRequest(r *request) (credentialRequest, error) {
	var req credentialRequest
	if err := readRequest(r, &req); err != nil {
		return req, err
	}
	switch {
	case present(req.Encryption):
		return req, errEncryption
	case req.Identifier != "" && req.ConfigurationID != "":
		return req, refuse(codeInvalidRequest, "Only one of credential_identifier and credential_configuration_id may be there.")
	case req.Identifier == "" && req.ConfigurationID == "":
		return req, refuse(codeInvalidRequest, "One of credential_identifier and credential_configuration_id is required.")
	}
	return req, nil
}

// find gives the credential that is asked for. Which of the two names is to be
// used depends on the token response (section 8.2).
func (req credentialRequest) find(i tidings.Issuance, a access) (tidings.Credential, error) {
	if req.Identifier != "" {
		k := slices.IndexFunc(i.Credentials, func(c tidings.Credential) bool { return c.ID == req.Identifier })
		if k < 0 || !a.identifiers {
			return tidings.Credential{}, errUnknownIdentifier
		}
		return i.Credentials[k], nil
	}
	if a.identifiers {
		return tidings.Credential{}, refuse(codeInvalidRequest, "The token response named credential_identifiers; please use one of them.")
	}
	found := -1
	for k, c := range i.Credentials {
		// Of several alike, the next that is still to be had.
		if configurationID(c) == req.ConfigurationID && (found < 0 || i.Credentials[found].Status.Delivered()) {
			found = k
		}
	}
	if found < 0 {
		return tidings.Credential{}, errUnknownConfiguration
	}
	return i.Credentials[found], nil
}

// proofs gives the proofs of the request: several are a batch of copies of one
// credential (section 3.3.2).
func (req credentialRequest) proofs() ([]string, error) {
	if present(req.Proof) && !present(req.Proofs) {
		var p legacyProof
		if json.Unmarshal(req.Proof, &p) != nil || p.Type != "jwt" {
			return nil, errProofType
		}
		return []string{p.JWT}, nil
	}
	var proofs map[string]jsontext.Value
	switch {
	case present(req.Proof):
		return nil, refuse(codeInvalidProof, "Only one of proofs and proof may be there.")
	case !present(req.Proofs), json.Unmarshal(req.Proofs, &proofs) != nil, len(proofs) != 1:
		return nil, refuse(codeInvalidProof, "The parameter proofs must be an object that holds exactly one proof type.")
	case proofs["jwt"] == nil:
		return nil, errProofType
	}
	var list []string
	if json.Unmarshal(proofs["jwt"], &list) != nil {
		return nil, refuse(codeInvalidProof, "Proofs of the type jwt must be an array of strings.")
	}
	if len(list) == 0 || len(list) > batchSize {
		return nil, refuse(codeInvalidProof, "The array of proofs must hold one to five of them, as the metadata says.")
	}
	return list, nil
}

var errProofType = refuse(codeInvalidProof, "Only the proof type jwt is supported.")

// present tells whether a member is there and not null.
func present(v jsontext.Value) bool { return len(v) > 0 && v.Kind() != 'n' }
