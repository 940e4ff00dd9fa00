package issuer

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"tidings"
)

// grantPreAuthorized is the grant of the pre-authorized code flow (section 3.5).
const grantPreAuthorized = "urn:ietf:params:oauth:grant-type:pre-authorized_code"

// Offer makes an offer of one credential. Errors point into the body of the API
// request that asks for it.
func (s *Issuer) Offer(ctx context.Context, org tidings.Organisation, templateID string, claims map[string]any, life time.Duration, o tidings.Origin) (tidings.Issuance, error) {
	const atTemplate = "/credentialTemplateId"
	if templateID == "" {
		return tidings.Issuance{}, tidings.Invalid(atTemplate, "credentialTemplateId is required: the id of the template to issue.")
	}
	t, err := s.store.Template(ctx, org.Key, templateID)
	switch {
	case tidings.KindOf(err) == tidings.KindNotFound && err != nil:
		return tidings.Issuance{}, tidings.Invalid(atTemplate, "There is no credential template %q.", templateID)
	case err != nil:
		return tidings.Issuance{}, err
	case t.ArchivedAt != nil:
		return tidings.Issuance{}, tidings.Invalid(atTemplate, "The credential template %q is archived.", templateID)
	}
	if err := t.CheckClaims("/attributes", claims); err != nil {
		return tidings.Issuance{}, err
	}
	if life < tidings.MinOfferLife || life > tidings.MaxOfferLife {
		return tidings.Issuance{}, tidings.Invalid("/expiresIn", "expiresIn must be %d to %d seconds.",
			int(tidings.MinOfferLife.Seconds()), int(tidings.MaxOfferLife.Seconds()))
	}
	return s.store.CreateIssuance(ctx, org, tidings.NewIssuance{
		Credentials: []tidings.NewCredential{{Template: t, Claims: claims}}, Life: life, Origin: o,
	})
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
	Issuer           string         `json:"credential_issuer"`
	ConfigurationIDs []string       `json:"credential_configuration_ids"`
	Grants           map[string]any `json:"grants"`
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
	return answer{body: credentialOffer{
		Issuer:           s.IssuerURL(slug),
		ConfigurationIDs: configurationIDs(i),
		Grants: map[string]any{grantPreAuthorized: map[string]string{
			"pre-authorized_code": s.mac.seal(forCode, []byte(i.ID), slug),
		}},
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
