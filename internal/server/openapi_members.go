package server

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"tidings"
)

// words say of a type, or of a member, what its Go type does not: what it
// means, whether a request must hold it, and its bounds. The bounds are
// enforced by the nouns; a test sends values on both sides of each to show
// that the two say the same.
type words struct {
	text     string
	required bool   // of a request
	schema   object // further keywords of JSON Schema
}

// The patterns of the nouns, as a document writes them.
const (
	issuanceIDPattern     = `^[A-Za-z0-9._:-]{1,128}$`
	idempotencyKeyPattern = `^[\x21-\x7e]{1,255}$`
	endpointIDPattern     = `^[a-zA-Z0-9_-]{1,64}$`
	codePattern           = `^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`
	claimPattern          = `^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`
	localePattern         = `^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$`
	colorPattern          = `^#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$`
	headerNamePattern     = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"
	idPattern             = `^[A-Za-z0-9_.:-]{1,128}$` // what plausibleID takes
	timePattern           = `^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$`
)

// enums are the closed sets among the types of the API.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[tidings.EventType]():        eventTypeNames,
	reflect.TypeFor[tidings.EndpointStatus]():   names([]tidings.EndpointStatus{tidings.EndpointEnabled, tidings.EndpointDisabled}),
	reflect.TypeFor[tidings.DisabledReason]():   disabledReasonNames,
	reflect.TypeFor[tidings.RecoveryStatus]():   names([]tidings.RecoveryStatus{tidings.RecoveryRunning, tidings.RecoveryCompleted}),
	reflect.TypeFor[tidings.DeliveryStatus]():   deliveryStatusNames,
	reflect.TypeFor[tidings.DeliveryReason]():   deliveryReasonNames,
	reflect.TypeFor[tidings.AcceptedBy]():       names([]tidings.AcceptedBy{tidings.AcceptedByWallet, tidings.AcceptedByGrace}),
	reflect.TypeFor[tidings.CredentialStatus](): names(tidings.CredentialStatuses),
	reflect.TypeFor[tidings.Deferral]():         names([]tidings.Deferral{tidings.DeferralPending, tidings.DeferralApproved}),
	reflect.TypeFor[tidings.Decision]():         names([]tidings.Decision{tidings.Approve, tidings.Deny}),
	reflect.TypeFor[tidings.InputMode]():        names([]tidings.InputMode{tidings.InputNumeric, tidings.InputText}),
	reflect.TypeFor[tidings.AttributeType]():    attributeTypeNames,
}

var (
	disabledReasonNames = names([]tidings.DisabledReason{tidings.DisabledManual, tidings.DisabledGone, tidings.DisabledFailing})
	deliveryReasonNames = names([]tidings.DeliveryReason{tidings.ReasonExhausted, tidings.ReasonRetention, tidings.ReasonEndpointDeleted})
	attributeTypeNames  = names([]tidings.AttributeType{tidings.AttributeString, tidings.AttributeNumber, tidings.AttributeBoolean, tidings.AttributeDate})
	filterTypeNames     = withAliases(tidings.EventTypes())
	// fixedHeaders are those that an endpoint cannot set.
	fixedHeaders = []string{"host", "content-type", "content-length", "content-encoding", "user-agent", "connection", "keep-alive",
		"proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect",
		"traceparent", "tracestate", "idempotency-key"}
	reservedClaims = []string{"iss", "iat", "nbf", "exp", "cnf", "vct", "status", "_sd", "_sd_alg", "aka_vcts"}
)

func withAliases(infos []tidings.EventTypeInfo) (out []string) {
	for _, info := range infos {
		out = append(append(out, string(info.Type)), names(info.Aliases)...)
	}
	slices.Sort(out)
	return out
}

// wordsOf gives the words for a member of a component, or for the component
// itself where member is empty. Those of a noun in an answer also serve the
// noun in a request, unless that has its own.
func wordsOf(component, member string) words {
	key := func(component string) string {
		if member == "" {
			return component
		}
		return component + "." + member
	}
	if w, ok := dictionary[key(component)]; ok {
		return w
	}
	return dictionary[key(strings.TrimSuffix(component, "Input"))]
}

const maxOfferSeconds = int64(tidings.MaxOfferLife / time.Second)

