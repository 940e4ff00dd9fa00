// Package server is the HTTP API below [Prefix]: endpoints, events,
// deliveries, credential templates and issuances of the caller's organisation.
//
// Every route stands in one table (routes.go) and is served by one adapter
// (adapter.go), so that none can forget to authenticate, to limit, to decode
// strictly or to answer with the envelope.
package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/internal/eventstream"
)

// Prefix is the path below which the API stands.
const Prefix = "/me-creds/api"

// DefaultMaxInFlight is how many requests are worked on at once where the
// configuration does not say.
const DefaultMaxInFlight = 2048

// Checker tells who an access token stands for. A token that does not count is
// an error of [tidings.KindUnauthorized].
type Checker interface {
	Check(ctx context.Context, token string) (tidings.Caller, error)
}

// EndpointStore keeps endpoints.
type EndpointStore interface {
	CreateEndpoint(ctx context.Context, org int64, e tidings.NewEndpoint) (tidings.Endpoint, error)
	Endpoints(ctx context.Context, org int64, p tidings.Page) (tidings.List[tidings.Endpoint], error)
	Endpoint(ctx context.Context, org int64, id string) (tidings.Endpoint, error)
	UpdateEndpoint(ctx context.Context, org int64, id string, p tidings.EndpointPatch) (tidings.Endpoint, error)
	DeleteEndpoint(ctx context.Context, org int64, id string, o tidings.Origin) error
}

// SecretStore keeps what webhooks are signed with, and the audit log.
type SecretStore interface {
	// EndpointSecrets gives the secrets that sign now, the newest first.
	EndpointSecrets(ctx context.Context, org int64, id string, o tidings.Origin) ([]tidings.SigningSecret, error)
	RotateSecret(ctx context.Context, org int64, id string, grace time.Duration, o tidings.Origin) ([]tidings.SigningSecret, error)
	// WebhookKey gives the public key of the endpoint with that id, whosever it is.
	WebhookKey(ctx context.Context, id string) (ed25519.PublicKey, error)
	Audit(ctx context.Context, org int64, p tidings.Page) (tidings.List[tidings.AuditEntry], error)
}

// EventStore keeps events. Publish keeps all of them durably or none, and
// answers in their order.
type EventStore interface {
	Publish(ctx context.Context, org int64, events []tidings.NewEvent, idem *tidings.Idempotency) ([]tidings.Event, error)
	Events(ctx context.Context, org int64, f tidings.EventFilter, p tidings.Page) (tidings.List[tidings.Event], error)
	Event(ctx context.Context, org int64, id string) (tidings.Event, error)
	// LastEvent gives the id of the newest event, empty if there is none.
	LastEvent(ctx context.Context, org int64) (string, error)
	// Changed gives a channel that is closed when an event is accepted.
	Changed() <-chan struct{}
}

// DeliveryStore shows deliveries. Delivery gives the attempts too.
type DeliveryStore interface {
	Deliveries(ctx context.Context, org int64, f tidings.DeliveryFilter, p tidings.Page) (tidings.List[tidings.Delivery], error)
	Delivery(ctx context.Context, org int64, id string) (tidings.Delivery, error)
}

// RepeatStore sends again.
type RepeatStore interface {
	TestEndpoint(ctx context.Context, org int64, id string, typ tidings.EventType, o tidings.Origin) (tidings.Delivery, error)
	RetryDelivery(ctx context.Context, org int64, id string, o tidings.Origin) (tidings.Delivery, error)
	Recover(ctx context.Context, org int64, id string, n tidings.NewRecovery) (tidings.Recovery, error)
	Recovery(ctx context.Context, org int64, endpoint, id string) (tidings.Recovery, error)
}

// TemplateStore keeps credential templates.
type TemplateStore interface {
	CreateTemplate(ctx context.Context, org int64, t tidings.NewTemplate) (tidings.Template, error)
	Templates(ctx context.Context, org int64, f tidings.TemplateFilter, p tidings.Page) (tidings.List[tidings.Template], error)
	Template(ctx context.Context, org int64, id string) (tidings.Template, error)
	UpdateTemplate(ctx context.Context, org int64, id string, p tidings.TemplatePatch) (tidings.Template, error)
	// ArchiveTemplate ends issuing from a template, or takes it up again.
	ArchiveTemplate(ctx context.Context, org int64, id string, archived bool, o tidings.Origin) (tidings.Template, error)
}

