package client_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/server"
)

// recorder keeps which routes were called.
type recorder struct {
	http.RoundTripper
	mu   sync.Mutex
	seen map[string]bool
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[q.Method+" "+strings.TrimPrefix(q.URL.Path, server.Prefix)] = true
	return r.RoundTripper.RoundTrip(q)
}

// called tells whether a request went to the route.
func (r *recorder) called(route server.Route) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := range r.seen {
		method, path, _ := strings.Cut(at, " ")
		want, got := strings.Split(route.Pattern, "/"), strings.Split(path, "/")
		if method == route.Method && slices.EqualFunc(want, got, func(a, b string) bool {
			return a == b || strings.HasPrefix(a, "{") && !slices.Contains([]string{"issuance", "stream"}, b)
		}) {
			return true
		}
	}
	return false
}

// live gives a client of a whole server.
func live(t *testing.T) (*client.Client, *apptest.App, *recorder) {
	t.Helper()
	a := apptest.New(t, func(c *app.Config) { c.Sandbox = true })
	r := &recorder{RoundTripper: a.HTTP.Transport, seen: map[string]bool{}}
	return newClient(t, client.Config{URL: a.URL, ClientID: apptest.ClientID, ClientSecret: apptest.ClientSecret, HTTP: &http.Client{Transport: r}}), a, r
}

func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// all gives the items of a list.
func all[T any](t *testing.T, list iter.Seq2[T, error]) (out []T) {
	t.Helper()
	for item, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, item)
	}
	return out
}

// must gives the first of two values, as the second is no error.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Every method does on a real server what it says, and together they call
// every route.
func TestEveryMethod(t *testing.T) {
	c, a, calls := live(t)
	ctx := t.Context()
	receiver := apptest.NewReceiver(t, a.CA, nil)
	if last := must[string](t)(c.LastEvent(ctx)); last != "" {
		t.Errorf("the last event of none is %q", last)
	}
	endpoint := endpoints(t, c, receiver.URL)
	events(t, c, endpoint)
	issuances(t, c)
	receiver.Wait(4) // what was published and offered, and a sample
	repeats(t, c, endpoint)
	if err := c.DeleteEndpoint(ctx, endpoint); err != nil {
		t.Error(err)
	}
	if _, err := c.Endpoint(ctx, endpoint); status(err) != http.StatusNotFound {
		t.Errorf("a deleted endpoint: %v", err)
	}
	for _, route := range server.Table() {
		if !calls.called(route) {
			t.Errorf("no method called %s %s", route.Method, route.Pattern)
		}
	}
}

func status(err error) int {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Status
	}
	return 0
}

// endpoints registers, reads and changes an endpoint.
func endpoints(t *testing.T, c *client.Client, url string) string {
	t.Helper()
	ctx := t.Context()
	made := must[client.CreatedEndpoint](t)(c.CreateEndpoint(ctx, client.NewEndpoint{
		ID: "accounts", URL: url, FilterTypes: []tidings.EventType{tidings.IssuanceOffered, tidings.IssuanceCompleted, tidings.EndpointFailing},
		Headers: map[string]string{"Authorization": "Basic abc"}, RetrySchedule: []int64{1, 2}, Signatures: []string{"v1", "v1a"},
	}))
	if made.ID != "accounts" || made.URL != url || made.CreatedAt.IsZero() {
		t.Errorf("made %+v", made)
	}
	e := must[client.Endpoint](t)(c.Endpoint(ctx, made.ID))
	if e.Status != tidings.EndpointEnabled || e.DisabledAt != nil || e.Headers["Authorization"] != "***" || !slices.Equal(e.RetrySchedule, []int64{1, 2}) || !e.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("read %+v", e)
	}
	e = must[client.Endpoint](t)(c.UpdateEndpoint(ctx, made.ID, client.EndpointPatch{Status: new(tidings.EndpointDisabled), Description: new("Accounts")}))
	if e.DisabledReason != tidings.DisabledManual || e.DisabledAt == nil || e.Description != "Accounts" || e.RetrySchedule == nil {
		t.Errorf("disabled %+v", e)
	}
	e = must[client.Endpoint](t)(c.UpdateEndpoint(ctx, made.ID, client.EndpointPatch{Status: new(tidings.EndpointEnabled), RecoverSince: new("disabledAt"), RetrySchedule: new([]int64{})}))
	if e.Status != tidings.EndpointEnabled || e.RetrySchedule != nil {
		t.Errorf("enabled %+v", e)
	}
	if list := all(t, c.Endpoints(ctx, client.EndpointQuery{})); len(list) != 1 || list[0].ID != made.ID {
		t.Errorf("listed %+v", list)
	}
	first := must[client.EndpointSecret](t)(c.EndpointSecret(ctx, made.ID))
	second := must[client.EndpointSecret](t)(c.RotateEndpointSecret(ctx, made.ID, client.Rotation{GracePeriodSeconds: new(int64(60))}))
	if first.Secret == second.Secret || len(second.Previous) != 1 || second.Previous[0].Secret != first.Secret || second.Previous[0].ExpiresAt == nil {
		t.Errorf("secrets %d previous", len(second.Previous))
	}
	if sample := must[client.Delivery](t)(c.TestEndpoint(ctx, made.ID, client.TestRequest{})); sample.EndpointID != made.ID || sample.EventType != tidings.IssuanceCompleted {
		t.Errorf("sample %+v", sample)
	}
	actions := []string{}
	for _, entry := range all(t, c.Audit(ctx, client.AuditQuery{})) {
		actions = append(actions, entry.Action)
	}
	if !slices.Contains(actions, "endpoint.created") || !slices.Contains(actions, "secret.rotated") {
		t.Errorf("audit %v", actions)
	}
	return made.ID
}

