package tidings

import "time"

// IssuanceState is the inner state of an issuance.
//
//	           Redeem                Deliver (all)           Notify accepted, or deadline
//	offered ───────────▶ redeemed ────────────────▶ delivered ───────────────▶ completed
//	   │ deadline           │ deadline                  │ Notify failure, deleted
//	   ▼                    ▼                           ▼
//	expired              failed ◀───────────────────────┘
//
// A deferred issuance waits in between: redeemed, and deferred once a wallet has
// asked for a credential that is not approved yet.
type IssuanceState string

// The states. The last three are terminal.
const (
	StateOffered   IssuanceState = "offered"
	StateRedeemed  IssuanceState = "redeemed"
	StateDeferred  IssuanceState = "deferred"
	StateDelivered IssuanceState = "delivered"
	StateCompleted IssuanceState = "completed"
	StateFailed    IssuanceState = "failed"
	StateExpired   IssuanceState = "expired"
)

// Terminal tells whether the state can never change again.
func (s IssuanceState) Terminal() bool {
	return s == StateCompleted || s == StateFailed || s == StateExpired
}

// Issuance is one offer of credentials to one holder, and what became of it.
type Issuance struct {
	Key          int64
	ID           string
	Organisation Organisation
	State        IssuanceState
	Error        *IssuanceError // why it failed
	AcceptedBy   AcceptedBy     // once completed
	Credentials  []Credential
	CreatedAt    time.Time // milliseconds, UTC, like all that follow
	UpdatedAt    time.Time
	ExpiresAt    time.Time  // when the offer runs out
	Deadline     time.Time  // when the present state ends by itself; zero in a terminal state
	RetrievedAt  *time.Time // when a wallet first fetched the offer
	TxCode       TxCode     // that the offer asks for
	Deferral     Deferral   // whether something is still to be decided
	Refreshed    int        // the number of the newest refresh token that was used
}

// IssuanceError says why an issuance failed. Code is for programs, Message for
// people. Details is what whoever ended it said of it: the wallet, or the
// issuer's own system. It can be personal and goes with the claims; empty where
// nothing was said.
type IssuanceError struct {
	Code    string
	Message string
	Details string
}

// The codes of [IssuanceError] that the life cycle itself gives.
const (
	FailedAbandoned  = "abandoned"  // the token was redeemed, no credential was fetched in its life
	FailedIncomplete = "incomplete" // some credentials were fetched, not all
	FailedCanceled   = "canceled"   // by the issuer
	FailedDenied     = "denied"     // a deferred issuance, by the issuer's own system
	FailedUndecided  = "undecided"  // nobody decided about it in time
	FailedTxCode     = "tx_code"    // too many wrong transaction codes
	// Refusals of the wallet carry the notification's event (OID4VCI 1.0, section 11.1).
	FailedByWallet  = "credential_failure"
	DeletedByWallet = "credential_deleted"
)

// AcceptedBy tells what completed an issuance.
type AcceptedBy string

// The wallet's notification, or the end of the grace in which it could refuse.
const (
	AcceptedByWallet AcceptedBy = "wallet"
	AcceptedByGrace  AcceptedBy = "grace"
)

// CredentialStatus is the state of one credential.
type CredentialStatus string

// The states of a credential.
const (
	CredentialOffered CredentialStatus = "offered"
	CredentialIssued  CredentialStatus = "issued"
)

// Credential is one credential of an issuance.
type Credential struct {
	Key        int64
	ID         string
	TemplateID string
	Status     CredentialStatus
	Accepted   bool           // the wallet's notification said so
	Revocable  bool           // its template says so
	Claims     map[string]any // what is certified; personal, never in a log, an error or an event

	HolderKeys string // JSON: the keys that a wallet proved when it was deferred

	// ClaimsDeleted: the claims were deleted some time after the issuance's end.
	ClaimsDeleted bool
}

// WantedIssuance is what a caller asks to be offered.
type WantedIssuance struct {
	Credentials []WantedCredential
	Life        time.Duration // until the offer runs out
	TxCode      TxCode        // its length and input mode; zero for none
	Deferred    bool          // the issuer's own system is still to decide
	Origin
}

// WantedCredential is one credential of it.
type WantedCredential struct {
	At         string // where it stands in the request, such as /credentials/1
	TemplateID string
	Claims     map[string]any
}

// MaxCredentials is how many credentials an issuance holds.
const MaxCredentials = 20

// NewIssuance is an offer to be made.
type NewIssuance struct {
	Credentials []NewCredential
	Life        time.Duration // until the offer runs out
	TxCode      TxCode
	Deferral    Deferral
	Origin
}

// NewCredential is one credential of an offer to be made.
type NewCredential struct {
	At       string // where it stands in the request, such as /credentials/1
	Template Template
	Claims   map[string]any
}

// Bounds of an offer's life.
const (
	MinOfferLife = time.Second
	MaxOfferLife = 90 * 24 * time.Hour
)

