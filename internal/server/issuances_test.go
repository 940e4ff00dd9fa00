package server_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/issuer"
	"tidings/internal/server"
	"tidings/internal/store"
)

// Several credentials in one issuance: each of another template, and an error
// points to the one that is wrong.
func TestIssueSeveralCredentials(t *testing.T) {
	w := newWorld(t)
	a, b := w.template("First"), w.template("Second")
	one := func(template string) string {
		return `{"credentialTemplateId":"` + template + `","attributes":{"given_name":"A"}}`
	}
	made := w.post("/credentials/issuance", `{"credentials":[`+one(a)+`,`+one(b)+`]}`).want(201).data()
	credentials := made["credentials"].([]any)
	if len(credentials) != 2 || credentials[0].(map[string]any)["credentialTemplateId"] != a || credentials[1].(map[string]any)["credentialTemplateId"] != b {
		t.Errorf("credentials %v", credentials)
	}
	for body, at := range map[string]string{
		`{"credentials":[]}`: "/credentials",
		`{"credentials":[` + one(a) + `],"credentialTemplateId":"` + a + `"}`:                  "/credentials",
		`{"credentials":[` + one(a) + `],"attributes":{}}`:                                     "/credentials",
		`{"credentials":[` + one(a) + `,` + one(a) + `]}`:                                      "/credentials/1/credentialTemplateId",
		`{"credentials":[` + one(a) + `,{"attributes":{}}]}`:                                   "/credentials/1/credentialTemplateId",
		`{"credentials":[` + one("nothing") + `]}`:                                             "/credentials/0/credentialTemplateId",
		`{"credentials":[` + one(a) + `,{"credentialTemplateId":"` + b + `"}]}`:                "/credentials/1/attributes/given_name",
		`{"credentials":[{"credentialTemplateId":"` + b + `","attributes":{"given_name":7}}]}`: "/credentials/0/attributes/given_name",
		`{"credentials":[` + strings.Repeat(one(a)+",", 20) + one(b) + `]}`:                    "/credentials",
	} {
		w.post("/credentials/issuance", body).refused(400, "VALIDATION_ERROR", at)
	}
}

// The transaction code is shown by the answer that makes the offer, and by no
// other, also not by the same request again; nor does the log hold it.
func TestTxCodeIsShownOnce(t *testing.T) {
	w := newWorld(t)
	template := w.template("Member")
	ask := func(txCode string, headers ...string) answer {
		return w.post("/credentials/issuance", `{"credentialTemplateId":"`+template+`","attributes":{"given_name":"A"},"txCode":`+txCode+`}`, headers...)
	}
	for shape, pattern := range map[string]string{`true`: `^\d{6}$`, `{"length":4}`: `^\d{4}$`, `{"length":16,"inputMode":"text"}`: `^[0-9A-Z]{16}$`} {
		key := []string{"Idempotency-Key", "k" + pattern}
		made := ask(shape, key...).want(201).data()
		code, _ := made["txCode"].(map[string]any)
		value, _ := code["value"].(string)
		if !regexp.MustCompile(pattern).MatchString(value) {
			t.Errorf("%s gives %v", shape, code)
		}
		for _, again := range []answer{ask(shape, key...).want(201), w.get("/credentials/" + made["id"].(string)).want(200)} {
			shown := again.data()["txCode"].(map[string]any)
			if again.data()["id"] != made["id"] || members(shown) != "inputMode length" {
				t.Errorf("%s shows %v", again.what, shown)
			}
		}
		if strings.Contains(w.log.take(), value) {
			t.Error("the log holds the code")
		}
	}
	if none := ask("false").want(201).data(); none["txCode"] != nil {
		t.Errorf("false gives %v", none["txCode"])
	}
	for shape, at := range map[string]string{`{"length":3}`: "/txCode/length", `{"length":17}`: "/txCode/length", `{"inputMode":"emoji"}`: "/txCode/inputMode", `"1234"`: "/txCode", `{"value":"1"}`: "/txCode/value"} {
		ask(shape).refused(400, "VALIDATION_ERROR", at)
	}
}

// A canceled offer fails, once, and says why.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	id := w.issuance(w.template("Member"))
	if a := w.request(http.MethodDelete, "/credentials/"+id, "").want(204); a.text != "" {
		t.Errorf("204 with %q", a.text)
	}
	read := w.get("/credentials/" + id).want(200).data()
	failure := read["error"].(map[string]any)
	if read["status"] != "failed" || failure["code"] != "canceled" || members(failure) != "code details message" || failure["details"] != nil {
		t.Errorf("read %v", read)
	}
	w.request(http.MethodDelete, "/credentials/"+id, "").refused(409, "CONFLICT", "")
	if got := w.story(id); got != "offered failed" {
		t.Errorf("it tells %q", got)
	}
}

// deferred makes an issuance that the organisation's own system decides about.
func (w *world) deferred(template string) string {
	w.t.Helper()
	return w.post("/credentials/issuance", `{"credentialTemplateId":"`+template+`","attributes":{"given_name":"A"},"deferred":true}`).want(201).data()["id"].(string)
}