// events publishes, follows and reads events.
func events(t *testing.T, c *client.Client, endpoint string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := client.NewEvent{EventType: tidings.IssuanceOffered, Payload: client.NewPayload{OpenID4VCIssuanceID: "order-1"}}
	two := client.NewEvent{EventType: tidings.IssuanceCompleted, Payload: one.Payload}
	first := must[client.Event](t)(c.PublishEvent(ctx, one, client.IdempotencyKey("import-1")))
	if again := must[client.Event](t)(c.PublishEvent(ctx, one, client.IdempotencyKey("import-1"))); again != first {
		t.Errorf("again %+v, first %+v", again, first)
	}
	if _, err := c.PublishEvent(ctx, two, client.IdempotencyKey("import-1")); status(err) != http.StatusConflict {
		t.Errorf("another event with the same key: %v", err)
	}
	batch := must[[]client.Event](t)(c.PublishEvents(ctx, []client.NewEvent{two}))
	if last := must[string](t)(c.LastEvent(ctx)); last != batch[0].ID {
		t.Errorf("the last event is %q, want %q", last, batch[0].ID)
	}
	for e, err := range c.FollowEvents(ctx, first.ID) {
		if err != nil || e != batch[0] {
			t.Errorf("followed %+v, %v; want %+v", e, err, batch[0])
		}
		break
	}
	if e := must[client.Event](t)(c.Event(ctx, first.ID)); e != first || e.Payload.OpenID4VCIssuanceID != "order-1" {
		t.Errorf("read %+v", e)
	}
	list := all(t, c.Events(ctx, client.EventQuery{IssuanceID: "order-1", Page: client.Page{Size: 1}}))
	if !slices.Equal(list, []client.Event{first, batch[0]}) {
		t.Errorf("listed %+v", list)
	}
	if rest := all(t, c.Events(ctx, client.EventQuery{IssuanceID: "order-1", Page: client.Page{After: first.ID}})); len(rest) != 1 {
		t.Errorf("behind the first: %+v", rest)
	}
	if d := all(t, c.EventDeliveries(ctx, first.ID, client.Page{})); len(d) != 1 || d[0].EndpointID != endpoint {
		t.Errorf("deliveries %+v", d)
	}
	types := must[[]client.EventType](t)(c.EventTypes(ctx))
	if len(types) < 10 || types[0].Name != tidings.IssuanceOffered || len(types[0].Schema) == 0 {
		t.Errorf("types %+v", types)
	}
}