// Words that several members share.
var (
	wordsURL       = object{"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]://", "maxLength": 2048}
	wordsID        = words{text: "Opaque; it names the object in paths, filters and cursors."}
	wordsCreatedAt = words{text: "When it was made."}
	wordsUpdatedAt = words{text: "When it last changed."}
	wordsIssuance  = words{text: "The id of the issuance that the event is about.", schema: object{"pattern": issuanceIDPattern}}
	wordsDescribed = words{text: "For people.", schema: object{"maxLength": 500}}
	wordsHeaders   = words{text: "Headers that every webhook carries, such as Authorization. Their values are never shown again, and they are dropped when the host of the URL changes. The sender's own headers, and those whose names begin with webhook-, are refused in any case of letters.",
		schema: object{"maxProperties": tidings.MaxHeaders,
			"propertyNames":        object{"pattern": headerNamePattern, "not": object{"anyOf": []object{{"enum": fixedHeaders}, {"pattern": "^webhook-"}}}},
			"additionalProperties": object{"type": "string", "maxLength": 4096, "pattern": `^[^\x00-\x08\x0a-\x1f\x7f]*$`}}}
	wordsRate = words{text: "How many attempts it gets in a second at most; 0 for no limit.",
		schema: object{"anyOf": []object{{"const": 0}, {"minimum": 0.01, "maximum": 10_000}}}}
	wordsSchedule = words{text: "After how many seconds to try again, after the first failure, the second and so on, each up to 20 % shorter or longer. Empty for the installation's own schedule.",
		schema: object{"maxItems": tidings.MaxRetries, "items": object{"type": "integer", "minimum": 1, "maximum": 604_800}}}
	wordsSignatures = words{text: "How webhooks are signed: v1 is HMAC-SHA256, v1a is Ed25519 with a key that is published at /.well-known/webhook-keys/{id}.",
		schema: object{"enum": []any{[]string{tidings.SignatureV1}, []string{tidings.SignatureV1, tidings.SignatureV1a}}}}
	wordsName     = words{text: "What people call such a credential.", required: true, schema: object{"maxLength": 200, "pattern": `\S`}}
	wordsDisplay  = words{text: "How wallets show its credentials, by language. Empty: by name and description.", schema: object{"maxItems": tidings.MaxDisplays}}
	wordsValidFor = words{text: "For how many seconds its credentials are valid (their exp), from each one's issuance on. From a day on it is rounded up to the end of the day, below that to the minute, so that no two holders can be told apart by it."}
	wordsClaims   = words{text: "The claims: those of the template, with all that it requires. A number lies between -(2^53-1) and 2^53-1, a date is YYYY-MM-DD. They are never shown again.", schema: object{
		"additionalProperties": object{"type": []string{"string", "number", "boolean"}, "maxLength": tidings.MaxAttributeBytes}}}
	wordsTime   = object{"format": "date-time", "examples": []string{"2025-01-01T00:00:00.000Z"}}
	wordsFilter = words{text: "The event types that the endpoint receives. None means every openid4vc.issuance.* type.",
		schema: object{"items": object{"type": "string", "enum": filterTypeNames}}}
)