// IssuanceFilter narrows a list of issuances; empty members do not.
type IssuanceFilter struct {
	ID         string
	Status     string
	TemplateID string
}

// Status gives the state as the API shows it.
func (i Issuance) Status() string {
	switch i.State {
	case StateRedeemed:
		if i.issued() > 0 {
			return "partiallyIssued"
		}
		return string(StateOffered)
	case StateDeferred, StateDelivered:
		return string(StateOffered)
	}
	return string(i.State)
}

// ClaimsDeleted tells whether nothing is kept any more of what was certified.
func (i Issuance) ClaimsDeleted() bool {
	return len(i.Credentials) > 0 && i.Credentials[0].ClaimsDeleted
}

func (i Issuance) issued() (n int) {
	for _, c := range i.Credentials {
		if c.Status.Delivered() {
			n++
		}
	}
	return n
}

// Credential gives the issuance's credential of that id, nil if it has none.
func (i *Issuance) Credential(id string) *Credential {
	for k := range i.Credentials {
		if i.Credentials[k].ID == id {
			return &i.Credentials[k]
		}
	}
	return nil
}

// Refusal says why a step cannot be taken in the issuance's present state.
type Refusal string

// The refusals.
const (
	RefusedExpired     Refusal = "the offer has expired"
	RefusedRedeemed    Refusal = "the offer was redeemed already"
	RefusedEnded       Refusal = "the issuance has ended"
	RefusedRevoked     Refusal = "the credential was revoked"
	RefusedUnknown     Refusal = "the issuance has no such credential"
	RefusedNonceUsed   Refusal = "the nonce was used already"
	RefusedDelivered   Refusal = "its credentials were delivered already"
	RefusedPending     Refusal = "it is not decided yet"
	RefusedNotDeferred Refusal = "there is nothing to decide"
	RefusedRefresh     Refusal = "the refresh token was used already"
	RefusedTxCode      Refusal = "the transaction code is wrong"
)

// Error gives the reason as a sentence without its full stop.
func (r Refusal) Error() string { return string(r) }

// Step is something that happens to an issuance: [Retrieve], [Redeem],
// [Deliver], [Notify] or, when only time has passed, [Tick].
type Step interface {
	// apply changes i and names the events that tell of it, or refuses and
	// leaves i alone, but for what the refusal itself changes.
	apply(i *Issuance, now time.Time) ([]EventType, error)
}

// Apply gives the issuance after a step at time now, with the events that tell
// of the change. A deadline that has passed is applied first, whoever comes;
// so the result can have changed even where the step is refused. Apply is pure:
// i itself stays as it was.
func (i Issuance) Apply(step Step, now time.Time) (next Issuance, events []EventType, refusal error) {
	next = i
	next.Credentials = append([]Credential(nil), i.Credentials...)
	events = next.pass(now)
	more, refusal := step.apply(&next, now)
	return next, append(events, more...), refusal
}

// pass applies the deadline of the present state if it is over.
func (i *Issuance) pass(now time.Time) []EventType {
	if i.State.Terminal() || now.Before(i.Deadline) {
		return nil
	}
	switch i.State {
	case StateOffered:
		return i.end(StateExpired, IssuanceExpired, now)
	case StateRedeemed, StateDeferred:
		if i.Deferral == DeferralPending {
			return i.fail(IssuanceError{Code: FailedUndecided, Message: "Nobody approved or denied the deferred credential in time."}, now)
		}
		if i.issued() > 0 {
			return i.fail(IssuanceError{Code: FailedIncomplete, Message: "The wallet did not fetch all credentials before its access ended."}, now)
		}
		return i.fail(IssuanceError{Code: FailedAbandoned, Message: "The wallet redeemed the offer but fetched no credential before its access ended."}, now)
	default: // delivered: nobody refused within the grace
		return i.complete(AcceptedByGrace, now)
	}
}

func (i *Issuance) end(state IssuanceState, event EventType, now time.Time) []EventType {
	i.State, i.Deadline, i.UpdatedAt = state, time.Time{}, now
	return []EventType{event}
}

func (i *Issuance) complete(by AcceptedBy, now time.Time) []EventType {
	i.AcceptedBy = by
	return i.end(StateCompleted, IssuanceCompleted, now)
}

func (i *Issuance) fail(e IssuanceError, now time.Time) []EventType {
	i.Error = &e
	return i.end(StateFailed, IssuanceFailed, now)
}

// Tick applies a deadline that has passed, and nothing else.
type Tick struct{}

func (Tick) apply(*Issuance, time.Time) ([]EventType, error) { return nil, nil }

// Retrieve: a wallet fetched the offer. Only the first time is kept.
type Retrieve struct{}

