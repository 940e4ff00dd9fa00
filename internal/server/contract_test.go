package server_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
)

func members(v map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(v)), " ") }

func timeOf(t *testing.T, v any) time.Time {
	t.Helper()
	text, _ := v.(string)
	at, err := time.Parse("2006-01-02T15:04:05.000Z", text)
	if err != nil {
		t.Fatalf("%v is not a time in UTC with milliseconds", v)
	}
	return at
}

// The example of the mission's document, to the letter.
func TestRegisterEndpointAsDocumented(t *testing.T) {
	w := newWorld(t)
	a := w.post("/endpoints", `{
    "url": "https://your-domain.com/webhooks/credentials"
  }`).want(201)
	if got := members(a.body()); got != "data" {
		t.Errorf("the envelope holds %s", got)
	}
	data := a.data()
	if got := members(data); got != "createdAt id updatedAt url" {
		t.Errorf("data holds %s", got)
	}
	if id, _ := data["id"].(string); !regexp.MustCompile(`^[a-z0-9]{10}$`).MatchString(id) {
		t.Errorf("id %q", id)
	}
	if data["url"] != "https://your-domain.com/webhooks/credentials" || data["createdAt"] != "2026-03-01T12:00:00.000Z" || data["updatedAt"] != data["createdAt"] {
		t.Errorf("data %v", data)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if len(a.header.Get("X-Request-Id")) != 24 {
		t.Errorf("X-Request-Id: %q", a.header.Get("X-Request-Id"))
	}
}

func TestEndpoints(t *testing.T) {
	w := newWorld(t)
	made := w.post("/endpoints", `{"id":"My_own-1","url":"https://r.example/a","filterTypes":["openid4vc.issuance.failed","openid4vc.presentation.verified"]}`).want(201).data()
	if got := members(made); got != "createdAt filterTypes id updatedAt url" || made["id"] != "My_own-1" {
		t.Errorf("made %v", made)
	}
	w.post("/endpoints", `{"id":"My_own-1","url":"https://r.example/b"}`).want(409).refused(409, "CONFLICT", "/id")
	got := w.get("/endpoints/My_own-1").want(200).data()
	if want := "backlog createdAt filterTypes id maxInFlight signatures status updatedAt url"; members(got) != want {
		t.Errorf("got %s, want %s", members(got), want)
	}
	if got["status"] != "enabled" || got["backlog"].(map[string]any)["count"] != 0.0 {
		t.Errorf("got %v", got)
	}
	if list := w.get("/endpoints").want(200).items(); len(list) != 1 || members(list[0]) != members(got) {
		t.Errorf("list %v", list)
	}
	if a := w.request(http.MethodDelete, "/endpoints/My_own-1", "").want(204); a.text != "" || a.header.Get("Content-Type") != "" {
		t.Errorf("204 with %q, %v", a.text, a.header)
	}
	w.get("/endpoints/My_own-1").refused(404, "NOT_FOUND", "")
	w.request(http.MethodDelete, "/endpoints/My_own-1", "").refused(404, "NOT_FOUND", "")
}

func TestEndpointSecret(t *testing.T) {
	w := newWorld(t)
	id := w.endpoint("a")
	a := w.get("/endpoints/" + id + "/secret").want(200)
	data := a.data()
	if secret, _ := data["secret"].(string); !strings.HasPrefix(secret, "whsec_") || members(data) != "previous secret" {
		t.Errorf("got %v", data)
	}
	if previous, ok := data["previous"].([]any); !ok || len(previous) != 0 {
		t.Errorf("previous is %v", data["previous"])
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", a.header)
	}
	if log := w.log.take(); strings.Contains(log, "whsec_") {
		t.Error("the log holds the secret")
	}
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.endpoint("a")
	one := w.post("/events", eventBody("cmfwfjxdq003js601bmgy9tva")).want(202)
	data := one.data()
	if members(data) != "createdAt eventType id payload" || data["eventType"] != "openid4vc.issuance.completed" {
		t.Errorf("data %v", data)
	}
	if p := data["payload"].(map[string]any); members(p) != "openId4VcIssuanceId" || p["openId4VcIssuanceId"] != "cmfwfjxdq003js601bmgy9tva" {
		t.Errorf("payload %v", p)
	}
	id := data["id"].(string)
	if got := w.get("/events/" + id).want(200).data(); members(got) != members(data) || got["id"] != id {
		t.Errorf("read %v", got)
	}
	many := w.post("/events", "\n [ "+eventBody("b-1")+","+eventBody("b-2")+","+eventBody("b-1")+"]").want(202).items()
	for i, want := range []string{"b-1", "b-2", "b-1"} {
		if got := many[i]["payload"].(map[string]any)["openId4VcIssuanceId"]; got != want {
			t.Errorf("item %d is of %v, want %s", i, got, want)
		}
	}
	if single := w.post("/events", "["+eventBody("c-1")+"]").want(202).items(); len(single) != 1 {
		t.Errorf("an array of one gives %v", single)
	}
	all := w.get("/events").want(200).items()
	if len(all) != 5 || all[0]["id"] != id {
		t.Errorf("the feed must begin with the oldest: %v", ids(all))
	}
	if got := w.get("/events?filter[issuanceId]=b-1&filter[eventType]=openid4vc.issuance.completed").want(200).items(); len(got) != 2 {
		t.Errorf("filtered: %v", got)
	}
	if got := w.get("/events/" + id + "/deliveries").want(200).items(); len(got) != 1 || got[0]["eventId"] != id {
		t.Errorf("deliveries: %v", got)
	}
	w.get("/events/cmfwfjxdq003js601bmgy9tva/deliveries").refused(404, "NOT_FOUND", "")
}

func TestIdempotencyKeys(t *testing.T) {
	w := newWorld(t)
	key := []string{"Idempotency-Key", "order-17"}
	first := w.post("/events", eventBody("a"), key...).want(202)
	if again := w.post("/events", eventBody("a"), key...).want(202); again.text != first.text {
		t.Errorf("again gives %s, not %s", again.text, first.text)
	}
	w.post("/events", eventBody("b"), key...).refused(409, "CONFLICT", "")
	body := "[" + eventBody("c") + "," + eventBody("d") + "]"
	batch := w.post("/events", body, "Idempotency-Key", "batch").want(202)
	if again := w.post("/events", body, "Idempotency-Key", "batch").want(202); again.text != batch.text {
		t.Errorf("again gives %s, not %s", again.text, batch.text)
	}
	// Another organisation's keys are its own.
	if other := w.post("/events", eventBody("a"), append(bearer(w.newToken("other")), key...)...).want(202); other.text == first.text {
		t.Error("another organisation got our event")
	}

	keyed := strings.TrimSuffix(eventBody("e"), "}") + `,"idempotencyKey":"item-1"}`
	item := w.post("/events", keyed).want(202)
	if again := w.post("/events", "["+keyed+"]").want(202).items(); again[0]["id"] != item.data()["id"] {
		t.Errorf("again gives %v", again)
	}
	w.post("/events", strings.Replace(keyed, `"e"`, `"f"`, 1)).refused(409, "CONFLICT", "/idempotencyKey")
	w.post("/events", keyed, key...).refused(400, "VALIDATION_ERROR", "/idempotencyKey")
	w.post("/events", "["+eventBody("g")+","+keyed+"]", key...).refused(400, "VALIDATION_ERROR", "/1/idempotencyKey")
	w.post("/events", eventBody("h"), "Idempotency-Key", "a b").refused(400, "VALIDATION_ERROR", "")
	w.post("/events", eventBody("h"), "Idempotency-Key", strings.Repeat("k", 256)).refused(400, "VALIDATION_ERROR", "")
}

// attempt records what an attempt at the endpoint's oldest delivery came to.
func (w *world) attempt(endpoint string, status tidings.DeliveryStatus, a tidings.Attempt) {
	w.t.Helper()
	ctx := w.t.Context()
	org, err := w.store.OrganisationBySlug(ctx, "default")
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := w.store.Endpoint(ctx, org.Key, endpoint)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := w.store.OldestPending(ctx, e.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	a.Number, a.StartedAt = d.AttemptCount+1, w.clock.Now()
	r := tidings.AttemptResult{Delivery: d, Attempt: a, Status: status, Due: w.clock.Now().Add(time.Minute)}
	if status == tidings.DeliveryFailed {
		r.Reason = tidings.ReasonExhausted
	}
	for _, err := range w.store.Record([]tidings.AttemptResult{r}) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	a, b := w.endpoint("a"), w.endpoint("b")
	first := w.event("one")
	w.clock.advance(time.Second)
	w.event("two")
	all := w.get("/deliveries").want(200).items()
	const shown = "attemptCount createdAt endedAt endpointId eventId eventType id issuanceId nextAttemptAt reason retryOf status"
	if len(all) != 4 || members(all[0]) != shown {
		t.Fatalf("got %v", all)
	}
	if all[0]["issuanceId"] != "two" || all[3]["issuanceId"] != "one" {
		t.Errorf("the newest must come first: %v", all)
	}
	w.attempt(a, tidings.DeliveryPending, tidings.Attempt{Duration: 1500 * time.Millisecond, StatusCode: 500, ErrorCode: "status", Error: "The receiver answered 500.", ResponseExcerpt: []byte("oh\xff no\xe2\x82")})
	w.attempt(a, tidings.DeliveryFailed, tidings.Attempt{ErrorCode: "timeout", Error: "No answer came."})
	for query, want := range map[string]int{
		"filter[endpointId]=" + a: 2, "filter[endpointId]=" + b: 2, "filter[endpointId]=nobody": 0,
		"filter[eventId]=" + first: 2, "filter[status]=pending": 3, "filter[status]=failed": 1, "filter[status]=delivered": 0,
		"filter[issuanceId]=two": 2, "filter[eventType]=openid4vc.issuance.completed": 4, "filter[eventType]=openid4vc.issuance.offered": 0,
		"filter[status]=failed&filter[endpointId]=" + b: 0, "sort=-createdAt": 4,
	} {
		if got := w.get("/deliveries?" + query).want(200).items(); len(got) != want {
			t.Errorf("%s gives %d, want %d", query, len(got), want)
		}
	}
	failed := w.get("/deliveries?filter[status]=failed").items()[0]
	detail := w.get("/deliveries/" + failed["id"].(string)).want(200).data()
	if want := strings.Replace(shown, "createdAt", "attempts createdAt", 1); members(detail) != strings.Join(slices.Sorted(slices.Values(strings.Fields(want))), " ") {
		t.Errorf("detail has %s", members(detail))
	}
	if detail["reason"] != "exhausted" || detail["attemptCount"] != 2.0 || detail["nextAttemptAt"] != nil || detail["retryOf"] != nil || detail["endedAt"] == nil {
		t.Errorf("detail %v", detail)
	}
	attempts, _ := json.Marshal(detail["attempts"])
	want := `[{"advice":"Look into the receiver's log at that time.","durationMs":1500,"error":"The receiver answered 500.","errorCode":"status","number":1,"responseExcerpt":"oh` + "\uFFFD no\uFFFD" + `","startedAt":"2026-03-01T12:00:01.000Z","statusCode":500},` +
		`{"advice":"The receiver did not answer in time. Answer 2xx as soon as the event is stored, and do the work afterwards.","durationMs":0,"error":"No answer came.","errorCode":"timeout","number":2,"responseExcerpt":"","startedAt":"2026-03-01T12:00:01.000Z","statusCode":null}]`
	if string(attempts) != want {
		t.Errorf("attempts\n%s, want\n%s", attempts, want)
	}
}

func TestTemplates(t *testing.T) {
	w := newWorld(t)
	a := w.post("/templates/credentials", `{"name":"Membership","code":"Member","description":"Of the club",
		"attributes":{"b":{"type":"date","required":true,"alwaysDisclosed":true},"a":{"type":"string","name":"A","description":"An a"}}}`).want(201)
	data := a.data()
	if want := "archivedAt attributes code createdAt description display format id name revocable type updatedAt validFor"; members(data) != want {
		t.Errorf("got %s", members(data))
	}
	if data["type"] != publicURL+"/o/default/vct/Member" || data["code"] != "Member" || data["format"] != "sd-jwt-vc" || data["archivedAt"] != nil {
		t.Errorf("got %v", data)
	}
	attributes, _ := json.Marshal(data["attributes"])
	if want := `{"a":{"alwaysDisclosed":false,"description":"An a","name":"A","required":false,"type":"string"},"b":{"alwaysDisclosed":true,"required":true,"type":"date"}}`; string(attributes) != want {
		t.Errorf("attributes %s", attributes)
	}
	id := data["id"].(string)
	if got := w.get("/templates/credentials/" + id).want(200); got.text != a.text {
		t.Errorf("read\n%s, made\n%s", got.text, a.text)
	}
	older := w.post("/templates/credentials", `{"name":"Older","type":"Old","credentialFormat":"sd-jwt","attributes":{"a":{"type":"string"}}}`).want(201).data()
	if older["code"] != "Old" {
		t.Errorf("older %v", older)
	}
	// An escaped backslash before u0000 is no U+0000.
	w.post("/templates/credentials", `{"name":"\\u0000","code":"Slash","attributes":{"a":{"type":"string"}}}`, bearer(w.newToken("other"))...).want(201)
	w.post("/templates/credentials", `{"name":"Again","type":"Old","attributes":{"a":{"type":"string"}}}`).refused(409, "CONFLICT", "/type")
	for query, want := range map[string]int{
		"": 2, "?filter[id]=" + id: 1, "?filter[type]=Member": 1, "?filter[type]=" + publicURL + "/o/default/vct/Member": 1,
		"?filter[type]=" + publicURL + "/o/other/vct/Member": 0, "?filter[type]=https://else.example/vct/Member": 0,
		"?filter[format]=sd-jwt": 2, "?filter[format]=sd-jwt-vc": 2, "?filter[archived]=true": 0, "?filter[archived]=false": 2,
		"?search[name]=member": 1, "?search[name]=nothing": 0,
	} {
		if got := w.get("/templates/credentials" + query).want(200).items(); len(got) != want {
			t.Errorf("%s gives %d, want %d", query, len(got), want)
		}
	}
}

func TestIssuances(t *testing.T) {
	w := newWorld(t)
	template := w.template("Member")
	a := w.post("/credentials/issuance", `{"credentialTemplateId":"`+template+`","attributes":{"given_name":"Zainab Q","level":3}}`).want(201)
	data := a.data()
	if want := "createdAt credentials error expiresAt id offerQrUri offerUri status updatedAt"; members(data) != want {
		t.Errorf("got %s", members(data))
	}
	if data["status"] != "offered" || data["error"] != nil || data["createdAt"] != "2026-03-01T12:00:00.000Z" || data["expiresAt"] != "2026-03-08T12:00:00.000Z" {
		t.Errorf("got %v", data)
	}
	offer, _ := data["offerUri"].(string)
	if !strings.HasPrefix(offer, publicURL+"/invitation?credential_offer_uri=https%3A%2F%2F") || data["offerQrUri"] != offer+"&qr=true" {
		t.Errorf("offer %v, %v", offer, data["offerQrUri"])
	}
	credentials := data["credentials"].([]any)
	credential := credentials[0].(map[string]any)
	if len(credentials) != 1 || credential["id"] == data["id"] || members(credential) != "credentialTemplateId exchange format id revocable status" ||
		credential["exchange"] != "openid4vc" || credential["format"] != "sd-jwt-vc" || credential["revocable"] != false ||
		credential["status"] != "offered" || credential["credentialTemplateId"] != template {
		t.Errorf("credential %v", credential)
	}
	id := data["id"].(string)
	read := w.get("/credentials/" + id).want(200)
	if read.text != a.text {
		t.Errorf("read\n%s, made\n%s", read.text, a.text)
	}
	list := w.get("/credentials").want(200)
	for _, text := range []string{a.text, read.text, list.text, w.log.take()} {
		if strings.Contains(text, "Zainab") {
			t.Errorf("a claim is shown: %s", text)
		}
	}
	soon := w.post("/credentials/issuance", `{"credentialTemplateId":"`+template+`","attributes":{"given_name":"B"},"expiresIn":90}`).want(201).data()
	if d := timeOf(t, soon["expiresAt"]).Sub(timeOf(t, soon["createdAt"])); d != 90*time.Second {
		t.Errorf("it expires after %v", d)
	}
	if all := w.get("/credentials").items(); len(all) != 2 || all[1]["id"] != id {
		t.Errorf("the newest must come first: %v", ids(all))
	}
	for query, want := range map[string]int{
		"filter[id]=" + id: 1, "filter[status]=offered": 2, "filter[status]=completed": 0,
		"filter[credentialTemplateId]=" + template: 2, "filter[credentialTemplateId]=" + id: 0,
	} {
		if got := w.get("/credentials?" + query).want(200).items(); len(got) != want {
			t.Errorf("%s gives %d, want %d", query, len(got), want)
		}
	}
	// One that Tidings itself issued is not another issuer's to publish.
	w.post("/events", eventBody(id)).refused(409, "CONFLICT", "/payload/openId4VcIssuanceId")
}

// What became of an issuance is shown where it is set.
func TestIssuanceOutcome(t *testing.T) {
	w := newWorld(t)
	id := w.issuance(w.template("Member"))
	org, err := w.store.OrganisationBySlug(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	step := func(s tidings.Step) {
		t.Helper()
		if _, err := w.store.Transition(t.Context(), org.Key, id, s); err != nil {
			t.Fatal(err)
		}
	}
	step(tidings.Retrieve{})
	if got := w.get("/credentials/" + id).data(); got["retrievedAt"] != "2026-03-01T12:00:00.000Z" {
		t.Errorf("got %v", got)
	}
	step(tidings.Redeem{AccessLife: time.Minute})
	w.clock.advance(time.Hour)
	step(tidings.Tick{})
	w.token = w.newToken("default")
	got := w.get("/credentials/" + id).data()
	if failure, _ := got["error"].(map[string]any); got["status"] != "failed" || members(failure) != "code details message" || failure["code"] != "abandoned" {
		t.Errorf("got %v", got)
	}
}