// dictionary is keyed by component and by component.member.
var dictionary = map[string]words{
	"NewEndpoint":     {text: "Asks for an endpoint."},
	"NewEndpoint.url": {text: "Where webhooks are posted to: an https URL on the public internet, without user info and fragment.", required: true, schema: wordsURL},
	"NewEndpoint.id":  {text: "An id of your own choice; where it is left out, one is made.", schema: object{"pattern": endpointIDPattern}},
	"NewEndpoint.filterTypes": {text: wordsFilter.text + " The names openid4vc.presentation.* are older names of openid4vc.verification.*.",
		schema: object{"maxItems": 64, "items": object{"type": "string", "enum": filterTypeNames}}},
	"NewEndpoint.description":   wordsDescribed,
	"NewEndpoint.headers":       wordsHeaders,
	"NewEndpoint.rateLimit":     wordsRate,
	"NewEndpoint.maxInFlight":   {text: "How many attempts it gets at the same time; 0, or left out, for 8.", schema: object{"minimum": 0, "maximum": tidings.MaxEndpointInFlight}},
	"NewEndpoint.retrySchedule": wordsSchedule,
	"NewEndpoint.signatures":    wordsSignatures,

	"EndpointPatch": {text: "Changes an endpoint: the members that are there take the place of what was.", schema: object{
		"dependentRequired": object{"recoverSince": []string{"status"}}}},
	"EndpointPatch.url":           {text: "Where webhooks are posted to from now on. What waits goes there, too.", schema: wordsURL},
	"EndpointPatch.filterTypes":   {text: wordsFilter.text, schema: object{"maxItems": 64, "items": object{"type": "string", "enum": filterTypeNames}}},
	"EndpointPatch.description":   wordsDescribed,
	"EndpointPatch.headers":       wordsHeaders,
	"EndpointPatch.rateLimit":     wordsRate,
	"EndpointPatch.maxInFlight":   {text: "How many attempts it gets at the same time.", schema: object{"minimum": 1, "maximum": tidings.MaxEndpointInFlight}},
	"EndpointPatch.retrySchedule": wordsSchedule,
	"EndpointPatch.signatures":    wordsSignatures,
	"EndpointPatch.status":        {text: "While it is disabled, its deliveries are kept and stay pending; once it is enabled, they are sent in order."},
	"EndpointPatch.recoverSince": {text: "With status enabled: what failed or was never made since then is sent again. A time, or the name of the endpoint's own.",
		schema: object{"anyOf": []object{{"enum": []string{"disabledAt", "firstFailureAt"}}, wordsTime}}},

	"Rotation":                    {text: "Says how a secret is replaced."},
	"Rotation.gracePeriodSeconds": {text: "For how many seconds the old secret signs along. Left out, it is a day.", schema: object{"minimum": 0, "maximum": int64(maxRotationGrace / time.Second)}},
	"TestRequest":                 {text: "Asks for a sample event."},
	"TestRequest.eventType":       {text: "Its type. Left out, it is " + string(tidings.IssuanceCompleted) + ".", schema: object{"enum": names(tidings.SampleEventTypes)}},

	"NewRecovery":         {text: "Asks to send again what an endpoint did not get in a period."},
	"NewRecovery.since":   {text: "The beginning of the period, not before what the installation still keeps.", required: true, schema: wordsTime},
	"NewRecovery.until":   {text: "The end of the period. Left out, it is now.", schema: wordsTime},
	"Recovery":            {text: "How far sending again has come."},
	"Recovery.id":         wordsID,
	"Recovery.endpointId": {text: "The endpoint."},
	"Recovery.status":     {text: "Whether it still goes on."},
	"Recovery.since":      {text: "The beginning of the period."},
	"Recovery.until":      {text: "The end of the period."},
	"Recovery.examined":   {text: "How many events were looked at so far.", schema: object{"minimum": 0}},
	"Recovery.recovered":  {text: "How many deliveries were made so far.", schema: object{"minimum": 0}},
	"Recovery.createdAt":  wordsCreatedAt,
	"Recovery.endedAt":    {text: "When it was completed."},

	"AuditEntry":        {text: "One line of the audit log."},
	"AuditEntry.id":     wordsID,
	"AuditEntry.at":     {text: "When it was done."},
	"AuditEntry.by":     {text: "The client that did it, or what else did."},
	"AuditEntry.action": {text: "What was done, such as endpoint.created or secret.read."},
	"AuditEntry.object": {text: "The id of what it was done to."},
	"AuditEntry.detail": {text: "What changed: names of members, never a secret."},

	"CreatedEndpoint":             {text: "An endpoint as it was made."},
	"CreatedEndpoint.id":          wordsID,
	"CreatedEndpoint.url":         {text: "Where webhooks are posted to."},
	"CreatedEndpoint.filterTypes": wordsFilter,
	"CreatedEndpoint.createdAt":   wordsCreatedAt,
	"CreatedEndpoint.updatedAt":   wordsUpdatedAt,

	"Endpoint":                {text: "Where an organisation receives its webhooks, and how it is doing."},
	"Endpoint.id":             wordsID,
	"Endpoint.url":            {text: "Where webhooks are posted to."},
	"Endpoint.filterTypes":    wordsFilter,
	"Endpoint.status":         {text: "A disabled endpoint gets nothing, but its deliveries are kept and stay pending."},
	"Endpoint.disabledReason": {text: "Why it is disabled: by its organisation, because it answered 410, or because every attempt failed for days."},
	"Endpoint.disabledAt":     {text: "Since when it is disabled."},
	"Endpoint.firstFailureAt": {text: "There while every attempt since then has failed."},
	"Endpoint.disablesAt":     {text: "There while every attempt fails: when it will be disabled."},
	"Endpoint.description":    {text: "For people."},
	"Endpoint.headers":        {text: "The headers that every webhook carries. Each value is shown as ***.", schema: object{"additionalProperties": object{"const": "***"}}},
	"Endpoint.rateLimit":      {text: "How many attempts it gets in a second at most. Not there where there is no limit."},
	"Endpoint.maxInFlight":    {text: "How many attempts it gets at the same time.", schema: object{"minimum": 1, "maximum": tidings.MaxEndpointInFlight}},
	"Endpoint.retrySchedule":  {text: "After how many seconds it is tried again. Not there where it is the installation's own schedule."},
	"Endpoint.signatures":     wordsSignatures,
	"Endpoint.backlog":        {text: "What waits to be delivered to it."},
	"Endpoint.createdAt":      wordsCreatedAt,
	"Endpoint.updatedAt":      wordsUpdatedAt,

	"Backlog":          {text: "What waits to be delivered to an endpoint."},
	"Backlog.oldestAt": {text: "When the oldest of it was accepted. Not there where nothing waits."},
	"Backlog.count":    {text: "How many deliveries are pending.", schema: object{"minimum": 0}},

	"EndpointSecret":           {text: "What an endpoint's webhooks are signed with."},
	"EndpointSecret.secret":    {text: "The secret that signs, as Standard Webhooks writes it: whsec_ and base64.", schema: object{"pattern": secretPattern}},
	"EndpointSecret.previous":  {text: "Older secrets that still sign along."},
	"PreviousSecret":           {text: "An older secret that signs along until it expires."},
	"PreviousSecret.secret":    {text: "The secret.", schema: object{"pattern": secretPattern}},
	"PreviousSecret.expiresAt": {text: "Until when it signs along."},

	"NewEvent":                {text: "Asks to publish an event of another issuer."},
	"NewEvent.eventType":      {text: "What happened.", required: true, schema: object{"enum": names(tidings.IssuanceEventTypes)}},
	"NewEvent.payload":        {text: "What it happened to.", required: true},
	"NewEvent.idempotencyKey": {text: "For 24 hours, the same key and event again gives the first one. Not together with the header Idempotency-Key.", schema: object{"pattern": idempotencyKeyPattern}},

	"NewPayload":                         {text: "Names the issuance."},
	"NewPayload.openId4VcIssuanceId":     {text: wordsIssuance.text + " One that this server issued is refused.", required: true, schema: wordsIssuance.schema},
	"EventPayload":                       {text: "Refers to an issuance or, in events named tidings.endpoint.*, to an endpoint."},
	"EventPayload.openId4VcCredentialId": {text: "The credential, in events of one.", schema: object{"pattern": idPattern}},
	"EventPayload.openId4VcIssuanceId":   wordsIssuance,
	"EventPayload.endpointId":            {text: "The endpoint that the event is about."},
	"EventPayload.reason":                {text: "Why it was disabled."},

	"Event":           {text: "An event that was accepted."},
	"Event.id":        {text: "The event's id, which is also the webhook-id of its webhooks."},
	"Event.eventType": {text: "What happened."},
	"Event.payload":   {text: "What it happened to."},
	"Event.test":      {text: "There, and true, where it is a sample that was sent to one endpoint only."},
	"Event.createdAt": {text: "When it was accepted."},

	"EventType":             {text: "An event type of the catalogue."},
	"EventType.name":        {text: "Its name in webhooks, filters and filterTypes."},
	"EventType.aliases":     {text: "Older names that filterTypes takes, too.", schema: object{"items": object{"type": "string"}}},
	"EventType.description": {text: "When it happens."},
	"EventType.optIn":       {text: "Whether it is sent only to endpoints whose filterTypes name it."},
	"EventType.schema":      {text: "JSON Schema (2020-12) of the webhook's body.", schema: object{"additionalProperties": true}},
	"EventType.example":     {text: "A body of such a webhook."},
	"EventBody":             {text: "The body of a webhook."},
	"EventBody.eventType":   {text: "What happened."},
	"EventBody.payload":     {text: "What it happened to."},

	"Delivery":                {text: "One event on its way to one endpoint."},
	"Delivery.id":             wordsID,
	"Delivery.eventId":        {text: "The event, and the webhook-id."},
	"Delivery.endpointId":     {text: "The endpoint."},
	"Delivery.eventType":      {text: "The type of the event."},
	"Delivery.issuanceId":     {text: wordsIssuance.text + " Empty where it is about an endpoint.", schema: object{"pattern": `^[A-Za-z0-9._:-]{0,128}$`}},
	"Delivery.status":         {text: "All but pending are final."},
	"Delivery.reason":         {text: "Why it ended without having been delivered.", schema: object{"enum": withNull(deliveryReasonNames)}},
	"Delivery.attemptCount":   {text: "How many attempts were made.", schema: object{"minimum": 0}},
	"Delivery.nextAttemptAt":  {text: "When the next attempt is due, while it is pending."},
	"Delivery.retryOf":        {text: "The ended delivery that it repeats."},
	"Delivery.createdAt":      wordsCreatedAt,
	"Delivery.endedAt":        {text: "When it ended."},
	"DeliveryDetail":          {text: "A delivery with its attempts."},
	"DeliveryDetail.attempts": {text: "The first one first."},

	"Attempt":                 {text: "One HTTP request of a delivery."},
	"Attempt.number":          {text: "1 for the first.", schema: object{"minimum": 1}},
	"Attempt.startedAt":       {text: "When it began."},
	"Attempt.durationMs":      {text: "How many milliseconds it took.", schema: object{"minimum": 0}},
	"Attempt.statusCode":      {text: "What the receiver answered; null where no answer came."},
	"Attempt.errorCode":       {text: "Why it failed, such as timeout, tls, redirect or server_error; null on success."},
	"Attempt.error":           {text: "The same as a sentence."},
	"Attempt.responseExcerpt": {text: "The beginning of the answer, at most 4 KiB."},
	"Attempt.advice":          {text: "What to do about the error, for people; null on success."},

	"NewTemplate": {text: "Asks for a credential template.", schema: object{
		"anyOf": []object{{"required": []string{"code"}}, {"required": []string{"type"}}}}},
	"NewTemplate.name":             wordsName,
	"NewTemplate.code":             {text: "The short name of the credential's type, unique in the organisation.", schema: object{"pattern": codePattern}},
	"NewTemplate.type":             {text: "The older name of code.", schema: object{"pattern": codePattern, "deprecated": true}},
	"NewTemplate.description":      {text: "For people.", schema: object{"maxLength": 2000}},
	"NewTemplate.credentialFormat": {text: "sd-jwt (SD-JWT VC), also where it is left out.", schema: object{"enum": []string{"sd-jwt", tidings.FormatSDJWTVC}}},
	"NewTemplate.attributes": {text: "The claims by their names.", required: true, schema: object{"minProperties": 1, "maxProperties": tidings.MaxAttributes,
		"propertyNames": object{"pattern": claimPattern, "not": object{"enum": reservedClaims}}}},
	"NewTemplate.display":   wordsDisplay,
	"NewTemplate.validFor":  {text: wordsValidFor.text + " Left out, they have no end.", schema: object{"minimum": int64(tidings.MinValidFor / time.Second), "maximum": int64(tidings.MaxValidFor / time.Second)}},
	"NewTemplate.revocable": {text: "Whether its credentials can be revoked and suspended."},

	"TemplatePatch":             {text: "Changes how a template's credentials are shown: the members that are there take the place of what was. The rest of a template never changes, so that a type always means the same."},
	"TemplatePatch.name":        {text: "What people call such a credential.", schema: wordsName.schema},
	"TemplatePatch.description": {text: "For people.", schema: object{"type": []string{"string", "null"}, "maxLength": 2000}},
	"TemplatePatch.display":     {text: wordsDisplay.text, schema: object{"type": []string{"array", "null"}, "maxItems": tidings.MaxDisplays}},

	"Display":                 {text: "How wallets show a credential, in one language."},
	"DisplayInput.name":       {text: "What people call such a credential in this language.", required: true, schema: wordsName.schema},
	"Display.name":            {text: "What people call such a credential in this language."},
	"Display.locale":          {text: "The language, such as en or de-CH; left out, it counts as en. Each can be there once.", schema: object{"pattern": localePattern}},
	"Display.description":     {text: "For people.", schema: object{"maxLength": 2000}},
	"Display.logo":            {text: "A picture of it."},
	"Display.backgroundColor": {text: "Behind the text: #rgb or #rrggbb.", schema: object{"pattern": colorPattern}},
	"Display.textColor":       {text: "Of the text: #rgb or #rrggbb.", schema: object{"pattern": colorPattern}},
	"Logo":                    {text: "A picture that wallets fetch."},
	"LogoInput.uri":           {text: "Where it is: an https URL.", required: true, schema: wordsURL},
	"Logo.uri":                {text: "Where it is: an https URL."},
	"Logo.alt":                {text: "What it shows, for those who do not see it.", schema: object{"maxLength": 200}},

	"Template":             {text: "A credential template."},
	"Template.id":          wordsID,
	"Template.name":        {text: "What people call such a credential."},
	"Template.description": {text: "For people."},
	"Template.type":        {text: "The full type (vct) of its credentials."},
	"Template.code":        {text: "The short name of the type."},
	"Template.format":      {text: "The credential format.", schema: object{"enum": []string{tidings.FormatSDJWTVC}}},
	"Template.attributes":  {text: "The claims by their names."},
	"Template.display":     {text: "How wallets show its credentials, by language. Where it is empty they show name and description."},
	"Template.validFor":    wordsValidFor,
	"Template.revocable":   {text: "Whether its credentials can be revoked and suspended."},
	"Template.createdAt":   wordsCreatedAt,
	"Template.updatedAt":   wordsUpdatedAt,
	"Template.archivedAt":  {text: "Since when nothing is issued under it; null while it is."},

	"Attribute":                 {text: "One claim of a template."},
	"Attribute.type":            {text: "The type of the claim's value; a date is YYYY-MM-DD."},
	"AttributeInput.type":       {text: "The type of the claim's value; a date is YYYY-MM-DD.", required: true},
	"Attribute.name":            {text: "What people call the claim.", schema: object{"maxLength": 200}},
	"Attribute.description":     {text: "For people.", schema: object{"maxLength": 2000}},
	"Attribute.required":        {text: "Whether every credential must have it."},
	"Attribute.alwaysDisclosed": {text: "Whether the holder cannot withhold it."},

	"NewIssuance": {text: "Asks to offer one credential, or several at once in credentials.", schema: object{"anyOf": []object{
		{"required": []string{"credentialTemplateId"}, "not": object{"required": []string{"credentials"}}},
		{"required": []string{"credentials"}, "not": object{"anyOf": []object{{"required": []string{"credentialTemplateId"}}, {"required": []string{"attributes"}}}}}}}},
	"NewIssuance.credentialTemplateId": {text: "The template to issue.", schema: object{"minLength": 1}},
	"NewIssuance.attributes":           wordsClaims,
	"NewIssuance.credentials": {text: "Several credentials that the holder accepts together, each of another template.",
		schema: object{"minItems": 1, "maxItems": tidings.MaxCredentials}},
	"NewIssuance.expiresIn": {text: "For how many seconds the offer can be accepted.", schema: object{"minimum": 1, "maximum": maxOfferSeconds}},
	"NewIssuance.txCode":    {text: "Whether the holder has to enter a code that you hand over by another way than the offer: true for six digits, or its shape. The answer shows it once."},

	"NewIssuance.deferred": {text: "Whether your own system decides later: the wallet waits until the issuance is approved or denied."},

	"DeferralDecision":          {text: "Decides about a deferred issuance."},
	"DeferralDecision.decision": {text: "What is decided.", required: true},
	"DeferralDecision.reason":   {text: "Why it is denied. It stands in the details of the issuance's error, and is told to no wallet.", schema: object{"maxLength": tidings.MaxReason}},

	"NewCredential":                      {text: "One of several credentials."},
	"NewCredential.credentialTemplateId": {text: "The template to issue.", required: true, schema: object{"minLength": 1}},
	"NewCredential.attributes":           wordsClaims,
	"TxCodeShape":                        {text: "What a transaction code is made of."},
	"TxCodeShape.length":                 {text: "How many characters; 6 where it is left out.", schema: object{"minimum": tidings.MinTxCodeLength, "maximum": tidings.MaxTxCodeLength}},
	"TxCodeShape.inputMode":              {text: "Digits (numeric, where it is left out), or digits and capital letters (text)."},
	"TxCode":                             {text: "The transaction code that the wallet asks its user for. After five wrong ones the issuance fails."},
	"TxCode.value":                       {text: "The code. It stands in the answer that makes the offer and nowhere else: only a keyed hash of it is kept."},
	"TxCode.length":                      {text: "How many characters it has."},
	"TxCode.inputMode":                   {text: "What they are: digits, or digits and capital letters."},

	"Simulation":         {text: "Says how an issuance ends."},
	"Simulation.outcome": {text: "The status that it gets.", required: true, schema: object{"enum": names(tidings.SimulatedOutcomes)}},

	"Issuance":          {text: "An offer and what became of it. It never holds what is certified."},
	"CredentialIDs":     {text: "Names credentials."},
	"CredentialIDs.ids": {text: "The ids of credentials, not of issuances.", required: true, schema: object{"minItems": 1, "maxItems": tidings.MaxStatusChanges}},

	"Issuance.id":           {text: "What webhooks call openId4VcIssuanceId."},
	"Issuance.status":       {text: "How far it has come.", schema: object{"enum": issuanceStatusNames}},
	"Issuance.error":        {text: "Why it failed."},
	"Issuance.credentials":  {text: "What is offered."},
	"Issuance.txCode":       {text: "There where the offer asks for a transaction code."},
	"Issuance.deferral":     {text: "There where your own system decides: whether it still has to."},
	"Issuance.acceptedBy":   {text: "What completed it: the wallet's notification, or the end of the time in which it could refuse."},
	"Issuance.retrievedAt":  {text: "When a wallet first fetched the offer."},
	"Issuance.createdAt":    wordsCreatedAt,
	"Issuance.updatedAt":    wordsUpdatedAt,
	"Issuance.expiresAt":    {text: "When the offer runs out."},
	"Issuance.offerUri":     {text: "A link that hands the offer to a wallet. Whoever has it can accept."},
	"Issuance.offerQrUri":   {text: "A link that shows it as a QR code."},
	"IssuanceError":         {text: "Why an issuance failed."},
	"IssuanceError.code":    {text: "For programs."},
	"IssuanceError.message": {text: "For people."},
	"IssuanceError.details": {text: "What the wallet said of it, or who denied it, in their own words; null where they said nothing. It is deleted together with what was certified."},

	"Credential":                      {text: "One credential of an issuance."},
	"Credential.id":                   wordsID,
	"Credential.status":               {text: "How far it has come."},
	"Credential.credentialTemplateId": {text: "The template that it is issued under."},
	"Credential.exchange":             {text: "The protocol.", schema: object{"const": "openid4vc"}},
	"Credential.format":               {text: "The credential format.", schema: object{"enum": []string{tidings.FormatSDJWTVC}}},
	"Credential.revocable":            {text: "Whether it can be revoked."},

	"Links":            {text: "Where a list goes on: paths with their query."},
	"Links.self":       {text: "This page."},
	"Links.next":       {text: "The next page, where there is one."},
	"Links.prev":       {text: "The page before, where there is one."},
	"Meta":             {text: "What is to be said of a list."},
	"Meta.page":        {text: "The page."},
	"PageMeta":         {text: "A page of a list."},
	"PageMeta.size":    {text: "How many items it holds at most.", schema: object{"minimum": 1, "maximum": tidings.MaxPageSize}},
	"PageMeta.hasNext": {text: "Whether more items follow."},
	"PageMeta.hasPrev": {text: "Whether items precede it."},

	"Problems":         {text: "Why a request was refused."},
	"Problems.errors":  {text: "One or more; the status of the answer is that of the first.", schema: object{"minItems": 1}},
	"Problem":          {text: "One thing that is wrong."},
	"Problem.id":       {text: "Of this occurrence: the X-Request-Id, with a number behind it from the second one on."},
	"Problem.status":   {text: "The HTTP status as a string.", schema: object{"pattern": "^[45][0-9]{2}$"}},
	"Problem.code":     {text: "For programs.", schema: object{"enum": problemCodes()}},
	"Problem.title":    {text: "What the code means."},
	"Problem.detail":   {text: "What is wrong, for a developer."},
	"Problem.source":   {text: "Where in the request it is wrong."},
	"Source":           {text: "A place in a request."},
	"Source.pointer":   {text: "In the body, as a JSON pointer (RFC 6901)."},
	"Source.parameter": {text: "The query parameter."},
}

const secretPattern = `^whsec_[A-Za-z0-9+/]+={0,2}$`

func problemCodes() []string {
	codes := []string{internal.code, wrongMethod.code, wrongMedia.code}
	for _, s := range sorts {
		codes = append(codes, s.code)
	}
	slices.Sort(codes)
	return codes
}
