package server

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tidings"
)

// NewIssuance asks to offer one credential, or several in credentials.
type NewIssuance struct {
	CredentialTemplateID string          `json:"credentialTemplateId,omitempty"`
	Attributes           map[string]any  `json:"attributes,omitempty"`
	Credentials          []NewCredential `json:"credentials,omitempty"`
	ExpiresIn            *int64          `json:"expiresIn,omitzero"` // seconds, 1 to 7,776,000
	TxCode               *TxCodeRequest  `json:"txCode,omitzero"`
	Deferred             bool            `json:"deferred,omitzero"` // the issuer's own system still decides
}

// NewCredential is one of several credentials of an issuance.
type NewCredential struct {
	CredentialTemplateID string         `json:"credentialTemplateId"`
	Attributes           map[string]any `json:"attributes,omitempty"`
}

// TxCodeShape says what a transaction code is made of.
type TxCodeShape struct {
	Length    *int              `json:"length,omitzero"`
	InputMode tidings.InputMode `json:"inputMode,omitempty"`
}

// TxCodeRequest asks for a transaction code: true, or its shape. false is the
// same as none.
type TxCodeRequest struct {
	TxCodeShape
	asked bool
}

// UnmarshalJSONFrom reads either.
func (r *TxCodeRequest) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindTrue, jsontext.KindFalse:
		return json.UnmarshalDecode(dec, &r.asked)
	}
	r.asked = true
	return json.UnmarshalDecode(dec, &r.TxCodeShape)
}

// noun gives the code that is asked for, with what was left out filled in.
func (r *TxCodeRequest) noun() (tidings.TxCode, error) {
	if r == nil || !r.asked {
		return tidings.TxCode{}, nil
	}
	c := tidings.TxCode{Length: tidings.DefaultTxCodeLength, InputMode: cmp.Or(r.InputMode, tidings.InputNumeric)}
	if r.Length != nil {
		c.Length = *r.Length
	}
	return c, c.Check("/txCode")
}

// TxCode is the transaction code that a wallet has to send. Its value is shown
// once.
type TxCode struct {
	Value     string            `json:"value,omitempty"`
	Length    int               `json:"length"`
	InputMode tidings.InputMode `json:"inputMode"`
}

// Issuance is an offer and what became of it. It never holds what is
// certified.
type Issuance struct {
	ID          string             `json:"id"`
	Status      string             `json:"status"`
	Error       *IssuanceError     `json:"error"` // why it failed
	Credentials []Credential       `json:"credentials"`
	TxCode      *TxCode            `json:"txCode,omitzero"`    // where the offer asks for one
	Deferral    tidings.Deferral   `json:"deferral,omitempty"` // where the issuer's own system decides
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
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Details *string `json:"details"` // in the words of the wallet, or of who denied it
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
		ID: i.ID, Status: i.Status(), AcceptedBy: i.AcceptedBy, Deferral: i.Deferral, RetrievedAt: optionalTime(i.RetrievedAt),
		CreatedAt: Time(i.CreatedAt), UpdatedAt: Time(i.UpdatedAt), ExpiresAt: Time(i.ExpiresAt),
		OfferURI: offer, OfferQRURI: offer + "&qr=true",
		Credentials: make([]Credential, len(i.Credentials)),
	}
	if i.Error != nil {
		out.Error = &IssuanceError{Code: i.Error.Code, Message: i.Error.Message}
		if i.Error.Details != "" {
			out.Error.Details = &i.Error.Details
		}
	}
	if i.TxCode.Asked() {
		out.TxCode = &TxCode{i.TxCode.Value, i.TxCode.Length, i.TxCode.InputMode}
	}
	for k, c := range i.Credentials {
		out.Credentials[k] = Credential{ID: c.ID, Status: c.Status, CredentialTemplateID: c.TemplateID,
			Exchange: "openid4vc", Format: tidings.FormatSDJWTVC, Revocable: c.Revocable}
	}
	return out
}

func (s *Server) createIssuance(ctx context.Context, c *call, in NewIssuance) (Issuance, error) {
	wanted, err := in.noun(s.cfg.OfferLife)
	if err != nil {
		return Issuance{}, err
	}
	wanted.Origin = c.origin()
	i, err := s.cfg.Issuer.Offer(ctx, c.Organisation, wanted)
	if err != nil {
		return Issuance{}, err
	}
	return s.showIssuance(i), nil
}

