package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/server"
)

// story gives the types of an issuance's events, in their order.
func (w *world) story(id string) string {
	w.t.Helper()
	var types []string
	for _, e := range w.get("/events?filter[issuanceId]=" + id).want(200).items() {
		types = append(types, strings.TrimPrefix(e["eventType"].(string), "openid4vc.issuance."))
	}
	return strings.Join(types, " ")
}

// A simulated issuance tells what one with a wallet tells, from wherever it is,
// and ends once.
func TestSimulate(t *testing.T) {
	w := newWorld(t)
	org, err := w.store.OrganisationBySlug(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	template, err := w.store.Template(t.Context(), org.Key, w.template("Member"))
	if err != nil {
		t.Fatal(err)
	}
	redeem := tidings.Redeem{AccessLife: time.Hour}
	deliver := func(i tidings.Issuance) tidings.Step {
		return tidings.Deliver{CredentialID: i.Credentials[0].ID, Grace: time.Hour, Nonce: tidings.UsedNonce{Hash: [16]byte([]byte(i.ID))}}
	}
	for _, test := range []struct {
		credentials int
		before      string // steps: r, d
		outcome     string
		status      int
		story, why  string
	}{
		{1, "", "completed", 200, "offered completed", ""},
		{1, "", "failed", 200, "offered failed", "credential_failure"},
		{1, "", "expired", 200, "offered expired", ""},
		{2, "", "completed", 200, "offered partiallyIssued completed", ""},
		{2, "", "failed", 200, "offered partiallyIssued failed", "credential_failure"},
		{2, "", "expired", 200, "offered expired", ""},
		{1, "r", "completed", 200, "offered completed", ""},
		{1, "rd", "completed", 200, "offered completed", ""},
		{2, "rd", "completed", 200, "offered partiallyIssued completed", ""},
		{2, "rd", "failed", 200, "offered partiallyIssued failed", "credential_failure"},
		{1, "r", "expired", 409, "offered", ""},
		{1, "rd", "expired", 409, "offered", ""},
	} {
		name := fmt.Sprintf("%d credentials, %q, %s", test.credentials, test.before, test.outcome)
		var wanted tidings.NewIssuance
		for range test.credentials {
			wanted.Credentials = append(wanted.Credentials, tidings.NewCredential{Template: template, Claims: map[string]any{"given_name": "A"}})
		}
		wanted.Life = time.Hour
		i, err := w.store.CreateIssuance(t.Context(), org, wanted)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range test.before {
			if _, err := w.store.Transition(t.Context(), org.Key, i.ID, map[rune]tidings.Step{'r': redeem, 'd': deliver(i)}[s]); err != nil {
				t.Fatal(err)
			}
		}
		w.clock.advance(time.Second)
		path := "/credentials/" + i.ID
		a := w.post(path+"/simulate", `{"outcome":"`+test.outcome+`"}`).want(test.status)
		if test.status == 409 {
			a.refused(409, "CONFLICT", "")
		} else if read := w.get(path); read.text != a.text || a.data()["status"] != test.outcome {
			t.Errorf("%s: simulated %s, read %s", name, a.text, read.text)
		}
		if got := w.story(i.ID); got != test.story {
			t.Errorf("%s: it tells %q, want %q", name, got, test.story)
		}
		if test.status == 409 {
			continue
		}
		failure, _ := a.data()["error"].(map[string]any)
		if why, _ := failure["code"].(string); why != test.why {
			t.Errorf("%s: error %v", name, failure)
		}
		if test.outcome == "expired" && a.data()["expiresAt"] != a.data()["updatedAt"] {
			t.Errorf("it expired at %v, but was to at %v", a.data()["updatedAt"], a.data()["expiresAt"])
		}
		for _, other := range tidings.SimulatedOutcomes {
			again := w.post(path+"/simulate", `{"outcome":"`+string(other)+`"}`)
			if string(other) == test.outcome {
				again.want(200)
			} else {
				again.refused(409, "CONFLICT", "")
			}
		}
		if got := w.story(i.ID); got != test.story {
			t.Errorf("%s: after more simulations it tells %q", name, got)
		}
	}
	id := w.issuance(template.ID)
	for body, at := range map[string]string{`{}`: "/outcome", `{"outcome":"offered"}`: "/outcome", `{"outcome":1}`: "/outcome", `{"status":"failed"}`: "/status"} {
		w.post("/credentials/"+id+"/simulate", body).refused(400, "VALIDATION_ERROR", at)
	}
	if breaches, err := w.store.Check(t.Context(), 10); err != nil || len(breaches) > 0 {
		t.Errorf("the store's invariants: %v %q", err, breaches)
	}
}

// A simulated wallet knows the transaction code, is approved where it waits, and
// fetches what is missing of several credentials, revocable and suspended ones too.
func TestSimulateEveryKind(t *testing.T) {
	w := newWorld(t)
	org, err := w.store.OrganisationBySlug(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	a, b := w.revocable("First"), w.template("Second")
	nonce := byte(0)
	for _, more := range []string{`"deferred":true`, `"txCode":true`, `"deferred":true,"txCode":true`} {
		for _, before := range []string{"", "a", "r", "rw", "rwa", "ra", "rad", "rads"} {
			for outcome, story := range map[string]string{"completed": "offered partiallyIssued completed", "failed": "offered partiallyIssued failed"} {
				made := w.post("/credentials/issuance", `{`+more+`,"credentials":[{"credentialTemplateId":"`+a+`","attributes":{"given_name":"A"}},
					{"credentialTemplateId":"`+b+`","attributes":{"given_name":"A"}}]}`).want(201).data()["id"].(string)
				first, _ := w.credential(made)
				for _, s := range before {
					i, err := w.store.Issuance(t.Context(), org.Key, made)
					if err != nil {
						t.Fatal(err)
					}
					nonce++
					spent := tidings.UsedNonce{Hash: [16]byte{nonce}}
					step := map[rune]tidings.Step{
						'a': tidings.Decide{Decision: tidings.Approve}, 'r': tidings.Redeem{AccessLife: time.Hour, DeferralLife: time.Hour, TxCode: i.TxCode.Hash},
						'w': tidings.Defer{CredentialID: first, Nonce: spent, Keys: "[]"}, 'd': tidings.Deliver{CredentialID: first, Nonce: spent},
					}[s]
					if step == nil {
						w.post("/credentials/suspend", idsOf(first)).want(204)
					} else if _, err := w.store.Transition(t.Context(), org.Key, made, step); err != nil && i.Deferral != "" {
						t.Fatalf("%s, %q: %T: %v", more, before, step, err)
					}
				}
				end := w.post("/credentials/"+made+"/simulate", `{"outcome":"`+outcome+`"}`).want(200).data()
				if got := strings.Replace(w.story(made), " openid4vc.credential.suspended", "", 1); got != story || end["status"] != outcome {
					t.Errorf("%s, %q: %v, it tells %q", more, before, end["status"], got)
				}
				for k, c := range end["credentials"].([]any) {
					want := "issued"
					if k == 0 && strings.HasSuffix(before, "s") {
						want = "suspended"
					}
					if got := c.(map[string]any)["status"]; got != want {
						t.Errorf("%s, %q: credential %d is %v", more, before, k, got)
					}
				}
				w.post("/credentials/revoke", idsOf(first)).want(204)
			}
		}
	}
	if breaches, err := w.store.Check(t.Context(), 10); err != nil || len(breaches) > 0 {
		t.Errorf("the store's invariants: %v %q", err, breaches)
	}
}

// Outside of a sandbox there is no such route, and the document knows none.
func TestSimulateIsForSandboxes(t *testing.T) {
	const route = `"/credentials/{id}/simulate"`
	if full := newWorld(t).get("//openapi.json"); !strings.Contains(full.text, route) { // the document that the tests share is a sandbox's
		t.Error("a sandbox's document does not tell of it")
	}
	w := newWorld(t, func(c *server.Config) { c.Sandbox = false })
	id := w.issuance(w.template("Member"))
	w.post("/credentials/"+id+"/simulate", `{"outcome":"completed"}`).refused(404, "NOT_FOUND", "")
	if got := w.story(id); got != "offered" {
		t.Errorf("it tells %q", got)
	}
	if strings.Contains(w.get("//openapi.json").text, route) {
		t.Error("the document tells of it")
	}
}
