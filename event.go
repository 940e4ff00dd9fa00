package tidings

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// EventType names what happened. The names are those of the mission's API.
type EventType string

// The event types of an issuance, and those of the verifier's side.
const (
	IssuanceOffered         EventType = "openid4vc.issuance.offered"
	IssuanceCompleted       EventType = "openid4vc.issuance.completed"
	IssuancePartiallyIssued EventType = "openid4vc.issuance.partiallyIssued"
	IssuanceFailed          EventType = "openid4vc.issuance.failed"
	IssuanceExpired         EventType = "openid4vc.issuance.expired"

	VerificationRequested EventType = "openid4vc.verification.requested"
	VerificationVerified  EventType = "openid4vc.verification.verified"
	VerificationFailed    EventType = "openid4vc.verification.failed"
	VerificationExpired   EventType = "openid4vc.verification.expired"
	VerificationData      EventType = "openid4vc.verification.data"
)

// The events of a credential that was delivered, all opt-in.
const (
	CredentialWasRevoked   EventType = "openid4vc.credential.revoked"   // taken back for good
	CredentialWasSuspended EventType = "openid4vc.credential.suspended" // taken back for now
	CredentialWasResumed   EventType = "openid4vc.credential.resumed"   // valid again
)

// CredentialEventTypes lists them.
var CredentialEventTypes = []EventType{CredentialWasRevoked, CredentialWasSuspended, CredentialWasResumed}

// The operational events: opt-in, and never sent to the endpoint that they are
// about.
const (
	EndpointFailing     EventType = "tidings.endpoint.failing"  // several attempts in a row have failed
	EndpointWasDisabled EventType = "tidings.endpoint.disabled" // deliveries are kept, not sent
	EndpointWasEnabled  EventType = "tidings.endpoint.enabled"  // deliveries are sent again
)

// OperationalEventTypes lists them.
var OperationalEventTypes = []EventType{EndpointFailing, EndpointWasDisabled, EndpointWasEnabled}

// IssuanceEventTypes are the types that may be published and that an endpoint
// without filterTypes receives.
var IssuanceEventTypes = []EventType{
	IssuanceOffered, IssuanceCompleted, IssuancePartiallyIssued, IssuanceFailed, IssuanceExpired,
}

// FilterableEventTypes are the names that filterTypes may hold.
var FilterableEventTypes = slices.Concat(IssuanceEventTypes,
	[]EventType{VerificationRequested, VerificationVerified, VerificationFailed, VerificationExpired, VerificationData},
	CredentialEventTypes, OperationalEventTypes)

// SampleEventTypes are the types of which there are samples: all that are made at
// present.
var SampleEventTypes = slices.Concat(IssuanceEventTypes, CredentialEventTypes, OperationalEventTypes)

// presentationAliases are the older names of four verifier events.
var presentationAliases = map[EventType]EventType{
	"openid4vc.presentation.requested": VerificationRequested,
	"openid4vc.presentation.verified":  VerificationVerified,
	"openid4vc.presentation.failed":    VerificationFailed,
	"openid4vc.presentation.expired":   VerificationExpired,
}

// Canonical gives the name that stands in the catalogue for t: the newer name
// of an alias, else t itself.
func (t EventType) Canonical() EventType {
	if c, ok := presentationAliases[t]; ok {
		return c
	}
	return t
}

// EventTypeInfo describes an event type to those who receive its events.
type EventTypeInfo struct {
	Type        EventType
	Aliases     []EventType // older names that filterTypes takes, too
	Description string      // when it happens
	OptIn       bool        // sent only to endpoints whose filterTypes name it
}

