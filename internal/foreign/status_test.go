package foreign

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings/internal/app"
)

// A foreign verifier reads in the status list what was done to a credential.
func TestAForeignVerifierReadsTheStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *app.Config) { c.AcceptanceGrace = time.Hour })
	var template struct{ ID string }
	w.Call("POST", "/templates/credentials", object{"name": "Card", "code": "card", "revocable": true,
		"attributes": object{"degree": object{"type": "string"}}}, http.StatusCreated, &template)
	var i struct {
		OfferURI    string
		Credentials []struct{ ID string }
	}
	w.Call("POST", "/credentials/issuance", object{"credentialTemplateId": template.ID, "attributes": object{"degree": "Master"}}, http.StatusCreated, &i)
	wallet := w.wallet()
	wallet.claim(i.OfferURI)
	for _, step := range []struct {
		change string
		valid  bool
	}{{"", true}, {"suspend", false}, {"resume", true}, {"revoke", false}} {
		if step.change != "" {
			w.Call("POST", "/credentials/"+step.change, object{"ids": []string{i.Credentials[0].ID}}, http.StatusNoContent, nil)
		}
		why := wallet.try("verify", nil, nil)
		if step.valid != (why == nil) || why != nil && !strings.Contains(why.Message, "Status is not valid") {
			t.Errorf("after %q: %v", step.change, why)
		}
	}
}
