package issuer

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"tidings"
)

// grantPreAuthorized is the grant of the pre-authorized code flow (section 3.5).
const grantPreAuthorized = "urn:ietf:params:oauth:grant-type:pre-authorized_code"

// Offer makes an offer. Errors point into the body of the API request that asks
// for it. The transaction code stands in the answer only where this call made
// the offer: one that an idempotency key found again shows no secret.
func (s *Issuer) Offer(ctx context.Context, org tidings.Organisation, w tidings.WantedIssuance) (tidings.Issuance, error) {
	n := tidings.NewIssuance{Life: w.Life, Origin: w.Origin}
	for k, c := range w.Credentials {
		if slices.ContainsFunc(w.Credentials[:k], func(o tidings.WantedCredential) bool { return o.TemplateID == c.TemplateID }) {
			return tidings.Issuance{}, tidings.Invalid(c.At+"/credentialTemplateId", "An issuance holds one credential of each template.")
		}
		checked, err := s.wanted(ctx, org, c)
		if err != nil {
			return tidings.Issuance{}, err
		}
		n.Credentials = append(n.Credentials, checked)
	}
	if w.Life < tidings.MinOfferLife || w.Life > tidings.MaxOfferLife {
		return tidings.Issuance{}, tidings.Invalid("/expiresIn", "expiresIn must be %d to %d seconds.",
			int(tidings.MinOfferLife.Seconds()), int(tidings.MaxOfferLife.Seconds()))
	}
	if w.TxCode.Asked() {
		n.TxCode = s.newTxCode(org, w.TxCode)
	}
	if w.Deferred {
		n.Deferral = tidings.DeferralPending
	}
	i, err := s.store.CreateIssuance(ctx, org, n)
	if err == nil && n.TxCode.Asked() && bytes.Equal(i.TxCode.Hash, n.TxCode.Hash) {
		i.TxCode.Value = n.TxCode.Value
	}
	return i, err
}

// wanted checks one credential of an offer to be made.
func (s *Issuer) wanted(ctx context.Context, org tidings.Organisation, c tidings.WantedCredential) (tidings.NewCredential, error) {
	at := c.At + "/credentialTemplateId"
	if c.TemplateID == "" {
		return tidings.NewCredential{}, tidings.Invalid(at, "credentialTemplateId is required: the id of the template to issue.")
	}
	t, err := s.fixedTemplate(ctx, org.Key, c.TemplateID)
	switch {
	case tidings.KindOf(err) == tidings.KindNotFound && err != nil:
		return tidings.NewCredential{}, tidings.Invalid(at, "There is no credential template %q.", c.TemplateID)
	case err != nil:
		return tidings.NewCredential{}, err
	}
	// The store refuses one that is archived, so that a request which is repeated
	// gets its first result.
	return tidings.NewCredential{At: c.At, Template: t, Claims: c.Claims}, t.CheckClaims(c.At+"/attributes", c.Claims)
}

// OfferURI is the link that the organisation hands to the holder: a page with a
// QR code, which wallets also understand as a credential offer.
func (s *Issuer) OfferURI(i tidings.Issuance) string {
	return s.cfg.PublicURL + "/invitation?credential_offer_uri=" + url.QueryEscape(s.offerURL(i))
}

// offerURL is where wallets fetch the offer. It authorises whoever knows it.
func (s *Issuer) offerURL(i tidings.Issuance) string {
	slug := i.Organisation.Slug
	return s.IssuerURL(slug) + "/offers/" + s.mac.seal(forOffer, []byte(i.ID), slug)
}

// readOfferURL undoes offerURL: whose offer it is and of which issuance.
func (s *Issuer) readOfferURL(text string) (slug, id string, ok bool) {
	rest, ok := strings.CutPrefix(text, s.cfg.PublicURL+"/o/")
	if !ok {
		return "", "", false
	}
	slug, token, ok := strings.Cut(rest, "/offers/")
	if !ok || tidings.CheckSlug(slug) != nil {
		return "", "", false
	}
	body, ok := s.mac.open(forOffer, token, slug)
	return slug, string(body), ok
}

// credentialOffer is the credential offer object (section 4.1.1). It says
// nothing of the person it is for.
type credentialOffer struct {
	Issuer           string                   `json:"credential_issuer"`
	ConfigurationIDs []string                 `json:"credential_configuration_ids"`
	Grants           map[string]preAuthorized `json:"grants"`
}

// preAuthorized is the grant of an offer (section 4.1.1).
type preAuthorized struct {
	Code   string  `json:"pre-authorized_code"`
	TxCode *txCode `json:"tx_code,omitempty"`
}

// offer serves the credential offer by reference (section 4.1.3). An offer that
// can no longer be redeemed is as unknown as one that never was.
func (s *Issuer) offer(ctx context.Context, r *request) (answer, error) {
	slug := r.org.Slug
	id, ok := s.mac.open(forOffer, r.PathValue("token"), slug)
	if !ok {
		return answer{}, errNotFound
	}
	i, err := s.store.Transition(ctx, r.org.Key, string(id), tidings.Retrieve{})
	if err != nil {
		if _, ok := errors.AsType[tidings.Refusal](err); ok {
			return answer{}, errNotFound
		}
		return answer{}, err
	}
	grant := preAuthorized{Code: s.mac.seal(forCode, []byte(i.ID), slug), TxCode: describeTxCode(i.TxCode)}
	return answer{body: credentialOffer{
		Issuer:           s.IssuerURL(slug),
		ConfigurationIDs: configurationIDs(i),
		Grants:           map[string]preAuthorized{grantPreAuthorized: grant},
	}}, nil
}

// configurationIDs names each configuration of an issuance once.
func configurationIDs(i tidings.Issuance) []string {
	var ids []string
	for _, c := range i.Credentials {
		if id := configurationID(c); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// configurationID names a credential's configuration in the metadata: its
// template's id, which neither changes nor is given twice, unlike a name.
func configurationID(c tidings.Credential) string { return c.TemplateID }
