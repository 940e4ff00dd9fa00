// Package wallet is a small honest wallet: it claims credentials over OpenID
// for Verifiable Credential Issuance 1.0 with the pre-authorized code flow, and
// believes nothing that it did not verify. The demo, the tests and the
// benchmark use it. It shares no code with the issuer, so that the two check
// each other. Sections without a name are those of the specification.
package wallet

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxAnswer          = 4 << 20
	grantPreAuthorized = "urn:ietf:params:oauth:grant-type:pre-authorized_code"
)

// Events of a notification (section 11.1).
const (
	Accepted = "credential_accepted"
	Failure  = "credential_failure"
	Deleted  = "credential_deleted"
)

// Wallet holds one P-256 key, to which its credentials are bound. It may be
// used by many goroutines.
type Wallet struct {
	http *http.Client
	key  *ecdsa.PrivateKey
	now  func() time.Time
	dpop *ecdsa.PrivateKey // nil: bearer tokens
}

// New makes a wallet with its key. The client decides whom it trusts.
func New(client *http.Client, key *ecdsa.PrivateKey) *Wallet {
	return &Wallet{http: client, key: key, now: time.Now}
}

// WithClock gives the same wallet with another clock, for tests.
func (w *Wallet) WithClock(now func() time.Time) *Wallet {
	other := *w
	other.now = now
	return &other
}

// ProtocolError is an answer other than success.
type ProtocolError struct {
	Route       string // what was asked: offer, metadata, token, nonce, credential, notification
	Status      int    // of HTTP
	Code        string // the error member of the body, if there was one
	Description string
	Challenge   string // the WWW-Authenticate header, if there was one
}

// Error says all of it.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("wallet: %s: status %d, %s: %s", e.Route, e.Status, e.Code, e.Description)
}

// Offer is a credential offer (section 4.1.1).
type Offer struct {
	Issuer            string
	ConfigurationIDs  []string
	PreAuthorizedCode string
	TxCodeRequired    bool
	TxCode            TxCodeHint // what to ask the user for
}

// TxCodeHint describes a transaction code (section 4.1.1).
type TxCodeHint struct {
	InputMode string `json:"input_mode"`
	Length    int    `json:"length"`
}

// Issuer is what the wallet knows of an issuer from its metadata (section 12.2)
// and that of its authorization server (RFC 8414).
type Issuer struct {
	URL                  string                     `json:"credential_issuer"`
	CredentialEndpoint   string                     `json:"credential_endpoint"`
	NonceEndpoint        string                     `json:"nonce_endpoint"`
	DeferredEndpoint     string                     `json:"deferred_credential_endpoint"`
	NotificationEndpoint string                     `json:"notification_endpoint"`
	AuthorizationServers []string                   `json:"authorization_servers"`
	Configurations       map[string]json.RawMessage `json:"credential_configurations_supported"`
	TokenEndpoint        string                     `json:"-"`
}

// Token is a token response (section 6.2).
type Token struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Refresh     string `json:"refresh_token"`
	Details     []struct {
		ConfigurationID string   `json:"credential_configuration_id"`
		Identifiers     []string `json:"credential_identifiers"`
	} `json:"authorization_details"`
}

// Issued is a credential response (section 8.3), not verified yet.
type Issued struct {
	Credentials []struct {
		Credential string `json:"credential"`
	} `json:"credentials"`
	NotificationID string `json:"notification_id"`

	// Of a credential that is deferred (section 8.3): ask again with the id, not
	// before so many seconds.
	TransactionID string `json:"transaction_id"`
	Interval      int    `json:"interval"`
}

// Held is a credential that the wallet verified and keeps.
type Held struct {
	Credential     string         // the SD-JWT VC with all disclosures
	Claims         map[string]any // what it says, disclosures applied
	Issuer         *Issuer
	Token          *Token
	NotificationID string

	wallet *Wallet
}

// Claim does the whole flow: offer, metadata, token, nonce, credential, and its
// verification. It does not notify; see [Held.Notify].
func (w *Wallet) Claim(ctx context.Context, offerURI string) (*Held, error) {
	offer, err := w.ResolveOffer(ctx, offerURI)
	if err != nil {
		return nil, err
	}
	issuer, err := w.Discover(ctx, offer.Issuer)
	if err != nil {
		return nil, err
	}
	token, err := w.Redeem(ctx, issuer, offer)
	if err != nil {
		return nil, err
	}
	return w.Fetch(ctx, issuer, token, offer.ConfigurationIDs[0])
}

