package issuer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tidings"
)

// issuerMetadata is the credential issuer metadata (section 12.2.4).
type issuerMetadata struct {
	Issuer         string                   `json:"credential_issuer"`
	Credential     string                   `json:"credential_endpoint"`
	Nonce          string                   `json:"nonce_endpoint"`
	Deferred       string                   `json:"deferred_credential_endpoint"`
	Notification   string                   `json:"notification_endpoint"`
	Batch          batch                    `json:"batch_credential_issuance"`
	Display        []display                `json:"display"`
	Configurations map[string]configuration `json:"credential_configurations_supported"`
}

type batch struct {
	Size int `json:"batch_size"`
}

type display struct {
	Name            string `json:"name"`
	Locale          string `json:"locale,omitempty"`
	Description     string `json:"description,omitempty"`
	Logo            *logo  `json:"logo,omitempty"`
	BackgroundColor string `json:"background_color,omitempty"`
	TextColor       string `json:"text_color,omitempty"`
}

// logo is the same here and in the type metadata of SD-JWT VC.
type logo struct {
	URI string `json:"uri"`
	Alt string `json:"alt_text,omitempty"`
}

// configuration describes one template (section 12.2.4 and appendix A.3.2).
type configuration struct {
	Format         string               `json:"format"`
	VCT            string               `json:"vct"`
	Scope          string               `json:"scope"`
	BindingMethods []string             `json:"cryptographic_binding_methods_supported"`
	SigningAlgs    []string             `json:"credential_signing_alg_values_supported"`
	ProofTypes     map[string]proofType `json:"proof_types_supported"`
	Metadata       credentialMetadata   `json:"credential_metadata"`
}

type proofType struct {
	SigningAlgs []jose.SignatureAlgorithm `json:"proof_signing_alg_values_supported"`
}

type credentialMetadata struct {
	Display []display `json:"display"`
	Claims  []claim   `json:"claims"`
}

// claim is a claims description (appendix B.2).
type claim struct {
	Path      []string  `json:"path"`
	Mandatory bool      `json:"mandatory"`
	Display   []display `json:"display"`
}

// issuerMetadata serves section 12.2. It is read anew each time, so that an
// offer is never older than the metadata that explains it.
func (s *Issuer) issuerMetadata(ctx context.Context, r *request) (answer, error) {
	base := s.IssuerURL(r.org.Slug)
	m := issuerMetadata{
		Issuer:         base,
		Credential:     base + "/credential",
		Nonce:          base + "/nonce",
		Deferred:       base + "/deferred_credential",
		Notification:   base + "/notification",
		Batch:          batch{batchSize},
		Display:        []display{{Name: r.org.Slug}},
		Configurations: map[string]configuration{},
	}
	page := tidings.Page{Size: tidings.MaxPageSize}
	for {
		list, err := s.store.Templates(ctx, r.org.Key, tidings.TemplateFilter{}, page)
		if err != nil {
			return answer{}, err
		}
		for _, t := range list.Items {
			if listed(t, r.now) {
				m.Configurations[t.ID] = s.configuration(r.org.Slug, t)
			}
		}
		if !list.HasNext || len(list.Items) == 0 {
			return answer{body: m}, nil
		}
		page.After = list.Items[len(list.Items)-1].ID
	}
}

// listed tells whether wallets still have to know the template: nothing new is
// offered once it is archived, but offers made before may be open.
func listed(t tidings.Template, now time.Time) bool {
	const slack = 24 * time.Hour // for what begins at an offer's last moment
	return t.ArchivedAt == nil || now.Before(t.ArchivedAt.Add(tidings.MaxOfferLife+slack))
}

func (s *Issuer) configuration(slug string, t tidings.Template) configuration {
	return configuration{
		Format:         "dc+sd-jwt",
		VCT:            s.VCT(slug, t.Code),
		Scope:          t.Code,
		BindingMethods: []string{"jwk"},
		SigningAlgs:    []string{string(jose.ES256)},
		ProofTypes:     map[string]proofType{"jwt": {SigningAlgs: proofAlgs}},
		Metadata: credentialMetadata{
			Display: displays(t),
			Claims:  claims(t),
		},
	}
}

func displays(t tidings.Template) []display {
	var out []display
	for _, d := range t.Displays() {
		out = append(out, display{Name: d.Name, Locale: d.Locale, Description: d.Description, Logo: logoOf(d),
			BackgroundColor: d.BackgroundColor, TextColor: d.TextColor})
	}
	return out
}

func logoOf(d tidings.Display) *logo {
	if d.Logo == nil {
		return nil
	}
	return &logo{d.Logo.URI, d.Logo.Alt}
}

// localeOf is the language of a template's attributes, which have one name each:
// the first in which it is shown.
func localeOf(t tidings.Template) string { return t.Displays()[0].Locale }

func claims(t tidings.Template) []claim {
	var out []claim
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		a := t.Attributes[name]
		out = append(out, claim{
			Path: []string{name}, Mandatory: a.Required,
			Display: []display{{Name: label(name, a), Locale: localeOf(t)}},
		})
	}
	return out
}

func label(name string, a tidings.Attribute) string {
	if a.Name != "" {
		return a.Name
	}
	return name
}

// authorizationServerMetadata serves RFC 8414 and section 12.3. The issuer is
// its own authorization server, so both have the same identifier.
func (s *Issuer) authorizationServerMetadata(_ context.Context, r *request) (answer, error) {
	base := s.IssuerURL(r.org.Slug)
	return answer{body: struct {
		Issuer         string                    `json:"issuer"`
		Token          string                    `json:"token_endpoint"`
		JWKS           string                    `json:"jwks_uri"`
		Grants         []string                  `json:"grant_types_supported"`
		ResponseTypes  []string                  `json:"response_types_supported"` // none: there is no authorization endpoint
		ClientAuth     []string                  `json:"token_endpoint_auth_methods_supported"`
		DPoPAlgs       []jose.SignatureAlgorithm `json:"dpop_signing_alg_values_supported"`     // RFC 9449, section 5.1
		DetailTypes    []string                  `json:"authorization_details_types_supported"` // RFC 9396, section 10
		AnonymousGrant bool                      `json:"pre-authorized_grant_anonymous_access_supported"`
	}{
		Issuer: base, Token: base + "/token", JWKS: base + "/jwks",
		Grants: []string{grantPreAuthorized, grantRefresh}, ResponseTypes: []string{}, ClientAuth: []string{"none"},
		DPoPAlgs: proofAlgs, DetailTypes: []string{detailType}, AnonymousGrant: true,
	}}, nil
}

// vcIssuerMetadata serves SD-JWT VC, section 4: the keys of the credentials'
// iss, for verifiers that trust the web rather than certificates.
func (s *Issuer) vcIssuerMetadata(ctx context.Context, r *request) (answer, error) {
	ring, err := s.keyring(ctx, r.org)
	if err != nil {
		return answer{}, err
	}
	return answer{body: struct {
		Issuer string             `json:"issuer"`
		JWKS   jose.JSONWebKeySet `json:"jwks"`
	}{s.IssuerURL(r.org.Slug), ring.public()}}, nil
}

// jwks serves the same keys alone (RFC 7517, section 5).
func (s *Issuer) jwks(ctx context.Context, r *request) (answer, error) {
	ring, err := s.keyring(ctx, r.org)
	if err != nil {
		return answer{}, err
	}
	return answer{body: ring.public()}, nil
}