func (Retrieve) apply(i *Issuance, now time.Time) ([]EventType, error) {
	switch {
	case i.State == StateExpired:
		return nil, RefusedExpired
	case i.State != StateOffered:
		return nil, RefusedRedeemed
	case i.RetrievedAt == nil:
		i.RetrievedAt = &now
	}
	return nil, nil
}

// Redeem: a wallet exchanged the pre-authorized code for an access token.
// Only one ever succeeds. A wrong transaction code burns nothing, but is counted.
type Redeem struct {
	AccessLife   time.Duration // how long the wallet may fetch credentials
	DeferralLife time.Duration // the same where the issuance is deferred
	TxCode       []byte        // the hash of the transaction code that it sent
}

func (s Redeem) apply(i *Issuance, now time.Time) ([]EventType, error) {
	switch i.State {
	case StateOffered:
		if i.TxCode.Asked() && !i.TxCode.is(s.TxCode) {
			return i.wrongTxCode(now), RefusedTxCode
		}
		life := s.AccessLife
		if i.Deferral != "" {
			life = s.DeferralLife
		}
		i.State, i.Deadline, i.UpdatedAt = StateRedeemed, now.Add(life), now
		return nil, nil
	case StateExpired:
		return nil, RefusedExpired
	}
	return nil, RefusedRedeemed
}

func (i *Issuance) wrongTxCode(now time.Time) []EventType {
	i.TxCode.Wrong++
	if i.TxCode.Wrong < MaxWrongTxCodes {
		return nil
	}
	return i.fail(IssuanceError{Code: FailedTxCode, Message: "A wrong transaction code was sent too often."}, now)
}

// Deliver: a credential is handed to the wallet, which proved possession of
// its key with a nonce. It may be repeated, as an answer can get lost.
type Deliver struct {
	CredentialID string
	Nonce        UsedNonce     // zero where the keys were proved before
	Statuses     []StatusIndex // of its signed copies, where its template is revocable
	Grace        time.Duration // how long the wallet may still refuse; 0 completes at once
}

// UsedNonce is a nonce that a proof spent (OID4VCI 1.0, section 7). It is kept
// until it would expire anyway, so that no proof works twice.
type UsedNonce struct {
	Hash      [16]byte
	ExpiresAt time.Time
}

func (s Deliver) apply(i *Issuance, now time.Time) ([]EventType, error) {
	c := i.Credential(s.CredentialID)
	switch {
	case c == nil:
		return nil, RefusedUnknown
	case c.Status == CredentialRevoked:
		return nil, RefusedRevoked
	case i.State == StateDelivered || i.State == StateCompleted:
		return nil, nil // once more: the state stays
	case i.State != StateRedeemed && i.State != StateDeferred:
		return nil, RefusedEnded
	case i.Deferral == DeferralPending:
		return nil, RefusedPending
	case c.Status.Delivered():
		return nil, nil
	}
	c.Status, i.UpdatedAt, i.State = CredentialIssued, now, StateRedeemed
	if n := i.issued(); n < len(i.Credentials) {
		if n == 1 {
			return []EventType{IssuancePartiallyIssued}, nil
		}
		return nil, nil
	}
	i.State, i.Deadline = StateDelivered, now.Add(s.Grace)
	if i.accepted() {
		return i.complete(AcceptedByWallet, now), nil
	}
	return i.pass(now), nil // a grace of 0 is over at once
}

// NotificationEvent is what a wallet reports (OID4VCI 1.0, section 11.1).
type NotificationEvent string

// The notification events.
const (
	NotifyAccepted NotificationEvent = "credential_accepted"
	NotifyFailure  NotificationEvent = "credential_failure"
	NotifyDeleted  NotificationEvent = "credential_deleted"
)

// Notify: the wallet reports what it did with a credential. After the end it
// is only kept.
type Notify struct {
	CredentialID string
	Event        NotificationEvent
	Description  string // the wallet's own words; kept in [IssuanceError], never shown in an event
}

func (s Notify) apply(i *Issuance, now time.Time) ([]EventType, error) {
	c := i.Credential(s.CredentialID)
	if c == nil || !c.Status.Delivered() {
		return nil, RefusedUnknown
	}
	if i.State.Terminal() {
		return nil, nil
	}
	switch s.Event {
	case NotifyFailure:
		return i.fail(IssuanceError{Code: FailedByWallet, Message: "The wallet could not use the credential.", Details: s.Description}, now), nil
	case NotifyDeleted:
		return i.fail(IssuanceError{Code: DeletedByWallet, Message: "The holder deleted the credential before accepting it.", Details: s.Description}, now), nil
	}
	if !c.Accepted {
		c.Accepted, i.UpdatedAt = true, now
	}
	if i.State == StateDelivered && i.accepted() {
		return i.complete(AcceptedByWallet, now), nil
	}
	return nil, nil
}

func (i *Issuance) accepted() bool {
	for _, c := range i.Credentials {
		if !c.Accepted {
			return false
		}
	}
	return true
}
