package server

import (
	"slices"
	"strings"
	"time"

	"tidings"
)

// operation says of a route what its line in the table does not.
type operation struct {
	id  string // the name that generated clients give it
	tag string
	// text says more than the summary.
	text string
	// request and response are examples: of the body, and of data (of one
	// item of it in a list).
	request, response any
	// conflict says when it answers 409, apart from idempotency keys.
	conflict string
}

// The tags, in the order of the document.
const (
	tagEndpoints  = "Endpoints"
	tagEvents     = "Events"
	tagDeliveries = "Deliveries"
	tagAudit      = "Audit"
	tagTemplates  = "Credential templates"
	tagIssuances  = "Issuances"
)

var tags = []object{
	{"name": tagEndpoints, "description": "Where the organisation receives its webhooks."},
	{"name": tagEvents, "description": "What happened to issuances, in the order in which it was accepted."},
	{"name": tagDeliveries, "description": "Each event on its way to each endpoint, with every attempt."},
	{"name": tagAudit, "description": "Who changed what."},
	{"name": tagTemplates, "description": "What can be issued."},
	{"name": tagIssuances, "description": "Offers of credentials and what became of them."},
}

// The objects of the examples.
var (
	exampleTime     = Time(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))
	exampleLater    = Time(time.Time(exampleTime).Add(1204 * time.Millisecond))
	exampleFilter   = []tidings.EventType{tidings.IssuanceCompleted, tidings.IssuanceFailed}
	exampleURL      = "https://your-domain.com/webhooks/credentials"
	exampleEndpoint = Endpoint{ID: exampleEndpointID, URL: exampleURL, FilterTypes: exampleFilter, Status: tidings.EndpointEnabled,
		MaxInFlight: tidings.DefaultMaxInFlight, Signatures: []string{tidings.SignatureV1}, Backlog: Backlog{Count: 3, OldestAt: &exampleTime}, CreatedAt: exampleTime, UpdatedAt: exampleTime}
	exampleNewEvent = NewEvent{EventType: tidings.IssuanceCompleted, Payload: NewPayload{exampleEvent("").Payload.OpenID4VCIssuanceID}}
	exampleAccepted = Event{ID: "c01whnacwzh6v40kshgd5znvb", EventType: tidings.IssuanceCompleted, Payload: exampleEvent("").Payload, CreatedAt: exampleTime}
	exampleDelivery = Delivery{ID: "c01whnd51xxrsx7acfsruxsek", EventID: exampleAccepted.ID, EndpointID: exampleEndpoint.ID, EventType: exampleAccepted.EventType,
		IssuanceID: exampleIssuance, Status: tidings.DeliveryDelivered, AttemptCount: 1, CreatedAt: exampleTime, EndedAt: &exampleLater}
	exampleWaiting = Delivery{ID: "c01whnd9p2m4kx7acfsruxb1q", EventID: exampleAccepted.ID, EndpointID: exampleEndpoint.ID, EventType: exampleAccepted.EventType,
		IssuanceID: exampleIssuance, Status: tidings.DeliveryPending, CreatedAt: exampleTime, NextAttemptAt: &exampleTime}
	exampleRecovery = Recovery{ID: "c01whnda1k3zzx7acfsruxq0p", EndpointID: exampleEndpointID, Status: tidings.RecoveryCompleted, Since: exampleTime,
		Until: exampleLater, Examined: 12, Recovered: 3, CreatedAt: exampleLater, EndedAt: &exampleLater}
	exampleEnabled    = tidings.EndpointEnabled
	exampleSince      = "disabledAt"
	exampleStatus     = 200
	exampleAttempt    = Attempt{Number: 1, StartedAt: exampleTime, DurationMs: 187, StatusCode: &exampleStatus, ResponseExcerpt: "OK"}
	exampleAttributes = map[string]tidings.Attribute{
		"holder_name": {Type: tidings.AttributeString, Name: "Name", Required: true},
		"card_number": {Type: tidings.AttributeNumber, Name: "Number", AlwaysDisclosed: true},
	}
	exampleTemplate = Template{ID: "cm2ytsdid009u4ke3t30aiuvc", Name: "Library card", Type: "https://HOST/o/default/vct/LibraryCard", Code: "LibraryCard",
		Format: tidings.FormatSDJWTVC, Attributes: exampleAttributes, Display: exampleDisplay, ValidFor: &exampleYear, CreatedAt: exampleTime, UpdatedAt: exampleTime}
	exampleYear    = int64(365 * 24 * 3600)
	exampleDisplay = []tidings.Display{{Name: "Library card", Locale: "en", BackgroundColor: "#12107c", TextColor: "#fff",
		Logo: &tidings.Logo{URI: "https://library.example/logo.png", Alt: "A book"}}, {Name: "Bibliotheksausweis", Locale: "de"}}
	exampleArchived = archivedOf(exampleTemplate)
	exampleOffer    = "https://HOST/invitation?credential_offer_uri=https%3A%2F%2FHOST%2Fo%2Fdefault%2Foffers%2F…"
	exampleLife     = int64(3600)
	exampleIssued   = Issuance{ID: exampleIssuance, Status: "offered", CreatedAt: exampleTime, UpdatedAt: exampleTime,
		ExpiresAt: Time(time.Time(exampleTime).Add(time.Hour)), OfferURI: exampleOffer, OfferQRURI: exampleOffer + "&qr=true",
		Credentials: []Credential{{ID: exampleCredential, Status: tidings.CredentialOffered, CredentialTemplateID: exampleTemplate.ID,
			Exchange: "openid4vc", Format: tidings.FormatSDJWTVC}}}
	exampleSimulated = completed(exampleIssued)
)