var eventTypeDescriptions = map[EventType]string{
	IssuanceOffered:         "An issuance was created and its offer can be accepted.",
	IssuanceCompleted:       "The holder accepted and received every credential.",
	IssuancePartiallyIssued: "The holder received some of the offered credentials.",
	IssuanceFailed:          "The issuance attempt failed.",
	IssuanceExpired:         "The offer ran out before it was accepted.",

	VerificationRequested: "A holder was asked to present credentials. For a later stage: no such event is made at present.",
	VerificationVerified:  "A presentation was verified. For a later stage: no such event is made at present.",
	VerificationFailed:    "A presentation could not be verified. For a later stage: no such event is made at present.",
	VerificationExpired:   "The request ran out before anything was presented. For a later stage: no such event is made at present.",
	VerificationData:      "The data of a presentation can be read. For a later stage: no such event is made at present.",

	CredentialWasRevoked:   "A credential was revoked, for good.",
	CredentialWasSuspended: "A credential was suspended: it does not count until it is resumed.",
	CredentialWasResumed:   "A suspended credential was resumed: it is valid again.",

	EndpointFailing:     "Several attempts at an endpoint have failed in a row. Never sent to that endpoint itself.",
	EndpointWasDisabled: "An endpoint was disabled: its deliveries are kept, not sent. Never sent to that endpoint itself.",
	EndpointWasEnabled:  "An endpoint was enabled again: its deliveries are sent. Never sent to that endpoint itself.",
}

// EventTypes is the catalogue: every name that filterTypes takes.
func EventTypes() []EventTypeInfo {
	out := make([]EventTypeInfo, len(FilterableEventTypes))
	for i, t := range FilterableEventTypes {
		out[i] = EventTypeInfo{Type: t, Description: eventTypeDescriptions[t], OptIn: !Matches(nil, t)}
		for alias, name := range presentationAliases {
			if name == t {
				out[i].Aliases = append(out[i].Aliases, alias)
			}
		}
	}
	return out
}

// CheckFilterTypes tells whether every name may stand in filterTypes; the
// error points to the first that may not and lists those that may.
func CheckFilterTypes(types []EventType) error {
	for i, t := range types {
		if !slices.Contains(FilterableEventTypes, t.Canonical()) {
			return Invalid(pointer("/filterTypes", i), "There is no event type %q; the event types are %s.", t, joinTypes(FilterableEventTypes))
		}
	}
	return nil
}

// Matches tells whether an endpoint with these filterTypes receives events of
// type t. No filter at all means every issuance event.
func Matches(filter []EventType, t EventType) bool {
	if len(filter) == 0 {
		return slices.Contains(IssuanceEventTypes, t)
	}
	for _, f := range filter {
		if f.Canonical() == t {
			return true
		}
	}
	return false
}

// Event is one thing that happened, as it is told to every endpoint of its
// organisation. It is thin on purpose: no field exists in which a claim, an
// offer or a token could travel.
type Event struct {
	ID         string // also the webhook-id
	Type       EventType
	IssuanceID string    // empty for events of an endpoint
	CreatedAt  time.Time // when it was accepted; milliseconds, UTC
	Test       bool      // a sample, sent to one endpoint only
	Payload    EventPayload
}

// EventBody is the JSON body of a webhook, the same bytes on every attempt.
type EventBody struct {
	EventType EventType    `json:"eventType"`
	Payload   EventPayload `json:"payload"`
}

// EventPayload refers to the issuance and, in events of a credential, to that;
// or, in operational events, to the endpoint. The schema is closed.
type EventPayload struct {
	OpenID4VCIssuanceID   string         `json:"openId4VcIssuanceId,omitempty"`
	OpenID4VCCredentialID string         `json:"openId4VcCredentialId,omitempty"`
	EndpointID            string         `json:"endpointId,omitempty"`
	Reason                DisabledReason `json:"reason,omitempty"` // of tidings.endpoint.disabled
}

