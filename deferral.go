package tidings

import "time"

// Deferral says whether the issuer's own system still has to decide about an
// issuance (OID4VCI 1.0, section 9). Empty: there is nothing to decide.
type Deferral string

// The deferrals. A denied issuance has failed.
const (
	DeferralPending  Deferral = "pending"
	DeferralApproved Deferral = "approved"
)

// Decision is what the issuer's own system decided.
type Decision string

// The decisions.
const (
	Approve Decision = "approve"
	Deny    Decision = "deny"
)

// MaxReason bounds the reason of a denial, in bytes.
const MaxReason = 500

// Decide: the issuer's own system approves or denies a deferred issuance, days
// later too. Before its wallet has come it may be decided as well.
type Decide struct {
	Decision Decision
	Reason   string // of a denial, for the issuer's own people
}

// Check tells whether the decision can be taken.
func (s Decide) Check() error {
	switch {
	case s.Decision == "":
		return Invalid("/decision", "decision is required: approve or deny.")
	case s.Decision != Approve && s.Decision != Deny:
		return Invalid("/decision", "decision is approve or deny; got %q.", string(s.Decision))
	case len(s.Reason) > MaxReason:
		return Invalid("/reason", "reason holds at most %d bytes.", MaxReason)
	}
	return nil
}

func (s Decide) apply(i *Issuance, now time.Time) ([]EventType, error) {
	switch {
	case i.State.Terminal():
		return nil, RefusedEnded
	case i.Deferral == "":
		return nil, RefusedNotDeferred
	case i.State == StateDelivered || i.issued() > 0:
		if s.Decision == Approve {
			return nil, nil // it was
		}
		return nil, RefusedDelivered
	case s.Decision == Deny:
		return i.fail(IssuanceError{Code: FailedDenied, Message: "The issuer denied the credential.", Details: s.Reason}, now), nil
	case i.Deferral == DeferralPending:
		i.Deferral, i.UpdatedAt = DeferralApproved, now
	}
	return nil, nil
}

// Defer: a wallet asked for a credential that is not approved yet. Its keys are
// kept, as it proves them only once. It may be repeated; the newest keys count.
type Defer struct {
	CredentialID string
	Nonce        UsedNonce
	Keys         string // JSON array of the wallet's public keys
}

func (s Defer) apply(i *Issuance, now time.Time) ([]EventType, error) {
	c := i.Credential(s.CredentialID)
	switch {
	case c == nil:
		return nil, RefusedUnknown
	case i.State == StateDelivered || i.State == StateCompleted || i.Deferral != DeferralPending:
		return nil, RefusedNotDeferred // approved meanwhile: it can be had
	case i.State != StateRedeemed && i.State != StateDeferred:
		return nil, RefusedEnded
	}
	c.HolderKeys = s.Keys
	i.State, i.UpdatedAt = StateDeferred, now
	return nil, nil
}

// Refresh: a wallet exchanged a refresh token for a new access token and a new
// refresh token. Number is that of the token. The one before works until the new
// one was used, as an answer can get lost; from then on it is refused.
type Refresh struct{ Number int }

func (s Refresh) apply(i *Issuance, _ time.Time) ([]EventType, error) {
	switch {
	case i.State != StateRedeemed && i.State != StateDeferred && i.State != StateDelivered:
		return nil, RefusedEnded
	case s.Number < i.Refreshed || s.Number > i.Refreshed+1:
		return nil, RefusedRefresh
	}
	i.Refreshed = s.Number
	return nil, nil
}