var exampleApproved = approved(exampleIssued)

func approved(i Issuance) Issuance {
	i.Deferral, i.UpdatedAt = tidings.DeferralApproved, exampleLater
	return i
}

func completed(i Issuance) Issuance {
	i.Status, i.AcceptedBy, i.UpdatedAt = string(tidings.StateCompleted), tidings.AcceptedByWallet, exampleLater
	i.Credentials = slices.Clone(i.Credentials)
	i.Credentials[0].Status = tidings.CredentialIssued
	return i
}

const (
	exampleSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	exampleSinceTime = "2025-01-01T00:00:00.000Z"
)

func archivedOf(t Template) Template {
	t.ArchivedAt, t.UpdatedAt = &exampleLater, exampleLater
	return t
}

var exampleIDs = CredentialIDs{IDs: []string{exampleCredential}}

const conflictTemplate = "Another template of the organisation has this code."

// operations is keyed by method and pattern, as the table of routes is.
var operations = map[string]operation{
	"POST /endpoints": {id: "createEndpoint", tag: tagEndpoints,
		text:     "From now on it receives the events of its filterTypes. Its signing secret is read at /endpoints/{id}/secret.",
		request:  NewEndpoint{URL: exampleURL, FilterTypes: exampleFilter},
		response: CreatedEndpoint{ID: exampleEndpoint.ID, URL: exampleURL, FilterTypes: exampleFilter, CreatedAt: exampleTime, UpdatedAt: exampleTime},
		conflict: "The id is taken, or is in use elsewhere with v1a signatures."},
	"GET /endpoints":      {id: "listEndpoints", tag: tagEndpoints, text: "The oldest first.", response: exampleEndpoint},
	"GET /endpoints/{id}": {id: "getEndpoint", tag: tagEndpoints, response: exampleEndpoint},
	"PATCH /endpoints/{id}": {id: "updateEndpoint", tag: tagEndpoints, text: "What waits goes along to a changed url.",
		request: EndpointPatch{Status: &exampleEnabled, RecoverSince: &exampleSince}, response: exampleEndpoint,
		conflict: "The id is in use elsewhere with v1a signatures."},
	"DELETE /endpoints/{id}": {id: "deleteEndpoint", tag: tagEndpoints,
		text: "Its history stays readable. The same id registered again is another endpoint with another secret."},
	"GET /endpoints/{id}/secret": {id: "getEndpointSecret", tag: tagEndpoints,
		response: EndpointSecret{Secret: exampleSecret}},
	"POST /endpoints/{id}/secret/rotate": {id: "rotateEndpointSecret", tag: tagEndpoints, text: "At most three secrets are live at the same time.",
		request: Rotation{&exampleLife}, response: EndpointSecret{Secret: exampleSecret}},
	"POST /endpoints/{id}/test": {id: "testEndpoint", tag: tagEndpoints, text: "Marked by the header webhook-test.",
		request: TestRequest{tidings.IssuanceCompleted}, response: exampleWaiting, conflict: "The endpoint is disabled."},
	"POST /endpoints/{id}/recover": {id: "recoverEndpoint", tag: tagEndpoints, text: "Every delivery of the period that failed or was never made is sent again. The answer comes at once; /endpoints/{id}/recoveries/{sub} tells how far it has come.",
		request: NewRecovery{Since: exampleSinceTime}, response: exampleRecovery},
	"GET /endpoints/{id}/recoveries/{sub}": {id: "getRecovery", tag: tagEndpoints, response: exampleRecovery},

	"POST /events": {id: "publishEvents", tag: tagEvents,
		text:     "For another issuer than this server. It is answered once the events are durable; an array is answered by an array in its order. Where an event goes to more than 64 endpoints, or a request makes more than 1,024 deliveries, these can be read a moment later. An idempotency key covers the whole request (header) or one event (member), not both.",
		request:  exampleNewEvent,
		response: exampleAccepted,
		conflict: "The issuance is one of this server's own, or an idempotency key was used before for something else."},
	"GET /events":                 {id: "listEvents", tag: tagEvents, text: "The oldest first: following links.next gives every event once, also those that come meanwhile. filter[since] is a time: those that were accepted then or later.", response: exampleAccepted},
	"GET /events/stream":          {id: "streamEvents", tag: tagEvents, text: "Server-sent events: the id of each is the event's, its name the event type, its data the event. Without Last-Event-ID only those to come are sent; with it, all that stand after that event."},
	"GET /event-types":            {id: "listEventTypes", tag: tagEvents, text: "The names that filterTypes takes.", response: []EventType{{Name: tidings.IssuanceCompleted, Description: "The holder accepted and received every credential.", Schema: eventSchema(tidings.IssuanceCompleted), Example: exampleEvent(tidings.IssuanceCompleted)}}},
	"GET /events/{id}":            {id: "getEvent", tag: tagEvents, response: exampleAccepted},
	"GET /events/{id}/deliveries": {id: "listEventDeliveries", tag: tagEvents, text: "The newest first.", response: exampleDelivery},

	"GET /deliveries":      {id: "listDeliveries", tag: tagDeliveries, text: "The newest first.", response: exampleDelivery},
	"GET /deliveries/{id}": {id: "getDelivery", tag: tagDeliveries, response: DeliveryDetail{exampleDelivery, []Attempt{exampleAttempt}}},
	"POST /deliveries/{id}/retry": {id: "retryDelivery", tag: tagDeliveries, text: "One that has ended is repeated by a new delivery, whose retryOf names it.", response: exampleWaiting,
		conflict: "The endpoint was deleted."},

	"GET /audit": {id: "listAudit", tag: tagAudit, text: "The newest first.",
		response: AuditEntry{ID: "c01whnd51xxrsx7acfsruxsek", At: exampleTime, By: "c_2pTq", Action: "endpoint.created", Object: exampleEndpointID}},

	"POST /templates/credentials": {id: "createTemplate", tag: tagTemplates, text: "Either code or type is required; where both are there, they must be the same.",
		request:  NewTemplate{Name: exampleTemplate.Name, Code: exampleTemplate.Code, CredentialFormat: "sd-jwt", Attributes: exampleAttributes, Display: exampleDisplay, ValidFor: &exampleYear},
		response: exampleTemplate, conflict: conflictTemplate},
	"GET /templates/credentials":      {id: "listTemplates", tag: tagTemplates, text: "The oldest first, unless sort says otherwise; names are ordered without regard to case. With sort=updatedAt nothing that changes while you follow links.next is missed. filter[type] takes the code or the full type; search[name] finds a part of the name.", response: exampleTemplate},
	"GET /templates/credentials/{id}": {id: "getTemplate", tag: tagTemplates, response: exampleTemplate},
	"PATCH /templates/credentials/{id}": {id: "updateTemplate", tag: tagTemplates, text: "Wallets see it in the issuer's metadata from now on. null takes description and display back to nothing.",
		request: TemplatePatch{Name: &exampleTemplate.Name, Display: &exampleDisplay}, response: exampleTemplate},
	"POST /templates/credentials/{id}/archive":   {id: "archiveTemplate", tag: tagTemplates, text: "Open offers can still be accepted. One that is archived already stays as it is. Its code stays taken.", response: exampleArchived},
	"POST /templates/credentials/{id}/unarchive": {id: "unarchiveTemplate", tag: tagTemplates, text: "One that is not archived stays as it is.", response: exampleTemplate},

	"POST /credentials/issuance": {id: "createIssuance", tag: tagIssuances, text: "Hand its offerUri to the holder. What becomes of it is told by webhooks.",
		request: NewIssuance{CredentialTemplateID: exampleTemplate.ID, Attributes: map[string]any{"holder_name": "Zainab", "card_number": 7}, ExpiresIn: &exampleLife}, response: exampleIssued},
	"POST /credentials/{id}/deferral": {id: "decideDeferral", tag: tagIssuances, text: "Days later, too: the wallet comes again. A denied issuance has failed.",
		request: DeferralDecision{Decision: tidings.Approve}, response: exampleApproved, conflict: "It has ended, is not deferred, or was delivered."},
	"POST /credentials/{id}/reissue": {id: "reissueIssuance", tag: tagIssuances, text: "Under a new id, with the same credentials and attributes and another transaction code.",
		response: exampleIssued, conflict: "It has not ended, what it certified was deleted, or a template was archived."},
	"DELETE /credentials/{id}": {id: "cancelIssuance", tag: tagIssuances, text: "Its status becomes failed, with the error canceled.",
		conflict: "It has ended, or all its credentials were delivered: those can only be revoked."},
	"GET /credentials": {id: "listIssuances", tag: tagIssuances, text: "The newest first.", response: exampleIssued},
	"POST /credentials/{id}/simulate": {id: "simulateIssuance", tag: tagIssuances, text: "Every step that a wallet would take is taken in one transaction, and the same webhooks are sent in the same order. Nobody gets a credential. One that has this status already stays as it is.",
		request: Simulation{tidings.StateCompleted}, response: exampleSimulated, conflict: "It has ended otherwise, or a wallet has come and it cannot expire any more."},
	"GET /credentials/{id}": {id: "getIssuance", tag: tagIssuances, text: "What a receiver of webhooks reads next: the id is the webhook's openId4VcIssuanceId.", response: exampleIssued},
	"POST /credentials/revoke": {id: "revokeCredentials", tag: tagIssuances, text: "The ids are those of credentials, of templates that are revocable. Their status lists say so at once; verifiers see it when they fetch them next, within five minutes.",
		request: exampleIDs, conflict: "A credential is already revoked, was not issued so far, or its template is not revocable."},
	"POST /credentials/suspend": {id: "suspendCredentials", tag: tagIssuances, request: exampleIDs,
		conflict: "A credential is revoked or already suspended, was not issued so far, or its template is not revocable."},
	"POST /credentials/resume": {id: "resumeCredentials", tag: tagIssuances, request: exampleIDs,
		conflict: "A credential is revoked or not suspended, was not issued so far, or its template is not revocable."},
	"POST /credentials/{id}/revoke": {id: "revokeCredential", tag: tagIssuances, text: "The id is a credential's, or an issuance's for all of its credentials that a wallet has. The older way; /credentials/revoke takes several.",
		conflict: "It is already revoked, was not issued so far, or its template is not revocable."},
}

// operationOf gives what is said of the route. A route that nothing is said of
// still has a name.
func operationOf(route *Route) operation {
	op := operations[route.Method+" "+route.Pattern]
	if op.id == "" {
		words := strings.FieldsFunc(route.Pattern, func(r rune) bool { return strings.ContainsRune("/{}-", r) })
		op.id = strings.ToLower(route.Method) + camel(words)
	}
	return op
}

// camel joins words, each with a capital.
func camel(words []string) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}
