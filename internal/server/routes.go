package server

import (
	"net/http"

	"tidings"
)

// The orders of the lists: each has one, as a cursor stands in it.
const (
	oldestFirst = "createdAt"
	newestFirst = "-createdAt"
)

var (
	eventTypeNames      = names(tidings.FilterableEventTypes)
	deliveryStatusNames = names(tidings.DeliveryStatuses)
	issuanceStatusNames = []string{"offered", "partiallyIssued", "completed", "failed", "expired"}
)

// routes is the table: everything that the API does.
func (s *Server) routes() []Route {
	const (
		get, post, del       = http.MethodGet, http.MethodPost, http.MethodDelete
		patch                = http.MethodPatch
		read, publish, admin = tidings.ScopeRead, tidings.ScopePublish, tidings.ScopeAdmin
	)
	table := []Route{
		one(Route{Method: post, Pattern: "/endpoints", Scope: admin, Status: http.StatusCreated, Idempotency: true,
			Summary: "Register an endpoint that receives webhooks"}, s.createEndpoint),
		many(Route{Method: get, Pattern: "/endpoints", Scope: read, Status: http.StatusOK, Sort: oldestFirst,
			Summary: "List the endpoints"}, s.listEndpoints),
		one(Route{Method: get, Pattern: "/endpoints/{id}", Scope: read, Status: http.StatusOK,
			Summary: "Read an endpoint, its state and its backlog"}, s.readEndpoint),
		one(Route{Method: patch, Pattern: "/endpoints/{id}", Scope: admin, Status: http.StatusOK,
			Summary: "Change an endpoint: its settings, and whether it is enabled"}, s.updateEndpoint),
		one(Route{Method: del, Pattern: "/endpoints/{id}", Scope: admin, Status: http.StatusNoContent,
			Summary: "Delete an endpoint; its pending deliveries are canceled"}, s.deleteEndpoint),
		one(Route{Method: get, Pattern: "/endpoints/{id}/secret", Scope: admin, Status: http.StatusOK,
			Summary: "Read the secrets that sign an endpoint's webhooks"}, s.readSecret),
		one(Route{Method: post, Pattern: "/endpoints/{id}/secret/rotate", Scope: admin, Status: http.StatusOK, OptionalBody: true, Idempotency: true,
			Summary: "Give an endpoint a new secret; the old one signs along for a while"}, s.rotateSecret),
		one(Route{Method: post, Pattern: "/endpoints/{id}/test", Scope: admin, Status: http.StatusAccepted, OptionalBody: true, Idempotency: true,
			Summary: "Send a sample event to this endpoint only"}, s.testEndpoint),
		one(Route{Method: post, Pattern: "/endpoints/{id}/recover", Scope: admin, Status: http.StatusAccepted, Idempotency: true,
			Summary: "Send again all that the endpoint did not get in a period"}, s.recoverEndpoint),
		one(Route{Method: get, Pattern: "/endpoints/{id}/recoveries/{sub}", Scope: read, Status: http.StatusOK,
			Summary: "Read how far a recovery has come"}, s.readRecovery),

		one(Route{Method: post, Pattern: "/events", Scope: publish, Status: http.StatusAccepted, MaxBody: MaxEventBody, Idempotency: true,
			Summary: "Publish one event, or up to 1,000: all or none"}, s.publish),
		many(Route{Method: get, Pattern: "/events", Scope: read, Status: http.StatusOK, Sort: oldestFirst,
			Filters: []Filter{{"eventType", eventTypeNames}, {"issuanceId", nil}, {"since", nil}},
			Summary: "List the events in the order in which they were accepted"}, s.listEvents),
		stream(Route{Method: get, Pattern: "/events/stream", Scope: read, Status: http.StatusOK,
			Summary: "Stream the events as they are accepted; Last-Event-ID goes on"}, s.streamEvents),
		one(Route{Method: get, Pattern: "/event-types", Scope: read, Status: http.StatusOK,
			Summary: "List the event types, with the schema of their webhooks"}, s.listEventTypes),
		one(Route{Method: get, Pattern: "/events/{id}", Scope: read, Status: http.StatusOK,
			Summary: "Read an event"}, s.readEvent),
		many(Route{Method: get, Pattern: "/events/{id}/deliveries", Scope: read, Status: http.StatusOK, Sort: newestFirst,
			Summary: "List the deliveries of an event"}, s.listEventDeliveries),

		many(Route{Method: get, Pattern: "/deliveries", Scope: read, Status: http.StatusOK, Sort: newestFirst,
			Filters: []Filter{{"endpointId", nil}, {"eventId", nil}, {"eventType", eventTypeNames}, {"status", deliveryStatusNames}, {"issuanceId", nil}},
			Summary: "List the deliveries"}, s.listDeliveries),
		one(Route{Method: get, Pattern: "/deliveries/{id}", Scope: read, Status: http.StatusOK,
			Summary: "Read a delivery with its attempts"}, s.readDelivery),
		one(Route{Method: post, Pattern: "/deliveries/{id}/retry", Scope: admin, Status: http.StatusAccepted, Idempotency: true,
			Summary: "Send a delivery again: a pending one now, an ended one as a new one"}, s.retryDelivery),
		many(Route{Method: get, Pattern: "/audit", Scope: read, Status: http.StatusOK, Sort: newestFirst,
			Summary: "List the changes of endpoints, secrets, clients and templates"}, s.listAudit),

		one(Route{Method: post, Pattern: "/templates/credentials", Scope: admin, Status: http.StatusCreated, Idempotency: true,
			Summary: "Create a credential template"}, s.createTemplate),
		many(Route{Method: get, Pattern: "/templates/credentials", Scope: read, Status: http.StatusOK, Sort: oldestFirst, Search: true,
			Sorts:   []string{newestFirst, "name", "-name", "updatedAt", "-updatedAt"},
			Filters: []Filter{{"id", nil}, {"type", nil}, {"format", []string{"sd-jwt", tidings.FormatSDJWTVC}}, {"archived", []string{"true", "false"}}},
			Summary: "List the credential templates"}, s.listTemplates),
		one(Route{Method: get, Pattern: "/templates/credentials/{id}", Scope: read, Status: http.StatusOK,
			Summary: "Read a credential template"}, s.readTemplate),
		one(Route{Method: patch, Pattern: "/templates/credentials/{id}", Scope: admin, Status: http.StatusOK,
			Summary: "Change how a template's credentials are shown: name, description, display"}, s.updateTemplate),
		one(Route{Method: post, Pattern: "/templates/credentials/{id}/archive", Scope: admin, Status: http.StatusOK,
			Summary: "End issuing from a template; what was issued stays valid"}, s.archiveTemplate),
		one(Route{Method: post, Pattern: "/templates/credentials/{id}/unarchive", Scope: admin, Status: http.StatusOK,
			Summary: "Issue from an archived template again"}, s.unarchiveTemplate),

		one(Route{Method: post, Pattern: "/credentials/issuance", Scope: publish, Status: http.StatusCreated, Idempotency: true,
			Summary: "Offer credentials to a holder"}, s.createIssuance),
		many(Route{Method: get, Pattern: "/credentials", Scope: read, Status: http.StatusOK, Sort: newestFirst,
			Filters: []Filter{{"id", nil}, {"status", issuanceStatusNames}, {"credentialTemplateId", nil}},
			Summary: "List the issuances"}, s.listIssuances),
		one(Route{Method: get, Pattern: "/credentials/{id}", Scope: read, Status: http.StatusOK,
			Summary: "Read an issuance"}, s.readIssuance),

		one(Route{Method: post, Pattern: "/credentials/revoke", Scope: admin, Status: http.StatusNoContent,
			Summary: "Revoke credentials for good: all or none"}, s.changeCredentials(tidings.Revoke)),
		one(Route{Method: post, Pattern: "/credentials/suspend", Scope: admin, Status: http.StatusNoContent,
			Summary: "Suspend credentials: they do not count until they are resumed"}, s.changeCredentials(tidings.Suspend)),
		one(Route{Method: post, Pattern: "/credentials/resume", Scope: admin, Status: http.StatusNoContent,
			Summary: "Resume suspended credentials: they are valid again"}, s.changeCredentials(tidings.Resume)),
		one(Route{Method: post, Pattern: "/credentials/{id}/revoke", Scope: admin, Status: http.StatusNoContent,
			Summary: "Revoke a credential, or all that an issuance delivered"}, s.revokeByID),
		one(Route{Method: del, Pattern: "/credentials/{id}", Scope: publish, Status: http.StatusNoContent,
			Summary: "Cancel an issuance: its offer cannot be accepted any more"}, s.cancelIssuance),
		one(Route{Method: post, Pattern: "/credentials/{id}/deferral", Scope: publish, Status: http.StatusOK,
			Summary: "Approve or deny a deferred issuance"}, s.decideDeferral),
		one(Route{Method: post, Pattern: "/credentials/{id}/reissue", Scope: publish, Status: http.StatusCreated, Idempotency: true,
			Summary: "Offer again what an issuance that has ended offered"}, s.reissueIssuance),
	}
	if s.cfg.Sandbox {
		table = append(table, one(Route{Method: post, Pattern: "/credentials/{id}/simulate", Scope: publish, Status: http.StatusOK,
			Summary: "In a sandbox only: end an issuance as if a wallet had"}, s.simulateIssuance))
	}
	return table
}

func names[S ~string](of []S) []string {
	out := make([]string, len(of))
	for i, s := range of {
		out[i] = string(s)
	}
	return out
}
