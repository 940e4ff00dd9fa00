package server_test

import (
	"strings"
	"testing"

	"tidings"
)

// revocable makes a template whose credentials can be revoked.
func (w *world) revocable(code string, headers ...string) string {
	w.t.Helper()
	return w.post("/templates/credentials", `{"name":"Membership `+code+`","code":"`+code+`","revocable":true,
		"attributes":{"given_name":{"type":"string","required":true},"level":{"type":"number"}}}`, headers...).want(201).data()["id"].(string)
}

// credential gives the id of an issuance's only credential and its status.
func (w *world) credential(issuance string) (id, status string) {
	w.t.Helper()
	c := w.get("/credentials/" + issuance).want(200).data()["credentials"].([]any)[0].(map[string]any)
	return c["id"].(string), c["status"].(string)
}

// issued gives a credential that a wallet has.
func (w *world) issued(template string) string {
	w.t.Helper()
	issuance := w.issuance(template)
	w.post("/credentials/"+issuance+"/simulate", `{"outcome":"completed"}`).want(200)
	id, _ := w.credential(issuance)
	return id
}

func idsOf(ids ...string) string { return `{"ids":["` + strings.Join(ids, `","`) + `"]}` }

// Each change from each state: what comes of it, and what it tells.
func TestChangesOfCredentials(t *testing.T) {
	w := newWorld(t)
	template, plain := w.revocable("Member"), w.template("Plain")
	for _, row := range []struct {
		before string // changes that are made first
		change string
		after  string // the state; empty where the change is refused
		detail string
	}{
		{"", "revoke", "revoked", ""},
		{"", "suspend", "suspended", ""},
		{"", "resume", "", "is not suspended"},
		{"suspend", "revoke", "revoked", ""},
		{"suspend", "suspend", "", "already suspended"},
		{"suspend", "resume", "issued", ""},
		{"suspend resume", "suspend", "suspended", ""},
		{"revoke", "revoke", "", "already revoked"},
		{"revoke", "suspend", "", "already revoked"},
		{"revoke", "resume", "", "already revoked"},
	} {
		issuance := w.issuance(template)
		w.post("/credentials/"+issuance+"/simulate", `{"outcome":"completed"}`).want(200)
		id, _ := w.credential(issuance)
		story := "offered completed"
		tells := func(change string) {
			story += map[string]string{"revoke": " openid4vc.credential.revoked", "suspend": " openid4vc.credential.suspended", "resume": " openid4vc.credential.resumed"}[change]
		}
		for change := range strings.FieldsSeq(row.before) {
			w.post("/credentials/"+change, idsOf(id)).want(204)
			tells(change)
		}
		_, before := w.credential(issuance)
		if a := w.post("/credentials/"+row.change, idsOf(id)); row.after != "" {
			a.want(204)
			tells(row.change)
		} else if a.refused(409, "CONFLICT", "/ids/0"); !strings.Contains(a.detail(), row.detail) {
			t.Errorf("%s after %q: %s", row.change, row.before, a.detail())
		} else {
			row.after = before
		}
		if _, got := w.credential(issuance); got != row.after {
			t.Errorf("%s after %q gives %s, want %s", row.change, row.before, got, row.after)
		}
		if got := w.story(issuance); got != story {
			t.Errorf("%s after %q tells %s, want %s", row.change, row.before, got, story)
		}
	}
	waiting, _ := w.credential(w.issuance(template))
	never := w.issued(plain)
	for change, detail := range map[string]string{waiting: "is not issued", never: "its template is not revocable"} {
		if a := w.post("/credentials/revoke", idsOf(change)).refused(409, "CONFLICT", "/ids/0"); !strings.Contains(a.detail(), detail) {
			t.Errorf("%s", a.detail())
		}
	}
}

