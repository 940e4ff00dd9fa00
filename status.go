package tidings

// The states of a credential that was taken back, for good or for now.
const (
	CredentialRevoked   CredentialStatus = "revoked"
	CredentialSuspended CredentialStatus = "suspended"
)

// CredentialStatuses lists the states of a credential.
var CredentialStatuses = []CredentialStatus{CredentialOffered, CredentialIssued, CredentialRevoked, CredentialSuspended}

// Delivered tells whether a wallet has the credential, be it valid or not.
func (s CredentialStatus) Delivered() bool { return s != CredentialOffered }

// StatusValue is an entry of a status list (Token Status List, section 7.1).
type StatusValue uint8

// The values of entries, of two bits each.
const (
	StatusValid     StatusValue = 0
	StatusInvalid   StatusValue = 1
	StatusSuspended StatusValue = 2
)

// Value gives what the status list says of a credential in this state.
func (s CredentialStatus) Value() StatusValue {
	switch s {
	case CredentialRevoked:
		return StatusInvalid
	case CredentialSuspended:
		return StatusSuspended
	}
	return StatusValid
}

// StatusChange is what an issuer does to credentials that were delivered.
type StatusChange string

// The changes. The first is for good.
const (
	Revoke  StatusChange = "revoke"
	Suspend StatusChange = "suspend"
	Resume  StatusChange = "resume"
)

// MaxStatusChanges is how many credentials one request may change.
const MaxStatusChanges = 1000

// Change gives the credential's state after a change, and the event that tells
// of it; or says why the change cannot be made.
func (c Credential) Change(change StatusChange) (CredentialStatus, EventType, error) {
	switch {
	case !c.Revocable:
		return c.Status, "", Conflict("The credential %q cannot be revoked or suspended: its template is not revocable, so it carries no status.", c.ID)
	case !c.Status.Delivered():
		return c.Status, "", Conflict("The credential %q is not issued: no wallet has it so far. An offer is canceled instead.", c.ID)
	case c.Status == CredentialRevoked:
		return c.Status, "", Conflict("The credential %q is already revoked, which is for good.", c.ID)
	case change == Revoke:
		return CredentialRevoked, CredentialWasRevoked, nil
	case change == Suspend && c.Status == CredentialSuspended:
		return c.Status, "", Conflict("The credential %q is already suspended.", c.ID)
	case change == Suspend:
		return CredentialSuspended, CredentialWasSuspended, nil
	case c.Status == CredentialIssued:
		return c.Status, "", Conflict("The credential %q is not suspended.", c.ID)
	}
	return CredentialIssued, CredentialWasResumed, nil
}

// CheckStatusIDs tells whether ids can be changed in one request: some, not too
// many, none twice.
func CheckStatusIDs(ids []string) error {
	switch {
	case len(ids) == 0:
		return Invalid("/ids", "ids is required: the ids of 1 to %d credentials.", MaxStatusChanges)
	case len(ids) > MaxStatusChanges:
		return Invalid("/ids", "ids holds at most %d credentials; got %d.", MaxStatusChanges, len(ids))
	}
	seen := map[string]int{}
	for k, id := range ids {
		if first, ok := seen[id]; ok {
			return Invalid(pointer("/ids", k), "This credential stands at /ids/%d already.", first)
		}
		seen[id] = k
	}
	return nil
}

// StatusIndex is a place in a status list, given to one signed copy of a
// credential and to no other, ever.
type StatusIndex struct {
	ListKey int64
	ListID  string
	Index   int
}

// StatusListSize is how many entries a status list has. A full one takes
// 32 KiB before compression.
const StatusListSize = 1 << 17

// StatusList is a list as it is published. Values holds those entries that are
// not [StatusValid]. Version is another one after each change.
type StatusList struct {
	Key     int64
	ID      string
	Version int64
	Values  map[int]StatusValue
}