// A deferred issuance is approved or denied, and says so.
func TestDecideDeferral(t *testing.T) {
	w := newWorld(t)
	template := w.template("Member")
	id := w.deferred(template)
	path := "/credentials/" + id + "/deferral"
	for body, at := range map[string]string{`{}`: "/decision", `{"decision":"maybe"}`: "/decision", `{"decision":"deny","reason":"` + strings.Repeat("a", 501) + `"}`: "/reason"} {
		w.post(path, body).refused(400, "VALIDATION_ERROR", at)
	}
	if got := w.get("/credentials/" + id).want(200).data()["deferral"]; got != "pending" {
		t.Errorf("deferral %v", got)
	}
	for range 2 {
		if got := w.post(path, `{"decision":"approve"}`).want(200).data(); got["deferral"] != "approved" || got["status"] != "offered" {
			t.Errorf("approved %v", got)
		}
	}
	denied := w.post(path, `{"decision":"deny","reason":"not a member"}`).want(200).data()
	failure := denied["error"].(map[string]any)
	if denied["status"] != "failed" || failure["code"] != "denied" || failure["details"] != "not a member" || failure["message"] != "The issuer denied the credential." {
		t.Errorf("denied %v", denied)
	}
	w.post(path, `{"decision":"approve"}`).refused(409, "CONFLICT", "")
	w.post("/credentials/"+w.issuance(template)+"/deferral", `{"decision":"approve"}`).refused(409, "CONFLICT", "")
	if got := w.story(id); got != "offered failed" {
		t.Errorf("it tells %q", got)
	}
}

// What has ended is offered again under a new id, with its attributes, unless
// they were deleted.
func TestReissue(t *testing.T) {
	w := newWorld(t)
	template := w.template("Member")
	id := w.issuance(template)
	w.post("/credentials/"+id+"/reissue", "").refused(409, "CONFLICT", "")
	w.request(http.MethodDelete, "/credentials/"+id, "").want(204)
	again := w.post("/credentials/"+id+"/reissue", "", "Idempotency-Key", "r").want(201).data()
	if again["id"] == id || again["status"] != "offered" || again["credentials"].([]any)[0].(map[string]any)["credentialTemplateId"] != template {
		t.Errorf("issued again: %v", again)
	}
	if same := w.post("/credentials/"+id+"/reissue", "", "Idempotency-Key", "r").want(201).data(); same["id"] != again["id"] {
		t.Error("the same key makes another")
	}
	if got := w.story(again["id"].(string)); got != "offered" {
		t.Errorf("it tells %q", got)
	}
	w.post("/templates/credentials/"+template+"/archive", "").want(200)
	w.post("/credentials/"+id+"/reissue", "").refused(409, "CONFLICT", "")
	w.post("/templates/credentials/"+template+"/unarchive", "").want(200)
	w.clock.advance(claimsKept + time.Millisecond)
	w.token = w.newToken("default")
	again = w.post("/credentials/"+id+"/reissue", "", "Idempotency-Key", "r").want(201).data() // a day later the key is free
	if n, err := w.store.DeleteClaims(t.Context(), 10); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if a := w.post("/credentials/"+id+"/reissue", "", "Idempotency-Key", "s").refused(409, "CONFLICT", ""); !strings.Contains(a.detail(), "was deleted") {
		t.Errorf("without its attributes: %s", a.text)
	}
	if same := w.post("/credentials/"+id+"/reissue", "", "Idempotency-Key", "r").want(201).data(); same["id"] != again["id"] {
		t.Error("the same key makes another once the attributes are deleted")
	}
}

// archiver archives a template between the check of an offer and its making.
type archiver struct {
	issuer.Store
	template *string
}

func (a archiver) CreateIssuance(ctx context.Context, org tidings.Organisation, n tidings.NewIssuance) (tidings.Issuance, error) {
	if _, err := a.Store.(*store.Store).ArchiveTemplate(ctx, org.Key, *a.template, true, tidings.Origin{}); err != nil {
		return tidings.Issuance{}, err
	}
	return a.Store.CreateIssuance(ctx, org, n)
}

// A template that is archived at that moment is pointed to where it stands.
func TestIssueWhileATemplateIsArchived(t *testing.T) {
	var second string
	w := newWorld(t, func(c *server.Config) {
		var err error
		c.Issuer, err = issuer.New(t.Context(), issuer.Config{PublicURL: publicURL}, archiver{c.Issuances.(*store.Store), &second})
		if err != nil {
			t.Fatal(err)
		}
	})
	first := w.template("First")
	second = w.template("Second")
	w.post("/credentials/issuance", `{"credentials":[{"credentialTemplateId":"`+first+`","attributes":{"given_name":"A"}},
		{"credentialTemplateId":"`+second+`","attributes":{"given_name":"A"}}]}`).refused(400, "VALIDATION_ERROR", "/credentials/1/credentialTemplateId")
}

// A repeated request gets the first result, whatever became of its template.
func TestIssueAgainAfterTheTemplateWasArchived(t *testing.T) {
	w := newWorld(t)
	template := w.template("Once")
	body := `{"credentialTemplateId":"` + template + `","attributes":{"given_name":"A"}}`
	first := w.post("/credentials/issuance", body, "Idempotency-Key", "order-9").want(201)
	w.post("/templates/credentials/"+template+"/archive", "").want(200)
	if again := w.post("/credentials/issuance", body, "Idempotency-Key", "order-9").want(201); again.data()["id"] != first.data()["id"] {
		t.Errorf("again gives %s, not %s", again.text, first.text)
	}
	w.post("/credentials/issuance", body, "Idempotency-Key", "order-10").refused(400, "VALIDATION_ERROR", "/credentialTemplateId")
}
