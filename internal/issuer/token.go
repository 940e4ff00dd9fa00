package issuer

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"tidings"
)

// detailType is the type of authorization details (section 5.1.1).
const detailType = "openid_credential"

// maxDetails is how many authorization details a request may hold.
const maxDetails = 100

// tokenAnswer is a token response (section 6.2). It has no c_nonce: nonces come
// from their own endpoint.
type tokenAnswer struct {
	AccessToken string   `json:"access_token"`
	TokenType   string   `json:"token_type"`
	ExpiresIn   int      `json:"expires_in"`
	Refresh     string   `json:"refresh_token,omitempty"`
	Details     []detail `json:"authorization_details,omitempty"`
}

// detail is one object of authorization_details (sections 5.1.1 and 6.2).
type detail struct {
	Type            string   `json:"type"`
	ConfigurationID string   `json:"credential_configuration_id"`
	Identifiers     []string `json:"credential_identifiers,omitempty"`
}

// token exchanges a pre-authorized code for an access token (section 6). The
// code is spent in the last step that can fail, so that a request that is wrong
// in any other way burns nothing.
func (s *Issuer) token(ctx context.Context, r *request) (answer, error) {
	// 1. The form (RFC 6749, section 4.1.3). What we don't know is ignored.
	form, err := tokenForm(r)
	if err != nil {
		return answer{}, err
	}

	// 2. The grant.
	switch form.Get("grant_type") {
	case grantPreAuthorized:
	case grantRefresh:
		return s.refresh(ctx, r, form)
	case "":
		return answer{}, refuse("invalid_request", "The parameter grant_type is required.")
	default:
		return answer{}, refuse("unsupported_grant_type", "Only the pre-authorized code grant and the refresh of its tokens are supported.")
	}

	// 3. The client. The flow is anonymous (section 6.1): a client_id may be
	// there and proves nothing. A DPoP proof binds the tokens to its key (RFC
	// 9449, section 5).
	sender, given, err := s.dpop(r, "")
	if err != nil {
		return answer{}, err
	}

	// 4. The code is ours, of this organisation.
	if form.Get("pre-authorized_code") == "" {
		return answer{}, refuse("invalid_request", "The parameter pre-authorized_code is required.")
	}
	code, ok := s.mac.open(forCode, form.Get("pre-authorized_code"), r.org.Slug)
	if !ok {
		return answer{}, errGrant
	}
	i, err := s.store.Issuance(ctx, r.org.Key, string(code))
	if err != nil {
		return answer{}, refusedGrant(err)
	}
	if i.State != tidings.StateOffered { // known without a write
		return answer{}, errGrant
	}

	// 5. The transaction code is there where the offer asks for one (section 6.3).
	txHash, err := s.checkedTxCode(r.org, i.TxCode, form.Get("tx_code"))
	if err != nil {
		return answer{}, err
	}

	// 6. What is asked for (section 6.1.1).
	details, err := grantedDetails(i, form.Get("authorization_details"))
	if err != nil {
		return answer{}, err
	}

	// 7. The DPoP proof is used for the first time.
	if err := s.spendDPoP(ctx, sender, given); err != nil {
		return answer{}, err
	}

	// 8. Redemption, if the transaction code is right. Of any number of requests,
	// one wins.
	i, err = s.store.Transition(ctx, r.org.Key, i.ID, tidings.Redeem{AccessLife: s.cfg.AccessLife, DeferralLife: s.cfg.DeferralLife, TxCode: txHash})
	if err != nil {
		return answer{}, refusedGrant(err)
	}
	s.cfg.Log.InfoContext(ctx, "offer redeemed", "organisation", r.org.Slug, "issuance", i.ID)

	// 9. The answer. The token ends when the issuance stops waiting for it.
	a := access{issuance: i.ID, expires: i.UpdatedAt.Add(s.cfg.AccessLife), identifiers: len(details) > 0, key: sender.key}
	out := s.tokens(r, a, details)
	if i.Deferral != "" {
		out.Refresh = s.sealRefresh(r.org, refreshToken{access: access{issuance: i.ID, expires: i.Deadline, identifiers: a.identifiers, key: a.key}, number: 1})
	}
	return answer{body: out}, nil
}

func (s *Issuer) tokens(r *request, a access, details []detail) tokenAnswer {
	sort := "Bearer"
	if a.bound() {
		sort = "DPoP"
	}
	return tokenAnswer{
		AccessToken: s.sealAccess(r.org, a), TokenType: sort,
		ExpiresIn: max(1, int(a.expires.Sub(r.now)/time.Second)), Details: details,
	}
}

// errGrant does not tell a wrong code from a spent or expired one.
var errGrant = refuse("invalid_grant", "The pre-authorized code is wrong, expired or was used already.")

// refusedGrant is for a code whose redemption failed with err.
func refusedGrant(err error) error {
	refusal, refused := errors.AsType[tidings.Refusal](err)
	switch {
	case refusal == tidings.RefusedTxCode:
		return errTxCode
	case refused, tidings.KindOf(err) == tidings.KindNotFound:
		return errGrant
	}
	return err
}

// errTxCode is the specification's answer to a wrong transaction code (section
// 6.3). The pre-authorized code is not burnt by it.
var errTxCode = refuse("invalid_grant", "The transaction code is wrong.")

// tokenForm reads the form. A parameter that we use must not come twice (RFC
// 6749, section 3.2).
func tokenForm(r *request) (url.Values, error) {
	if r.mediaType() != "application/x-www-form-urlencoded" {
		return nil, refuse("invalid_request", "The content type must be application/x-www-form-urlencoded.")
	}
	form, err := url.ParseQuery(string(r.body))
	if err != nil {
		return nil, refuse("invalid_request", "The form is malformed.")
	}
	for _, name := range []string{"grant_type", "pre-authorized_code", "tx_code", "authorization_details", "refresh_token"} {
		if len(form[name]) > 1 {
			return nil, refuse("invalid_request", "A parameter is repeated.")
		}
	}
	return form, nil
}

// grantedDetails answers authorization_details with the identifiers of the credentials
// that can be had (section 6.2), or nil where none were sent. Errors are those
// of RFC 9396, section 5.
func grantedDetails(i tidings.Issuance, text string) ([]detail, error) {
	if text == "" {
		return nil, nil
	}
	var asked []detail
	if json.Unmarshal([]byte(text), &asked) != nil || len(asked) == 0 || len(asked) > maxDetails {
		return nil, refuse("invalid_authorization_details", "The parameter authorization_details must be an array of objects.")
	}
	var out []detail
	for _, d := range asked {
		if d.Type != detailType {
			return nil, refuse("invalid_authorization_details", "Only the type openid_credential is supported.")
		}
		if slices.ContainsFunc(out, func(o detail) bool { return o.ConfigurationID == d.ConfigurationID }) {
			continue
		}
		granted := detail{Type: detailType, ConfigurationID: d.ConfigurationID}
		for _, c := range i.Credentials {
			if configurationID(c) == d.ConfigurationID {
				granted.Identifiers = append(granted.Identifiers, c.ID)
			}
		}
		if granted.Identifiers == nil {
			return nil, refuse("invalid_authorization_details", "A credential configuration is not part of the offer.")
		}
		out = append(out, granted)
	}
	return out, nil
}
