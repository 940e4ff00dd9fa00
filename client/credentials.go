package client

import (
	"context"
	"iter"
	"net/http"
	"time"

	"tidings"
)

// NewTemplate asks for a credential template.
type NewTemplate struct {
	Name             string                       `json:"name"`
	Code             string                       `json:"code,omitempty"` // the short name of the credential's type
	Type             string                       `json:"type,omitempty"` // the older name of Code
	Description      string                       `json:"description,omitempty"`
	CredentialFormat string                       `json:"credentialFormat,omitempty"` // "sd-jwt", also where it is empty
	Attributes       map[string]tidings.Attribute `json:"attributes"`
	Display          []tidings.Display            `json:"display,omitempty"`  // how wallets show it, by language
	ValidFor         int64                        `json:"validFor,omitempty"` // seconds; 0: its credentials have no end
	Revocable        bool                         `json:"revocable,omitempty"`
}

// TemplatePatch changes how a template is shown: nil members leave things as
// they are.
type TemplatePatch struct {
	Name        *string            `json:"name,omitempty"`
	Description *string            `json:"description,omitempty"`
	Display     *[]tidings.Display `json:"display,omitempty"`
}

// Template is a credential template.
type Template struct {
	ID          string                       `json:"id"`
	Name        string                       `json:"name"`
	Description string                       `json:"description"`
	Type        string                       `json:"type"` // the full type (vct) of its credentials
	Code        string                       `json:"code"`
	Format      string                       `json:"format"`
	Attributes  map[string]tidings.Attribute `json:"attributes"`
	Display     []tidings.Display            `json:"display"`  // empty: by name and description
	ValidFor    int64                        `json:"validFor"` // seconds; 0: its credentials have no end
	Revocable   bool                         `json:"revocable"`
	CreatedAt   time.Time                    `json:"createdAt"`
	UpdatedAt   time.Time                    `json:"updatedAt"`
	ArchivedAt  *time.Time                   `json:"archivedAt"`
}

func (t Template) cursor() string { return t.ID }

// TemplateQuery says which templates to list.
type TemplateQuery struct {
	ID       string `query:"filter[id]"`
	Type     string `query:"filter[type]"` // the code, or the full type
	Format   string `query:"filter[format]"`
	Archived *bool  `query:"filter[archived]"` // nil means either
	Search   string `query:"search[name]"`     // a part of the name
	// Sort is the order; empty means the oldest first. In that of
	// [tidings.TemplatesByUpdate] nothing that changes meanwhile is missed.
	Sort tidings.TemplateOrder `query:"sort"`
	Page
}

// NewIssuance asks to offer one credential, or several in Credentials.
type NewIssuance struct {
	CredentialTemplateID string         `json:"credentialTemplateId,omitempty"`
	Attributes           map[string]any `json:"attributes,omitempty"` // strings, numbers and booleans
	// Credentials are several that the holder accepts together, each of another
	// template, in place of the two members above.
	Credentials []NewCredential `json:"credentials,omitempty"`
	// ExpiresIn is for how many seconds the offer can be accepted; 0 leaves it
	// to the server.
	ExpiresIn int64 `json:"expiresIn,omitempty"`
	// TxCode asks for a code that the holder has to enter; nil for none. The
	// zero NewTxCode is one of six digits.
	TxCode *NewTxCode `json:"txCode,omitempty"`
	// Deferred has the wallet wait until your own system decides; see
	// [Client.DecideDeferral].
	Deferred bool `json:"deferred,omitempty"`
}

// NewCredential is one of several credentials of an issuance.
type NewCredential struct {
	CredentialTemplateID string         `json:"credentialTemplateId"`
	Attributes           map[string]any `json:"attributes,omitempty"`
}

// NewTxCode says what a transaction code is made of.
type NewTxCode struct {
	Length    int               `json:"length,omitempty"`    // 4 to 16 characters; 0 for 6
	InputMode tidings.InputMode `json:"inputMode,omitempty"` // numeric where it is empty
}

// TxCode is the code that the holder has to enter.
type TxCode struct {
	Value     string            `json:"value"` // there in the answer that makes the offer and never again
	Length    int               `json:"length"`
	InputMode tidings.InputMode `json:"inputMode"`
}

// Issuance is an offer and what became of it. It never holds what is
// certified.
type Issuance struct {
	ID          string             `json:"id"`     // what webhooks call openId4VcIssuanceId
	Status      string             `json:"status"` // offered, partiallyIssued, completed, failed or expired
	Error       *IssuanceError     `json:"error"`  // why it failed
	Credentials []Credential       `json:"credentials"`
	TxCode      *TxCode            `json:"txCode"`   // nil where the offer asks for none
	Deferral    tidings.Deferral   `json:"deferral"` // empty where there is nothing to decide
	AcceptedBy  tidings.AcceptedBy `json:"acceptedBy"`
	RetrievedAt *time.Time         `json:"retrievedAt"` // when a wallet first fetched the offer
	CreatedAt   time.Time          `json:"createdAt"`
	UpdatedAt   time.Time          `json:"updatedAt"`
	ExpiresAt   time.Time          `json:"expiresAt"`  // when the offer runs out
	OfferURI    string             `json:"offerUri"`   // hands the offer to a wallet; whoever has it can accept
	OfferQRURI  string             `json:"offerQrUri"` // shows it as a QR code
}

func (i Issuance) cursor() string { return i.ID }

// IssuanceError says why an issuance failed.
type IssuanceError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Details is what the wallet said of it, or who denied it, in their own
	// words; empty where they said nothing.
	Details string `json:"details"`
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