// issuances makes a template and an offer under it.
func issuances(t *testing.T, c *client.Client) {
	t.Helper()
	ctx := t.Context()
	made := must[client.Template](t)(c.CreateTemplate(ctx, client.NewTemplate{Name: "Library card", Code: "Card",
		Attributes: map[string]tidings.Attribute{"holder": {Type: tidings.AttributeString, Required: true}}}))
	if read := must[client.Template](t)(c.Template(ctx, made.ID)); read.Code != "Card" || !read.Attributes["holder"].Required {
		t.Errorf("template %+v", read)
	}
	if list := all(t, c.Templates(ctx, client.TemplateQuery{Search: "library", Archived: new(false)})); len(list) != 1 {
		t.Errorf("templates %+v", list)
	}
	if list := all(t, c.Templates(ctx, client.TemplateQuery{Archived: new(true)})); len(list) != 0 {
		t.Errorf("archived templates %+v", list)
	}
	other := must[client.Template](t)(c.CreateTemplate(ctx, client.NewTemplate{Name: "Badge", Code: "Badge", ValidFor: 3600, Revocable: true, Attributes: made.Attributes}))
	if other.ValidFor != 3600 || !other.Revocable || made.ValidFor != 0 {
		t.Errorf("made %+v and %+v", made, other)
	}
	shown := []tidings.Display{{Name: "Card", Locale: "de", Logo: &tidings.Logo{URI: "https://library.example/logo.png"}}}
	if changed := must[client.Template](t)(c.UpdateTemplate(ctx, made.ID, client.TemplatePatch{Display: &shown, Description: new("For readers")})); len(changed.Display) != 1 ||
		changed.Display[0].Logo.URI != shown[0].Logo.URI || changed.Description != "For readers" || changed.Name != "Library card" {
		t.Errorf("changed %+v", changed)
	}
	if list := all(t, c.Templates(ctx, client.TemplateQuery{Sort: tidings.TemplatesByName, Page: client.Page{Size: 1}})); len(list) != 2 || list[0].ID != other.ID {
		t.Errorf("by name %+v", list)
	}
	if archived := must[client.Template](t)(c.ArchiveTemplate(ctx, made.ID)); archived.ArchivedAt == nil {
		t.Errorf("archived %+v", archived)
	}
	if back := must[client.Template](t)(c.UnarchiveTemplate(ctx, made.ID)); back.ArchivedAt != nil {
		t.Errorf("unarchived %+v", back)
	}
	offer := must[client.Issuance](t)(c.CreateIssuance(ctx, client.NewIssuance{CredentialTemplateID: made.ID, Attributes: map[string]any{"holder": "Zainab"}, ExpiresIn: 60}))
	if offer.Status != "offered" || len(offer.Credentials) != 1 || offer.OfferURI == "" || offer.ExpiresAt.Sub(offer.CreatedAt) != time.Minute {
		t.Errorf("issuance %+v", offer)
	}
	if read := must[client.Issuance](t)(c.Issuance(ctx, offer.ID)); read.ID != offer.ID || read.Error != nil {
		t.Errorf("issuance %+v", read)
	}
	if list := all(t, c.Issuances(ctx, client.IssuanceQuery{Status: "offered", CredentialTemplateID: made.ID})); len(list) != 1 {
		t.Errorf("issuances %+v", list)
	}
	waits := must[client.Issuance](t)(c.CreateIssuance(ctx, client.NewIssuance{CredentialTemplateID: made.ID, Attributes: map[string]any{"holder": "Zainab"}, Deferred: true}))
	if decided := must[client.Issuance](t)(c.DecideDeferral(ctx, waits.ID, client.DeferralDecision{Decision: tidings.Approve})); waits.Deferral != tidings.DeferralPending || decided.Deferral != tidings.DeferralApproved {
		t.Errorf("deferral %q, then %q", waits.Deferral, decided.Deferral)
	}
	must[client.Issuance](t)(c.DecideDeferral(ctx, waits.ID, client.DeferralDecision{Decision: tidings.Deny}))
	several := must[client.Issuance](t)(c.CreateIssuance(ctx, client.NewIssuance{TxCode: &client.NewTxCode{},
		Credentials: []client.NewCredential{{CredentialTemplateID: made.ID, Attributes: map[string]any{"holder": "Zainab"}}}}))
	if several.TxCode == nil || len(several.TxCode.Value) != 6 || several.TxCode.InputMode != tidings.InputNumeric {
		t.Errorf("transaction code %+v", several.TxCode)
	}
	if err := c.CancelIssuance(ctx, several.ID); err != nil {
		t.Error(err)
	}
	if read := must[client.Issuance](t)(c.Issuance(ctx, several.ID)); read.Error == nil || read.Error.Code != tidings.FailedCanceled || read.TxCode.Value != "" {
		t.Errorf("canceled %+v", read)
	}
	if again := must[client.Issuance](t)(c.ReissueIssuance(ctx, several.ID)); again.ID == several.ID || again.TxCode == nil || again.TxCode.Value == "" {
		t.Errorf("issued again %+v", again)
	}
	ended := must[client.Issuance](t)(c.SimulateIssuance(ctx, offer.ID, client.Simulation{Outcome: tidings.StateExpired}))
	if ended.ID != offer.ID || ended.Status != "expired" {
		t.Errorf("simulated %+v", ended)
	}
	revocations(t, c, other.ID)
	_, err := c.CreateIssuance(ctx, client.NewIssuance{CredentialTemplateID: made.ID})
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Status != 400 || e.Code != "VALIDATION_ERROR" || e.Pointer != "/attributes/holder" || e.RequestID == "" || e.Title == "" || !strings.Contains(e.Error(), e.Detail) {
		t.Errorf("a claim is missing: %+v", e)
	}
}

