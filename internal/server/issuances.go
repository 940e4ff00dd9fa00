package server

import (
	"context"
	"time"

	"tidings"
)

// NewIssuance asks to offer a credential.
type NewIssuance struct {
	CredentialTemplateID string         `json:"credentialTemplateId"`
	Attributes           map[string]any `json:"attributes"`
	ExpiresIn            *int64         `json:"expiresIn,omitzero"` // seconds, 1 to 7,776,000
}

// Issuance is an offer and what became of it. It never holds what is
// certified.
type Issuance struct {
	ID          string             `json:"id"`
	Status      string             `json:"status"`
	Error       *IssuanceError     `json:"error"` // why it failed
	Credentials []Credential       `json:"credentials"`
	AcceptedBy  tidings.AcceptedBy `json:"acceptedBy,omitempty"`
	RetrievedAt *Time              `json:"retrievedAt,omitzero"` // when a wallet first fetched the offer
	CreatedAt   Time               `json:"createdAt"`
	UpdatedAt   Time               `json:"updatedAt"`
	ExpiresAt   Time               `json:"expiresAt"`  // when the offer runs out
	OfferURI    string             `json:"offerUri"`   // hands the offer to a wallet; whoever has it can accept
	OfferQRURI  string             `json:"offerQrUri"` // shows it as a QR code
}

func (i Issuance) cursor() string { return i.ID }

// IssuanceError says why an issuance failed.
type IssuanceError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Credential is one credential of an issuance.
type Credential struct {
	ID                   string                   `json:"id"`
	Status               tidings.CredentialStatus `json:"status"`
	CredentialTemplateID string                   `json:"credentialTemplateId"`
	Exchange             string                   `json:"exchange"`
	Format               string                   `json:"format"`
	Revocable            bool                     `json:"revocable"`
}

func (s *Server) showIssuance(i tidings.Issuance) Issuance {
	offer := s.cfg.Issuer.OfferURI(i)
	out := Issuance{
		ID: i.ID, Status: i.Status(), AcceptedBy: i.AcceptedBy, RetrievedAt: optionalTime(i.RetrievedAt),
		CreatedAt: Time(i.CreatedAt), UpdatedAt: Time(i.UpdatedAt), ExpiresAt: Time(i.ExpiresAt),
		OfferURI: offer, OfferQRURI: offer + "&qr=true",
		Credentials: make([]Credential, len(i.Credentials)),
	}
	if i.Error != nil {
		out.Error = &IssuanceError{i.Error.Code, i.Error.Message}
	}
	for k, c := range i.Credentials {
		out.Credentials[k] = Credential{ID: c.ID, Status: c.Status, CredentialTemplateID: c.TemplateID,
			Exchange: "openid4vc", Format: tidings.FormatSDJWTVC, Revocable: c.Revocable}
	}
	return out
}

func (s *Server) createIssuance(ctx context.Context, c *call, in NewIssuance) (Issuance, error) {
	if in.CredentialTemplateID == "" {
		return Issuance{}, tidings.Invalid("/credentialTemplateId", "credentialTemplateId is required: the id of the template to issue.")
	}
	life := s.cfg.OfferLife
	if in.ExpiresIn != nil {
		const most = int64(tidings.MaxOfferLife / time.Second)
		if *in.ExpiresIn < 1 || *in.ExpiresIn > most {
			return Issuance{}, tidings.Invalid("/expiresIn", "expiresIn is 1 to %d seconds.", most)
		}
		life = time.Duration(*in.ExpiresIn) * time.Second
	}
	i, err := s.cfg.Issuer.Offer(ctx, c.Organisation, in.CredentialTemplateID, in.Attributes, life, c.origin())
	if err != nil {
		return Issuance{}, err
	}
	return s.showIssuance(i), nil
}

func (s *Server) listIssuances(ctx context.Context, c *call) (page[Issuance], error) {
	f := c.query.filter
	l, err := s.cfg.Issuances.Issuances(ctx, c.Organisation.Key,
		tidings.IssuanceFilter{ID: f["id"], Status: f["status"], TemplateID: f["credentialTemplateId"]}, c.query.page)
	return pageOf(l, s.showIssuance), err
}

func (s *Server) readIssuance(ctx context.Context, c *call, _ none) (Issuance, error) {
	i, err := s.cfg.Issuances.Issuance(ctx, c.Organisation.Key, c.id)
	if err != nil {
		return Issuance{}, err
	}
	return s.showIssuance(i), nil
}
