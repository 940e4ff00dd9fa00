package issuer_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/issuer"
	"tidings/internal/store"
	"tidings/internal/wallet"
)

// canary is a claim that must never be seen but in a credential.
const canary = "CANARY-5f1c"

// clock is the time of a test; it only moves when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// front is a whole issuer behind TLS on a real store, with one organisation.
type front struct {
	testing.TB
	*issuer.Issuer
	clock    *clock
	store    *store.Store
	server   *httptest.Server
	org      tidings.Organisation
	template tidings.Template
	spy      *spy
	handler  *atomic.Pointer[http.Handler] // the node that answers
}

// open starts an issuer; change may alter its configuration or its store.
func open(t testing.TB, change ...func(*issuer.Config, *issuer.Store)) *front {
	t.Helper()
	ctx := t.Context()
	f := &front{TB: t, clock: &clock{now: time.Date(2026, 3, 5, 16, 30, 12, 345e6, time.UTC)}, spy: &spy{}, handler: &atomic.Pointer[http.Handler]{}}
	log := slog.New(slog.NewJSONHandler(&f.spy.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	f.store, err = store.Open(ctx, store.Options{Dir: t.TempDir(), Now: f.clock.Now, Log: log, ClaimsRetention: time.Minute})
	f.must(err)
	t.Cleanup(func() { f.must(f.store.Close()) })
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*f.handler.Load()).ServeHTTP(w, r)
	}))
	cfg := issuer.Config{PublicURL: "https://" + f.server.Listener.Addr().String(), Grace: issuer.DefaultGrace, Now: f.clock.Now, Log: log}
	var backing issuer.Store = f.store
	for _, c := range change {
		c(&cfg, &backing)
	}
	f.Issuer, err = issuer.New(ctx, cfg, backing)
	f.must(err)
	f.serve(f.Issuer)
	f.server.Config.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	f.spy.next = f.server.Client().Transport
	f.org = f.organisation("acme")
	f.template = f.newTemplate(f.org, "Badge")
	t.Cleanup(func() { f.spy.check(t) })
	return f
}

// with gives the same front for another test.
func (f *front) with(t testing.TB) *front {
	other := *f
	other.TB = t
	return &other
}

func (f *front) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// serve lets node answer from now on.
func (f *front) serve(node *issuer.Issuer) {
	h := node.Handler()
	f.handler.Store(&h)
}

func (f *front) organisation(slug string) tidings.Organisation {
	f.Helper()
	c, err := f.store.CreateClient(f.Context(), slug, tidings.Client{ID: slug + "-client", Scopes: tidings.AllScopes})
	f.must(err)
	return c.Organisation
}

func (f *front) newTemplate(org tidings.Organisation, code string) tidings.Template {
	f.Helper()
	t, err := f.store.CreateTemplate(f.Context(), org.Key, tidings.NewTemplate{
		Name: "Staff badge " + code, Code: code, Description: "Who works here",
		Attributes: map[string]tidings.Attribute{
			"given_name": {Type: tidings.AttributeString, Name: "Given name", Required: true},
			"level":      {Type: tidings.AttributeNumber},
			"active":     {Type: tidings.AttributeBoolean},
			"since":      {Type: tidings.AttributeDate},
			"company":    {Type: tidings.AttributeString, AlwaysDisclosed: true},
		},
	})
	f.must(err)
	return t
}

func claims() map[string]any {
	return map[string]any{"given_name": canary, "level": 7.0, "active": true, "since": "2020-02-29", "company": "Acme <&> Söhne"}
}

// offer makes an offer of the badge that lasts a week.
func (f *front) offer() tidings.Issuance {
	f.Helper()
	i, err := f.Offer(f.Context(), f.org, wanting(f.template.ID, claims(), 7*24*time.Hour))
	f.must(err)
	return i
}

// wanting asks for an offer of one credential.
func wanting(template string, claims map[string]any, life time.Duration) tidings.WantedIssuance {
	return tidings.WantedIssuance{Life: life, Credentials: []tidings.WantedCredential{{TemplateID: template, Claims: claims}}}
}

func (f *front) client() *http.Client { return &http.Client{Transport: f.spy} }