// noun gives what is asked for; life is for how long it is offered where the
// request does not say.
func (in NewIssuance) noun(life time.Duration) (out tidings.WantedIssuance, err error) {
	if out.Credentials, err = in.wanted(); err != nil {
		return out, err
	}
	if out.Life = life; in.ExpiresIn != nil {
		const most = int64(tidings.MaxOfferLife / time.Second)
		if *in.ExpiresIn < 1 || *in.ExpiresIn > most {
			return out, tidings.Invalid("/expiresIn", "expiresIn is 1 to %d seconds.", most)
		}
		out.Life = time.Duration(*in.ExpiresIn) * time.Second
	}
	out.Deferred = in.Deferred
	out.TxCode, err = in.TxCode.noun()
	return out, err
}

// wanted gives the credentials, which stand in one of two places.
func (in NewIssuance) wanted() ([]tidings.WantedCredential, error) {
	const need = "credentialTemplateId is required: the id of the template to issue."
	switch {
	case in.Credentials == nil && in.CredentialTemplateID == "":
		return nil, tidings.Invalid("/credentialTemplateId", need)
	case in.Credentials == nil:
		return []tidings.WantedCredential{{TemplateID: in.CredentialTemplateID, Claims: in.Attributes}}, nil
	case in.CredentialTemplateID != "" || in.Attributes != nil:
		return nil, tidings.Invalid("/credentials", "credentials holds several; credentialTemplateId and attributes stand for one. Only one of the two ways may be there.")
	case len(in.Credentials) == 0 || len(in.Credentials) > tidings.MaxCredentials:
		return nil, tidings.Invalid("/credentials", "credentials holds 1 to %d credentials.", tidings.MaxCredentials)
	}
	var out []tidings.WantedCredential
	for k, c := range in.Credentials {
		at := "/credentials/" + strconv.Itoa(k)
		if c.CredentialTemplateID == "" {
			return nil, tidings.Invalid(at+"/credentialTemplateId", need)
		}
		out = append(out, tidings.WantedCredential{At: at, TemplateID: c.CredentialTemplateID, Claims: c.Attributes})
	}
	return out, nil
}

// reissueIssuance offers anew what an issuance that has ended offered, under a
// new id.
func (s *Server) reissueIssuance(ctx context.Context, c *call, _ none) (Issuance, error) {
	old, err := s.cfg.Issuances.Issuance(ctx, c.Organisation.Key, c.id)
	if err != nil {
		return Issuance{}, err
	}
	wanted, err := old.Again(s.cfg.OfferLife, c.origin())
	if err != nil {
		// A request that is repeated gets its first result, whatever went since.
		if i, ok, failed := s.cfg.Issuances.MadeBefore(ctx, c.Organisation.Key, c.idem); ok || failed != nil {
			return s.showIssuance(i), failed
		}
		return Issuance{}, err
	}
	i, err := s.cfg.Issuer.Offer(ctx, c.Organisation, wanted)
	if err != nil {
		return Issuance{}, tidings.NotAgain(err)
	}
	return s.showIssuance(i), nil
}

// cancelIssuance takes an offer back. It fails, which its webhook tells.
func (s *Server) cancelIssuance(ctx context.Context, c *call, _ none) (none, error) {
	_, err := s.cfg.Issuances.Transition(ctx, c.Organisation.Key, c.id, tidings.Cancel{})
	if refusal, ok := errors.AsType[tidings.Refusal](err); ok {
		return none{}, tidings.Conflict("It cannot be canceled any more: %s.", refusal)
	}
	return none{}, err
}

// DeferralDecision approves or denies a deferred issuance.
type DeferralDecision struct {
	Decision tidings.Decision `json:"decision"`
	Reason   string           `json:"reason,omitempty"`
}

func (s *Server) decideDeferral(ctx context.Context, c *call, in DeferralDecision) (Issuance, error) {
	step := tidings.Decide{Decision: in.Decision, Reason: in.Reason}
	if err := step.Check(); err != nil {
		return Issuance{}, err
	}
	i, err := s.cfg.Issuances.Transition(ctx, c.Organisation.Key, c.id, step)
	if refusal, ok := errors.AsType[tidings.Refusal](err); ok {
		return Issuance{}, tidings.Conflict("It cannot be decided: %s.", refusal)
	}
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