// Body gives the bytes that are signed and sent. All that it is made of holds
// only characters that stand for themselves in JSON.
func (e Event) Body() []byte {
	b := append(make([]byte, 0, 192), `{"eventType":"`...)
	b = append(append(b, e.Type...), `","payload":{`...)
	members := 0
	for _, m := range [...]struct{ name, value string }{
		{"openId4VcIssuanceId", e.Payload.OpenID4VCIssuanceID}, {"openId4VcCredentialId", e.Payload.OpenID4VCCredentialID},
		{"endpointId", e.Payload.EndpointID}, {"reason", string(e.Payload.Reason)},
	} {
		if m.value == "" {
			continue
		}
		if members++; members > 1 {
			b = append(b, ',')
		}
		b = append(append(append(append(append(b, '"'), m.name...), `":"`...), m.value...), '"')
	}
	return append(b, "}}"...)
}

// sampleID stands in a sample for the id of what it tells of: there is none.
const sampleID = "sample"

// Sample gives an event of the type that tells of nothing that happened.
func Sample(t EventType) (Event, error) {
	e := Event{Type: t, Test: true}
	switch {
	case slices.Contains(OperationalEventTypes, t):
		e.Payload.EndpointID = sampleID
		if t == EndpointWasDisabled {
			e.Payload.Reason = DisabledFailing
		}
		return e, nil
	case slices.Contains(CredentialEventTypes, t):
		e.Payload.OpenID4VCCredentialID = sampleID
	case !slices.Contains(IssuanceEventTypes, t):
		return Event{}, Invalid("/eventType", "There is no sample of an event type %q; there is one of %s.", t, joinTypes(SampleEventTypes))
	}
	e.IssuanceID, e.Payload.OpenID4VCIssuanceID = sampleID, sampleID
	return e, nil
}

// NewEvent is an event that another issuer publishes.
type NewEvent struct {
	Type           EventType
	IssuanceID     string
	IdempotencyKey string // optional; at most 255 characters
}

// MaxPublishBatch is how many events one request may publish.
const MaxPublishBatch = 1000

var idempotencyKeyPattern = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// maxIssuanceID is how many characters the id of an issuance has at most.
const maxIssuanceID = 128

// isIssuanceID tells whether id can be an issuance's: 1 to 128 characters of
// A-Z a-z 0-9 . _ : and -. A regular expression takes twenty times as long, for
// each event.
func isIssuanceID(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxIssuanceID
}

// Check tells whether the event may be published; pointers start with at.
func (e NewEvent) Check(at string) error {
	switch {
	case e.Type == "":
		return Invalid(at+"/eventType", "eventType is required; the event types are %s.", joinTypes(IssuanceEventTypes))
	case !slices.Contains(IssuanceEventTypes, e.Type):
		return Invalid(at+"/eventType", "An event of type %q cannot be published; the event types are %s.", e.Type, joinTypes(IssuanceEventTypes))
	case e.IssuanceID == "":
		return Invalid(at+"/payload/openId4VcIssuanceId", "openId4VcIssuanceId is required.")
	case !isIssuanceID(e.IssuanceID):
		return Invalid(at+"/payload/openId4VcIssuanceId", "openId4VcIssuanceId is 1 to 128 characters of A-Z a-z 0-9 . _ : and -.")
	case e.IdempotencyKey != "":
		return CheckIdempotencyKey(at+"/idempotencyKey", e.IdempotencyKey)
	}
	return nil
}

// CheckIdempotencyKey tells whether key can be one.
func CheckIdempotencyKey(at, key string) error {
	if !idempotencyKeyPattern.MatchString(key) {
		return Invalid(at, "An idempotency key is 1 to 255 visible ASCII characters.")
	}
	return nil
}

func joinTypes(types []EventType) string {
	var b strings.Builder
	for i, t := range types {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(t))
	}
	return b.String()
}

// EventFilter narrows a list of events; empty members do not.
type EventFilter struct {
	Type       EventType
	IssuanceID string
	Since      time.Time // accepted then or later
}

// Idempotency covers a whole request: the same key and body again gives the
// first result, the same key with another body is a conflict.
type Idempotency struct {
	Route string // the operation, so that keys of two routes never meet
	Key   string
	Hash  [32]byte // SHA-256 of the request's body
}