// repeats sends again.
func repeats(t *testing.T, c *client.Client, endpoint string) {
	t.Helper()
	ctx := t.Context()
	done := all(t, c.Deliveries(ctx, client.DeliveryQuery{EndpointID: endpoint}))
	if len(done) < 4 {
		t.Fatalf("deliveries %+v", done)
	}
	read := must[client.DeliveryDetail](t)(c.Delivery(ctx, done[0].ID))
	if read.ID != done[0].ID || read.EventID == "" {
		t.Errorf("delivery %+v", read)
	}
	if again := must[client.Delivery](t)(c.RetryDelivery(ctx, read.ID)); again.EventID != read.EventID || again.RetryOf != read.ID && again.ID != read.ID {
		t.Errorf("again %+v", again)
	}
	r := must[client.Recovery](t)(c.RecoverEndpoint(ctx, endpoint, client.NewRecovery{Since: time.Now().Add(-time.Hour)}))
	if read := must[client.Recovery](t)(c.Recovery(ctx, endpoint, r.ID)); read.ID != r.ID || read.EndpointID != endpoint || !read.Since.Equal(r.Since) {
		t.Errorf("recovery %+v", read)
	}
}

// counter counts requests.
type counter struct {
	http.RoundTripper
	n atomic.Int32
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// Mistakes of the configuration and of the credentials are told.
func TestStrangers(t *testing.T) {
	for _, text := range []string{"", "tidings.example", "ftp://tidings.example", "https://", "https://a.example/?q=1", "https://a.example/#a"} {
		if _, err := client.New(client.Config{URL: text, ClientID: "a", ClientSecret: "b"}); err == nil {
			t.Errorf("the URL %q is accepted", text)
		}
	}
	_, err := client.New(client.Config{})
	for _, want := range []string{"Config.URL", "Config.ClientID", "Config.ClientSecret"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not reported: %v", want, err)
		}
	}
	a := apptest.New(t)
	c := newClient(t, client.Config{URL: a.URL, ClientID: apptest.ClientID, ClientSecret: "wrong-secret-7", HTTP: a.HTTP})
	_, err = c.Endpoint(t.Context(), "a")
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 401 || e.Code != "invalid_client" || strings.Contains(err.Error(), "wrong-secret-7") {
		t.Errorf("a wrong secret: %v", err)
	}
	// A certificate that is not trusted is not tried twice.
	tries := &counter{RoundTripper: &http.Transport{}}
	c = newClient(t, client.Config{URL: a.URL, ClientID: apptest.ClientID, ClientSecret: apptest.ClientSecret, HTTP: &http.Client{Transport: tries}})
	if _, err = c.Endpoint(t.Context(), "a"); err == nil || tries.n.Load() != 1 {
		t.Errorf("a stranger's certificate: %v after %d tries", err, tries.n.Load())
	}
	if _, ok := errors.AsType[*url.Error](err); !ok {
		t.Errorf("a stranger's certificate: %T", err)
	}
}

// revocations takes a credential of the template back for now and for good.
func revocations(t *testing.T, c *client.Client, template string) {
	t.Helper()
	ctx := t.Context()
	offer := must[client.Issuance](t)(c.CreateIssuance(ctx, client.NewIssuance{CredentialTemplateID: template, Attributes: map[string]any{"holder": "Zainab"}}))
	must[client.Issuance](t)(c.SimulateIssuance(ctx, offer.ID, client.Simulation{Outcome: tidings.StateCompleted}))
	of := client.CredentialIDs{IDs: []string{offer.Credentials[0].ID}}
	for _, step := range []struct {
		do   func() error
		want tidings.CredentialStatus
	}{
		{func() error { return c.SuspendCredentials(ctx, of) }, tidings.CredentialSuspended},
		{func() error { return c.ResumeCredentials(ctx, of) }, tidings.CredentialIssued},
		{func() error { return c.RevokeCredentials(ctx, of) }, tidings.CredentialRevoked},
	} {
		if err := step.do(); err != nil {
			t.Error(err)
		}
		if got := must[client.Issuance](t)(c.Issuance(ctx, offer.ID)).Credentials[0].Status; got != step.want {
			t.Errorf("the credential is %s, want %s", got, step.want)
		}
	}
	if err := c.RevokeByID(ctx, offer.ID); status(err) != http.StatusConflict {
		t.Errorf("revoked twice: %v", err)
	}
}