// wallet makes a wallet with a new key and the clock of the test.
func (f *front) wallet() *wallet.Wallet {
	f.Helper()
	return wallet.New(f.client(), newKey(f)).WithClock(f.clock.Now)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// session is a wallet that has redeemed an offer but not fetched anything.
type session struct {
	*wallet.Wallet
	f        *front
	issuance tidings.Issuance
	issuer   *wallet.Issuer
	offer    *wallet.Offer
	token    *wallet.Token
}

// with gives the same session for another test.
func (s *session) with(t testing.TB) *session {
	other := *s
	other.f = s.f.with(t)
	return &other
}

func (f *front) session() *session {
	f.Helper()
	return f.redeemed(f.offer())
}

// redeemed lets a wallet redeem an offer.
func (f *front) redeemed(i tidings.Issuance) *session {
	f.Helper()
	s := &session{Wallet: f.wallet(), f: f, issuance: i}
	var err error
	s.offer, err = s.ResolveOffer(f.Context(), f.OfferURI(s.issuance))
	f.must(err)
	s.issuer, err = s.Discover(f.Context(), s.offer.Issuer)
	f.must(err)
	s.token, err = s.Redeem(f.Context(), s.issuer, s.offer)
	f.must(err)
	return s
}

func (s *session) fetch() *wallet.Held {
	s.f.Helper()
	h, err := s.Fetch(s.f.Context(), s.issuer, s.token, s.offer.ConfigurationIDs[0])
	s.f.must(err)
	return h
}

// proof makes a good proof with a fresh nonce.
func (s *session) proof() string {
	s.f.Helper()
	nonce, err := s.Nonce(s.f.Context(), s.issuer)
	s.f.must(err)
	p, err := s.Proof(s.issuer, nonce)
	s.f.must(err)
	return p
}

func (s *session) request(proof string) error {
	_, err := s.Request(s.f.Context(), s.issuer, s.token, s.offer.ConfigurationIDs[0], proof)
	return err
}

// sweep applies deadlines that have passed.
func (f *front) sweep() {
	f.Helper()
	_, _, err := f.store.SweepDeadlines(f.Context(), 100)
	f.must(err)
}

// events asserts what was told of an issuance, in order.
func (f *front) events(i tidings.Issuance, want ...tidings.EventType) {
	f.Helper()
	list, err := f.store.Events(f.Context(), f.org.Key, tidings.EventFilter{IssuanceID: i.ID}, tidings.Page{Size: 100})
	f.must(err)
	var got []tidings.EventType
	for _, e := range list.Items {
		got = append(got, e.Type)
	}
	if !reflect.DeepEqual(got, want) {
		f.Errorf("events of the issuance: %v, want %v", got, want)
	}
}

func (f *front) state(i tidings.Issuance) tidings.Issuance {
	f.Helper()
	i, err := f.store.Issuance(f.Context(), f.org.Key, i.ID)
	f.must(err)
	return i
}

// refused asserts that err is an answer with that status and code.
func (f *front) refused(err error, status int, code string) {
	f.Helper()
	p, ok := errors.AsType[*wallet.ProtocolError](err)
	if !ok || p.Status != status || p.Code != code {
		f.Errorf("got %v; want status %d with %s", err, status, code)
	}
}

// send makes a raw request and gives its answer with the body read.
func (f *front) send(method, path string, header map[string]string, body string) (*http.Response, string) {
	f.Helper()
	r, err := http.NewRequestWithContext(f.Context(), method, f.server.URL+path, strings.NewReader(body))
	f.must(err)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := f.client().Do(r)
	f.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	f.must(err)
	return resp, string(text)
}

// spy sits between wallets and the issuer. It remembers every secret that the
// issuer hands out, every refusal and the log, and checks in the end that none
// of the secrets and no claim is in a refusal or in the log.
type spy struct {
	next    http.RoundTripper
	log     syncBuffer
	mu      sync.Mutex
	secrets []string
	refused []string
}

func (s *spy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	defer s.mu.Unlock()
	if resp.StatusCode >= 400 {
		s.refused = append(s.refused, string(body))
		return resp, err
	}
	var doc any
	if json.Unmarshal(body, &doc) == nil {
		s.collect("", doc)
	}
	return resp, err
}

func (s *spy) collect(name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			s.collect(k, inner)
		}
	case []any:
		for _, inner := range v {
			s.collect(name, inner)
		}
	case string:
		switch name {
		case "pre-authorized_code", "access_token", "c_nonce", "notification_id", "credential":
			s.secrets = append(s.secrets, v)
		}
	}
}

func (s *spy) check(t testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.log.String() + strings.Join(s.refused, "\n")
	for _, secret := range append(s.secrets, canary) {
		if strings.Contains(all, secret) {
			t.Errorf("%.12s… stands in the log or in a refusal", secret)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// sweepSpy tells of each sweep that changed something.
type sweepSpy struct {
	issuer.Store
	swept chan int
}

func (s sweepSpy) SweepDeadlines(ctx context.Context, limit int) (int, time.Time, error) {
	changed, next, err := s.Store.SweepDeadlines(ctx, limit)
	if changed > 0 {
		select {
		case s.swept <- changed:
		case <-ctx.Done():
		}
	}
	return changed, next, err
}