// Simulation says how an issuance ends.
type Simulation struct {
	Outcome tidings.IssuanceState `json:"outcome"` // completed, failed or expired
}

// IssuanceQuery says which issuances to list.
type IssuanceQuery struct {
	ID                   string `query:"filter[id]"`
	Status               string `query:"filter[status]"`
	CredentialTemplateID string `query:"filter[credentialTemplateId]"`
	Page
}

// CreateTemplate makes a credential template.
func (c *Client) CreateTemplate(ctx context.Context, t NewTemplate, options ...Option) (Template, error) {
	return one[Template](ctx, c, creating("/templates/credentials", t), options...)
}

// Templates lists the credential templates, the oldest first.
func (c *Client) Templates(ctx context.Context, q TemplateQuery) iter.Seq2[Template, error] {
	return list[Template](ctx, c, "/templates/credentials", q)
}

// Template reads a credential template.
func (c *Client) Template(ctx context.Context, id string) (Template, error) {
	return one[Template](ctx, c, reading("templates", "credentials", id))
}

// UpdateTemplate changes how a template's credentials are shown.
func (c *Client) UpdateTemplate(ctx context.Context, id string, p TemplatePatch) (Template, error) {
	return one[Template](ctx, c, request{method: http.MethodPatch, path: path("templates", "credentials", id), body: p})
}

// ArchiveTemplate ends issuing from a template. What was issued stays valid.
func (c *Client) ArchiveTemplate(ctx context.Context, id string) (Template, error) {
	return one[Template](ctx, c, request{method: http.MethodPost, path: path("templates", "credentials", id, "archive"), repeatable: true})
}

// UnarchiveTemplate takes up issuing from an archived template again.
func (c *Client) UnarchiveTemplate(ctx context.Context, id string) (Template, error) {
	return one[Template](ctx, c, request{method: http.MethodPost, path: path("templates", "credentials", id, "unarchive"), repeatable: true})
}

// CreateIssuance offers credentials to a holder: hand its OfferURI over.
func (c *Client) CreateIssuance(ctx context.Context, i NewIssuance, options ...Option) (Issuance, error) {
	return one[Issuance](ctx, c, creating("/credentials/issuance", i), options...)
}

// Issuances lists the issuances, the newest first.
func (c *Client) Issuances(ctx context.Context, q IssuanceQuery) iter.Seq2[Issuance, error] {
	return list[Issuance](ctx, c, "/credentials", q)
}

// Issuance reads an issuance.
func (c *Client) Issuance(ctx context.Context, id string) (Issuance, error) {
	return one[Issuance](ctx, c, reading("credentials", id))
}

// SimulateIssuance ends an issuance as if a wallet had, on a server that is a
// sandbox; elsewhere it is not found.
func (c *Client) SimulateIssuance(ctx context.Context, id string, s Simulation) (Issuance, error) {
	return one[Issuance](ctx, c, request{method: http.MethodPost, path: path("credentials", id, "simulate"), body: s, repeatable: true})
}

// CredentialIDs names credentials of issuances: up to 1,000.
type CredentialIDs struct {
	IDs []string `json:"ids"`
}

// RevokeCredentials revokes credentials for good: all or none.
func (c *Client) RevokeCredentials(ctx context.Context, of CredentialIDs) error {
	_, err := one[struct{}](ctx, c, request{method: http.MethodPost, path: path("credentials", "revoke"), body: of})
	return err
}

// SuspendCredentials suspends credentials until they are resumed: all or none.
func (c *Client) SuspendCredentials(ctx context.Context, of CredentialIDs) error {
	_, err := one[struct{}](ctx, c, request{method: http.MethodPost, path: path("credentials", "suspend"), body: of})
	return err
}

// ResumeCredentials makes suspended credentials valid again: all or none.
func (c *Client) ResumeCredentials(ctx context.Context, of CredentialIDs) error {
	_, err := one[struct{}](ctx, c, request{method: http.MethodPost, path: path("credentials", "resume"), body: of})
	return err
}

// RevokeByID revokes the credential of that id, or all credentials that the
// issuance of that id delivered.
func (c *Client) RevokeByID(ctx context.Context, id string) error {
	_, err := one[struct{}](ctx, c, request{method: http.MethodPost, path: path("credentials", id, "revoke")})
	return err
}

// CancelIssuance takes an offer back: it fails, and cannot be accepted any more.
func (c *Client) CancelIssuance(ctx context.Context, id string) error {
	_, err := one[struct{}](ctx, c, request{method: http.MethodDelete, path: path("credentials", id)})
	return err
}

// DeferralDecision approves or denies a deferred issuance.
type DeferralDecision struct {
	Decision tidings.Decision `json:"decision"`
	Reason   string           `json:"reason,omitempty"` // of a denial; told to no wallet
}

// DecideDeferral approves or denies a deferred issuance, days later too.
func (c *Client) DecideDeferral(ctx context.Context, id string, d DeferralDecision) (Issuance, error) {
	return one[Issuance](ctx, c, request{method: http.MethodPost, path: path("credentials", id, "deferral"), body: d, repeatable: true})
}

// ReissueIssuance offers again, under a new id, what an issuance that has ended
// offered.
func (c *Client) ReissueIssuance(ctx context.Context, id string, options ...Option) (Issuance, error) {
	return one[Issuance](ctx, c, request{method: http.MethodPost, path: path("credentials", id, "reissue")}, options...)
}