// IssuanceStore shows issuances, and takes steps of them.
type IssuanceStore interface {
	Issuances(ctx context.Context, org int64, f tidings.IssuanceFilter, p tidings.Page) (tidings.List[tidings.Issuance], error)
	Issuance(ctx context.Context, org int64, id string) (tidings.Issuance, error)
	// MadeBefore gives the issuance that the same request made before, by its
	// idempotency key; ok is false where there is none.
	MadeBefore(ctx context.Context, org int64, idem *tidings.Idempotency) (i tidings.Issuance, ok bool, err error)
	// Transition takes a step; one that cannot be taken gives a [tidings.Refusal].
	Transition(ctx context.Context, org int64, id string, step tidings.Step) (tidings.Issuance, error)
}

// Issuer makes offers.
type Issuer interface {
	// Offer makes an issuance. Errors point to where a credential stands.
	Offer(ctx context.Context, org tidings.Organisation, w tidings.WantedIssuance) (tidings.Issuance, error)
	// OfferURI is the link that hands the offer to a wallet.
	OfferURI(i tidings.Issuance) string
	// VCT is the full type of a credential of this code.
	VCT(slug, code string) string
}

// Config is what a [Server] works with. All but those from Ready on are required;
// one store usually serves all five of the nouns.
type Config struct {
	Auth        Checker
	Endpoints   EndpointStore
	Secrets     SecretStore
	Events      EventStore
	Deliveries  DeliveryStore
	Repeats     RepeatStore
	Templates   TemplateStore
	Issuances   IssuanceStore
	Credentials CredentialStore
	Issuer      Issuer

	// CheckURL judges the URL of a new endpoint. Its error is one sentence
	// for the caller.
	CheckURL func(url string) error
	// OfferLife is how long an offer can be accepted where the request does
	// not say.
	OfferLife time.Duration

	// Sandbox lets issuances be ended without a wallet.
	Sandbox bool

	// DisableAfter is when an endpoint that only fails is disabled, for
	// showing; 0 means never.
	DisableAfter time.Duration
	// Quota bounds what one organisation may ask for.
	Quota Quota
	// Ready tells whether requests can be served; nil means always.
	Ready func(ctx context.Context) error
	// Detail is shown by /readyz where it is not nil: what an operator wants
	// to see at a glance.
	Detail func(ctx context.Context) (any, error)
	// Log gets one line per request; nil means [slog.Default].
	Log *slog.Logger
	// Observe is told of every request for the metrics; nil means nobody is.
	// route is a pattern of the table, or "unknown".
	Observe func(method, route string, status int, took time.Duration)
	// PublicURL is the base of the links in the OpenAPI document; empty means
	// the one that the document is read from. Version is that of the product.
	PublicURL, Version string
	// MaxInFlight is how many requests are worked on at once; one more is
	// told to come again. 0 means [DefaultMaxInFlight].
	MaxInFlight int
}

// check lists every mistake.
func (c *Config) check() error {
	var errs []error
	for _, need := range []struct {
		name    string
		missing bool
	}{
		{"Auth", c.Auth == nil},
		{"Endpoints", c.Endpoints == nil},
		{"Secrets", c.Secrets == nil},
		{"Events", c.Events == nil},
		{"Deliveries", c.Deliveries == nil},
		{"Repeats", c.Repeats == nil},
		{"Templates", c.Templates == nil},
		{"Issuances", c.Issuances == nil},
		{"Credentials", c.Credentials == nil},
		{"Issuer", c.Issuer == nil},
		{"CheckURL", c.CheckURL == nil},
	} {
		if need.missing {
			errs = append(errs, errors.New("server: Config."+need.name+" is required"))
		}
	}
	if c.OfferLife < tidings.MinOfferLife || c.OfferLife > tidings.MaxOfferLife {
		errs = append(errs, fmt.Errorf("server: Config.OfferLife must be %v to %v, got %v", tidings.MinOfferLife, tidings.MaxOfferLife, c.OfferLife))
	}
	if c.MaxInFlight < 0 {
		errs = append(errs, errors.New("server: Config.MaxInFlight must not be negative"))
	}
	return errors.Join(errs...)
}