// ResolveOffer fetches the credential offer behind an offer link: an invitation
// page, an openid-credential-offer: link, or the offer's own address (section 4.1.3).
func (w *Wallet) ResolveOffer(ctx context.Context, offerURI string) (*Offer, error) {
	u, err := url.Parse(offerURI)
	if err != nil {
		return nil, errors.New("wallet: the offer link is not a URL")
	}
	if inner := u.Query().Get("credential_offer_uri"); inner != "" {
		offerURI = inner
	}
	var raw struct {
		Issuer string   `json:"credential_issuer"`
		IDs    []string `json:"credential_configuration_ids"`
		Grants map[string]struct {
			Code   string      `json:"pre-authorized_code"`
			TxCode *TxCodeHint `json:"tx_code"`
		} `json:"grants"`
	}
	if err := w.get(ctx, "offer", offerURI, &raw); err != nil {
		return nil, err
	}
	grant, ok := raw.Grants[grantPreAuthorized]
	if !ok || grant.Code == "" || raw.Issuer == "" || len(raw.IDs) == 0 {
		return nil, errors.New("wallet: the offer has no pre-authorized code, no issuer or no credential")
	}
	offer := &Offer{Issuer: raw.Issuer, ConfigurationIDs: raw.IDs, PreAuthorizedCode: grant.Code, TxCodeRequired: grant.TxCode != nil}
	if grant.TxCode != nil {
		offer.TxCode = *grant.TxCode
	}
	return offer, nil
}

// Discover reads the issuer's metadata and that of its authorization server,
// each of which must name the issuer that was asked.
func (w *Wallet) Discover(ctx context.Context, issuer string) (*Issuer, error) {
	var out Issuer
	if err := w.wellKnown(ctx, issuer, "openid-credential-issuer", &out); err != nil {
		return nil, err
	}
	if out.URL != issuer {
		return nil, errors.New("wallet: the metadata belongs to another issuer")
	}
	server := issuer
	if len(out.AuthorizationServers) > 0 {
		server = out.AuthorizationServers[0]
	}
	var as struct {
		Issuer string `json:"issuer"`
		Token  string `json:"token_endpoint"`
	}
	if err := w.wellKnown(ctx, server, "oauth-authorization-server", &as); err != nil {
		return nil, err
	}
	if as.Issuer != server || as.Token == "" {
		return nil, errors.New("wallet: the metadata belongs to another authorization server")
	}
	out.TokenEndpoint = as.Token
	return &out, nil
}

// wellKnown inserts the well-known path between host and path (section 12.2.2).
func (w *Wallet) wellKnown(ctx context.Context, issuer, name string, into any) error {
	u, err := url.Parse(issuer)
	if err != nil {
		return errors.New("wallet: the issuer is not a URL")
	}
	u.Path = "/.well-known/" + name + strings.TrimSuffix(u.Path, "/")
	return w.get(ctx, "metadata", u.String(), into)
}

// Redeem exchanges the pre-authorized code for an access token (section 6.1).
func (w *Wallet) Redeem(ctx context.Context, issuer *Issuer, offer *Offer) (*Token, error) {
	return w.TokenRequest(ctx, issuer, url.Values{
		"grant_type": {grantPreAuthorized}, "pre-authorized_code": {offer.PreAuthorizedCode},
	})
}

// RedeemWith is Redeem with the transaction code that the user has entered.
func (w *Wallet) RedeemWith(ctx context.Context, issuer *Issuer, offer *Offer, txCode string) (*Token, error) {
	return w.TokenRequest(ctx, issuer, url.Values{
		"grant_type": {grantPreAuthorized}, "pre-authorized_code": {offer.PreAuthorizedCode}, "tx_code": {txCode},
	})
}

// TokenRequest sends a token request of any form, for tests of the endpoint.
func (w *Wallet) TokenRequest(ctx context.Context, issuer *Issuer, form url.Values) (*Token, error) {
	var t Token
	err := w.post(ctx, "token", issuer.TokenEndpoint, "", "application/x-www-form-urlencoded", []byte(form.Encode()), &t)
	if err != nil {
		return nil, err
	}
	if t.AccessToken == "" || !strings.EqualFold(t.TokenType, w.scheme()) {
		return nil, errors.New("wallet: the token response holds no token of the type " + w.scheme())
	}
	return &t, nil
}

// RefreshToken exchanges a token's refresh token (RFC 6749, section 6).
func (w *Wallet) RefreshToken(ctx context.Context, issuer *Issuer, token *Token) (*Token, error) {
	return w.TokenRequest(ctx, issuer, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.Refresh}})
}

