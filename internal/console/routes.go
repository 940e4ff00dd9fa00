package console

import (
	"net/http"

	"tidings"
)

// routes is the table: everything that the console shows and does. The scopes
// are those of the API for the same thing.
func (c *Console) routes() []route {
	const (
		get, post            = http.MethodGet, http.MethodPost
		read, publish, admin = tidings.ScopeRead, tidings.ScopePublish, tidings.ScopeAdmin
	)
	return []route{
		{get, "/sign-in", "", true, c.showSignIn},
		{post, "/sign-in", "", true, c.signIn},
		{post, "/sign-out", "", true, c.signOut},

		{get, "", read, false, c.showOverview},
		{get, "/{$}", read, false, c.showOverview},

		{get, "/endpoints", read, false, c.listEndpoints},
		{get, "/endpoints/new", admin, false, c.newEndpoint},
		{post, "/endpoints/new", admin, false, c.createEndpoint},
		{get, "/endpoints/{id}", read, false, c.showEndpoint},
		{get, "/endpoints/{id}/edit", admin, false, c.editEndpoint},
		{post, "/endpoints/{id}/edit", admin, false, c.updateEndpoint},
		{post, "/endpoints/{id}/secret", admin, false, c.showSecret},
		{post, "/endpoints/{id}/rotate", admin, false, c.rotateSecret},
		{post, "/endpoints/{id}/test", admin, false, c.testEndpoint},
		{post, "/endpoints/{id}/status", admin, false, c.switchEndpoint},
		{post, "/endpoints/{id}/recover", admin, false, c.recoverEndpoint},
		{get, "/endpoints/{id}/recoveries/{sub}", read, false, c.showRecovery},
		{post, "/endpoints/{id}/delete", admin, false, c.deleteEndpoint},

		{get, "/deliveries", read, false, c.listDeliveries},
		{post, "/deliveries", admin, false, c.resendAll},
		{get, "/deliveries/{id}", read, false, c.showDelivery},
		{post, "/deliveries/{id}/retry", admin, false, c.retryDelivery},

		{get, "/events", read, false, c.listEvents},
		{get, "/events/stream", read, false, c.streamEvents},
		{get, "/events/{id}", read, false, c.showEvent},

		{get, "/issuances", read, false, c.listIssuances},
		{get, "/issuances/new", publish, false, c.newIssuance},
		{post, "/issuances/new", publish, false, c.createIssuance},
		{get, "/issuances/{id}", read, false, c.showIssuance},
		{post, "/issuances/{id}/cancel", publish, false, c.cancelIssuance},
		{post, "/issuances/{id}/decide", publish, false, c.decideIssuance},
		{post, "/issuances/{id}/reissue", publish, false, c.reissueIssuance},
		{post, "/issuances/{id}/credentials", admin, false, c.changeCredential},

		{get, "/templates", read, false, c.listTemplates},
		{get, "/templates/new", admin, false, c.newTemplate},
		{post, "/templates/new", admin, false, c.createTemplate},
		{get, "/templates/{id}", read, false, c.showTemplate},
		{get, "/templates/{id}/edit", admin, false, c.editTemplate},
		{post, "/templates/{id}/edit", admin, false, c.updateTemplate},
		{post, "/templates/{id}/archive", admin, false, c.archiveTemplate},
	}
}