// All or none: what is wrong with one of them leaves the others as they are.
func TestRevokesAllOrNone(t *testing.T) {
	w := newWorld(t)
	template := w.revocable("Member")
	a, b := w.issued(template), w.issued(template)
	w.post("/credentials/revoke", idsOf(b)).want(204)
	before := len(w.get("/events").items())
	w.post("/credentials/revoke", idsOf(a, b)).refused(409, "CONFLICT", "/ids/1")
	w.post("/credentials/revoke", idsOf(a, "c0162ph6po1s07h2cdbamuhnp")).refused(400, "VALIDATION_ERROR", "/ids/1")
	w.post("/credentials/revoke", idsOf(a, w.issuance(template))).refused(400, "VALIDATION_ERROR", "/ids/1") // an issuance's id
	w.post("/credentials/revoke", idsOf(a, a)).refused(400, "VALIDATION_ERROR", "/ids/1")
	w.post("/credentials/revoke", `{"ids":[]}`).refused(400, "VALIDATION_ERROR", "/ids")
	w.post("/credentials/revoke", idsOf(strings.Split(strings.Repeat("x ", tidings.MaxStatusChanges)+"x", " ")...)).refused(400, "VALIDATION_ERROR", "/ids")
	w.post("/credentials/revoke", idsOf(a), bearer(w.newToken("elsewhere"))...).refused(400, "VALIDATION_ERROR", "/ids/0")
	if got := len(w.get("/events").items()); got != before+1 { // the offer in between
		t.Errorf("refused changes told %d events", got-before-1)
	}
	w.post("/credentials/revoke", idsOf(a)).want(204) // so it was not
}

// The older route takes the id of a credential or of its issuance.
func TestRevokeByID(t *testing.T) {
	w := newWorld(t)
	template := w.revocable("Member")
	w.post("/credentials/"+w.issued(template)+"/revoke", "").want(204)
	issuance := w.issuance(template)
	w.post("/credentials/"+issuance+"/revoke", "").refused(409, "CONFLICT", "")
	w.post("/credentials/"+issuance+"/simulate", `{"outcome":"completed"}`).want(200)
	w.post("/credentials/"+issuance+"/revoke", "").want(204)
	if _, status := w.credential(issuance); status != "revoked" {
		t.Errorf("the credential is %s", status)
	}
	w.post("/credentials/"+issuance+"/revoke", "").refused(409, "CONFLICT", "")
}

// The events of credentials go to those endpoints that name them, and nobody
// else is surprised.
func TestCredentialEventsAreOptIn(t *testing.T) {
	w := newWorld(t)
	w.post("/endpoints", `{"id":"all","url":"https://receiver.example/a"}`).want(201)
	w.post("/endpoints", `{"id":"named","url":"https://receiver.example/b","filterTypes":["openid4vc.credential.revoked"]}`).want(201)
	id := w.issued(w.revocable("Member"))
	for _, change := range []string{"suspend", "resume", "revoke"} {
		w.post("/credentials/"+change, idsOf(id)).want(204)
	}
	deliveries := w.get("/deliveries?filter[endpointId]=named").items()
	if len(deliveries) != 1 || deliveries[0]["eventType"] != "openid4vc.credential.revoked" {
		t.Errorf("the endpoint that names it has %v", deliveries)
	}
	for _, d := range w.get("/deliveries?filter[endpointId]=all").items() {
		if strings.HasPrefix(d["eventType"].(string), "openid4vc.credential.") {
			t.Errorf("an endpoint without filterTypes has %v", d)
		}
	}
	event := w.get("/events/" + deliveries[0]["eventId"].(string)).want(200).data()
	if payload := event["payload"].(map[string]any); members(payload) != "openId4VcCredentialId openId4VcIssuanceId" || payload["openId4VcCredentialId"] != id {
		t.Errorf("the payload is %v", payload)
	}
}

// Another organisation's credentials are as unknown as those that never were.
func TestNobodyChangesAnothersCredentials(t *testing.T) {
	w := newWorld(t)
	credential, other := w.issued(w.revocable("Member")), bearer(w.newToken("other"))
	for _, change := range []string{"revoke", "suspend", "resume"} {
		w.post("/credentials/"+change, idsOf(credential), other...).refused(400, "VALIDATION_ERROR", "/ids/0")
	}
	w.post("/credentials/"+credential+"/revoke", "", other...).refused(404, "NOT_FOUND", "")
}