// Deferred asks for a credential that was deferred (section 9.1).
func (w *Wallet) Deferred(ctx context.Context, issuer *Issuer, token *Token, transactionID string) (*Issued, error) {
	text, err := json.Marshal(map[string]string{"transaction_id": transactionID})
	if err != nil {
		return nil, err
	}
	var out Issued
	if err := w.post(ctx, "deferred", issuer.DeferredEndpoint, token.AccessToken, "application/json", text, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Nonce gets a nonce for a proof (section 7).
func (w *Wallet) Nonce(ctx context.Context, issuer *Issuer) (string, error) {
	var a struct {
		Nonce string `json:"c_nonce"`
	}
	if err := w.post(ctx, "nonce", issuer.NonceEndpoint, "", "", nil, &a); err != nil {
		return "", err
	}
	return a.Nonce, nil
}

// WithKey gives the same wallet with another key.
func (w *Wallet) WithKey(key *ecdsa.PrivateKey) *Wallet {
	other := *w
	other.key = key
	return &other
}

// Proof proves possession of the wallet's key to the issuer (appendix F.1).
func (w *Wallet) Proof(issuer *Issuer, nonce string) (string, error) {
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("openid4vci-proof+jwt")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: w.key}, options)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{"aud": issuer.URL, "iat": w.now().Unix(), "nonce": nonce})
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// Fetch gets a nonce and with it the credential, and verifies it.
func (w *Wallet) Fetch(ctx context.Context, issuer *Issuer, token *Token, configurationID string) (*Held, error) {
	nonce, err := w.Nonce(ctx, issuer)
	if err != nil {
		return nil, err
	}
	proof, err := w.Proof(issuer, nonce)
	if err != nil {
		return nil, err
	}
	got, err := w.Request(ctx, issuer, token, configurationID, proof)
	if err != nil {
		return nil, err
	}
	if len(got.Credentials) != 1 {
		return nil, fmt.Errorf("wallet: one proof gave %d credentials", len(got.Credentials))
	}
	text := got.Credentials[0].Credential
	claims, err := w.Verify(ctx, issuer, text)
	if err != nil {
		return nil, err
	}
	return &Held{Credential: text, Claims: claims, Issuer: issuer, Token: token, NotificationID: got.NotificationID, wallet: w}, nil
}

// Request sends a credential request with a proof (section 8.2). Where the
// token response named identifiers, the first one of the configuration is used.
func (w *Wallet) Request(ctx context.Context, issuer *Issuer, token *Token, configurationID, proof string) (*Issued, error) {
	return w.RequestBatch(ctx, issuer, token, configurationID, proof)
}

// RequestBatch is Request with a proof of each of several keys (section 3.3.2).
func (w *Wallet) RequestBatch(ctx context.Context, issuer *Issuer, token *Token, configurationID string, proofs ...string) (*Issued, error) {
	body := map[string]any{"proofs": map[string][]string{"jwt": proofs}, "credential_configuration_id": configurationID}
	for _, d := range token.Details {
		if d.ConfigurationID == configurationID && len(d.Identifiers) > 0 {
			delete(body, "credential_configuration_id")
			body["credential_identifier"] = d.Identifiers[0]
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	var out Issued
	if err := w.post(ctx, "credential", issuer.CredentialEndpoint, token.AccessToken, "application/json", text, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// Notify tells the issuer what became of the credential (section 11).
func (h *Held) Notify(ctx context.Context, event string) error {
	return h.wallet.Notify(ctx, h.Issuer, h.Token, h.NotificationID, event)
}

// Notify tells the issuer of an event about a credential.
func (w *Wallet) Notify(ctx context.Context, issuer *Issuer, token *Token, notificationID, event string) error {
	text, err := json.Marshal(map[string]string{"notification_id": notificationID, "event": event})
	if err != nil {
		return err
	}
	return w.post(ctx, "notification", issuer.NotificationEndpoint, token.AccessToken, "application/json", text, nil)
}

func (w *Wallet) get(ctx context.Context, route, address string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("wallet: %s: the address cannot be used", route)
	}
	r.Header.Set("Accept", "application/json")
	return w.do(route, r, into)
}

func (w *Wallet) post(ctx context.Context, route, address, token, contentType string, body []byte, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("wallet: %s: the address cannot be used", route)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		r.Header.Set("Authorization", w.scheme()+" "+token)
	}
	if w.dpop != nil && route != "nonce" {
		proof, err := w.DPoP(http.MethodPost, address, token)
		if err != nil {
			return err
		}
		r.Header.Set("DPoP", proof)
	}
	return w.do(route, r, into)
}

// do sends a request and reads the JSON of its answer. Errors never hold the
// address: an offer's is a secret.
func (w *Wallet) do(route string, r *http.Request, into any) error {
	resp, err := w.http.Do(r)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return fmt.Errorf("wallet: %s: %w", route, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("wallet: %s: reading the answer: %w", route, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		var flat struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		_ = json.Unmarshal(body, &flat) // what is not JSON has no code
		return &ProtocolError{Route: route, Status: resp.StatusCode, Code: flat.Error,
			Description: flat.Description, Challenge: resp.Header.Get("WWW-Authenticate")}
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("wallet: %s: the answer is not the JSON that was expected", route)
	}
	return nil
}