// Server is the API as an [http.Handler]. It answers everything below
// [Prefix], [OpenAPIPath], /healthz and /readyz.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	table    []Route
	document *document
	inFlight atomic.Int64
	quotas   quotas
	streams  eventstream.Listeners
	stopping chan struct{} // closed when streams have to end
}

// New gives a server, or all mistakes of cfg.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string, int, time.Duration) {}
	}
	cfg.MaxInFlight = cmp.Or(cfg.MaxInFlight, DefaultMaxInFlight)
	s := &Server{cfg: cfg, mux: http.NewServeMux(), streams: eventstream.Listeners{Most: maxStreams}, stopping: make(chan struct{})}
	s.table = s.routes()
	patterns := map[string]methods{}
	for i := range s.table {
		route := &s.table[i]
		if patterns[route.Pattern] == nil {
			patterns[route.Pattern] = methods{}
		}
		patterns[route.Pattern][route.Method] = route
	}
	for pattern, m := range patterns {
		s.mux.Handle(Prefix+pattern, s.byMethod(pattern, m))
	}
	var err error
	if s.document, err = newDocument(&s.cfg, s.table); err != nil {
		return nil, err
	}
	s.mux.HandleFunc(OpenAPIPath, s.openAPI)
	s.mux.HandleFunc("/", s.unknown)
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /.well-known/webhook-keys/{id}", s.webhookKeys)
	return s, nil
}

// methods are the routes of one pattern.
type methods map[string]*Route

// byMethod picks the route. The mux could, but it refuses a table in which a
// pattern without a method, for the 405, overlaps with another's {id}.
func (s *Server) byMethod(pattern string, m methods) http.HandlerFunc {
	if get := m[http.MethodGet]; get != nil && !get.Stream { // that would not end
		m[http.MethodHead] = get // net/http leaves out the body
	}
	wrong := s.refuse(pattern, methodNotAllowed(strings.Join(slices.Sorted(maps.Keys(m)), ", ")))
	return func(w http.ResponseWriter, r *http.Request) {
		if route := m[r.Method]; route != nil {
			s.serve(route, w, r)
			return
		}
		wrong(w, r)
	}
}

// Routes gives the table, for documents made from it.
func (s *Server) Routes() []Route { return slices.Clone(s.table) }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The mux would redirect a path that is not clean, with a page of HTML.
	// No route has such a path.
	if unclean(r.URL.Path) {
		s.unknown(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func unclean(path string) bool {
	return !strings.HasPrefix(path, "/") || strings.Contains(path, "//") ||
		strings.Contains(path, "/./") || strings.Contains(path, "/../") ||
		strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")
}

// healthz tells that the process runs.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeHealth(w, http.StatusOK, health{Status: "ok"})
}

// readyLimit is how long /readyz looks: a database that hangs is none.
const readyLimit = 3 * time.Second

// readyz tells whether requests can be served now.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyLimit)
	defer cancel()
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(ctx); err != nil {
			s.cfg.Log.WarnContext(ctx, "not ready", "error", err)
			w.Header().Set("Retry-After", "1")
			writeHealth(w, http.StatusServiceUnavailable, health{Status: "unavailable"})
			return
		}
	}
	answer := health{Status: "ok"}
	if s.cfg.Detail != nil {
		detail, err := s.cfg.Detail(ctx)
		if err != nil {
			s.cfg.Log.WarnContext(ctx, "measuring the store", "error", err)
		}
		answer.Store = detail
	}
	writeHealth(w, http.StatusOK, answer)
}

// health is what the health routes answer.
type health struct {
	Status string `json:"status"`
	Store  any    `json:"store,omitzero"`
}

func writeHealth(w http.ResponseWriter, status int, answer health) {
	var body bytes.Buffer
	if err := encode(&body, answer); err != nil {
		status = http.StatusInternalServerError
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
	w.WriteHeader(status)
	body.WriteByte('\n')
	w.Write(body.Bytes())
}

// EndStreams ends the event streams, so that a stop need not wait for those who
// listen: they come back and go on where they were.
func (s *Server) EndStreams() { close(s.stopping) }
