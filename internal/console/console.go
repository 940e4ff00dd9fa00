// Package console is the web console of an organisation's people, below
// [Prefix]: pages rendered on the server, which work without any script, on a
// phone, by keyboard and in the dark. It does what the API does, by the same
// methods and with the same scopes, and holds no SQL and no rule of its own.
//
// Every page stands in one table (routes.go) and is served by one adapter
// (adapter.go), so that none can forget to ask for a session, a scope or a
// CSRF token.
package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"tidings"
	"tidings/internal/eventstream"
)

// Prefix is the path below which the console stands.
const Prefix = "/console"

// Clients tells who signs in, and keeps the key of the sessions.
type Clients interface {
	// Client gives the client with this id, revoked ones too, or an error of
	// [tidings.KindNotFound].
	Client(ctx context.Context, id string) (tidings.Client, error)
	// Secret gives the bytes kept under name; where there are none, it keeps
	// and gives those of create. Every process gets the same ones.
	Secret(ctx context.Context, name string, create func() ([]byte, error)) ([]byte, error)
}

// Endpoints keeps endpoints.
type Endpoints interface {
	CreateEndpoint(ctx context.Context, org int64, e tidings.NewEndpoint) (tidings.Endpoint, error)
	Endpoints(ctx context.Context, org int64, p tidings.Page) (tidings.List[tidings.Endpoint], error)
	Endpoint(ctx context.Context, org int64, id string) (tidings.Endpoint, error)
	UpdateEndpoint(ctx context.Context, org int64, id string, p tidings.EndpointPatch) (tidings.Endpoint, error)
	DeleteEndpoint(ctx context.Context, org int64, id string, o tidings.Origin) error
}

// Secrets keeps what webhooks are signed with.
type Secrets interface {
	// EndpointSecrets gives the secrets that sign now, the newest first.
	EndpointSecrets(ctx context.Context, org int64, id string, o tidings.Origin) ([]tidings.SigningSecret, error)
	RotateSecret(ctx context.Context, org int64, id string, grace time.Duration, o tidings.Origin) ([]tidings.SigningSecret, error)
}

// Events shows events.
type Events interface {
	Events(ctx context.Context, org int64, f tidings.EventFilter, p tidings.Page) (tidings.List[tidings.Event], error)
	Event(ctx context.Context, org int64, id string) (tidings.Event, error)
	// LastEvent gives the id of the newest event, empty if there is none.
	LastEvent(ctx context.Context, org int64) (string, error)
	// Changed gives a channel that is closed when an event is accepted.
	Changed() <-chan struct{}
}

// Deliveries shows deliveries and what became of them.
type Deliveries interface {
	Deliveries(ctx context.Context, org int64, f tidings.DeliveryFilter, p tidings.Page) (tidings.List[tidings.Delivery], error)
	// Delivery gives the attempts too.
	Delivery(ctx context.Context, org int64, id string) (tidings.Delivery, error)
	// Tallies counts per step since a time, for an endpoint or, where it is
	// empty, for the organisation.
	Tallies(ctx context.Context, org int64, endpoint string, since time.Time, step time.Duration) ([]tidings.Tally, error)
}

// Repeats sends again.
type Repeats interface {
	TestEndpoint(ctx context.Context, org int64, id string, typ tidings.EventType, o tidings.Origin) (tidings.Delivery, error)
	RetryDelivery(ctx context.Context, org int64, id string, o tidings.Origin) (tidings.Delivery, error)
	Recover(ctx context.Context, org int64, id string, n tidings.NewRecovery) (tidings.Recovery, error)
	Recovery(ctx context.Context, org int64, endpoint, id string) (tidings.Recovery, error)
}

// Templates keeps credential templates.
type Templates interface {
	CreateTemplate(ctx context.Context, org int64, t tidings.NewTemplate) (tidings.Template, error)
	Templates(ctx context.Context, org int64, f tidings.TemplateFilter, p tidings.Page) (tidings.List[tidings.Template], error)
	Template(ctx context.Context, org int64, id string) (tidings.Template, error)
	UpdateTemplate(ctx context.Context, org int64, id string, p tidings.TemplatePatch) (tidings.Template, error)
	// ArchiveTemplate ends issuing from a template, or takes it up again.
	ArchiveTemplate(ctx context.Context, org int64, id string, archived bool, o tidings.Origin) (tidings.Template, error)
}

// Issuances shows issuances.
type Issuances interface {
	Issuances(ctx context.Context, org int64, f tidings.IssuanceFilter, p tidings.Page) (tidings.List[tidings.Issuance], error)
	Issuance(ctx context.Context, org int64, id string) (tidings.Issuance, error)
	// IssuanceSteps gives what was done with an issuance, the first step first.
	IssuanceSteps(ctx context.Context, org int64, id string) ([]tidings.IssuanceStep, error)
	// Transition takes a step; one that cannot be taken gives a [tidings.Refusal].
	Transition(ctx context.Context, org int64, id string, step tidings.Step) (tidings.Issuance, error)
	// ChangeCredentials suspends, resumes or revokes: all of ids or none.
	ChangeCredentials(ctx context.Context, org int64, ids []string, change tidings.StatusChange, o tidings.Origin) error
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

// Config is what a [Console] works with. All but Log and Now are required; one
// store usually serves all of the nouns.
type Config struct {
	Clients    Clients
	Endpoints  Endpoints
	Secrets    Secrets
	Events     Events
	Deliveries Deliveries
	Repeats    Repeats
	Templates  Templates
	Issuances  Issuances
	Issuer     Issuer

	// CheckURL judges the URL of an endpoint. Its error is one sentence.
	CheckURL func(url string) error
	// OfferLife is how long an offer can be accepted where nobody chooses.
	OfferLife time.Duration
	// DisableAfter is when an endpoint that only fails is disabled; 0: never.
	DisableAfter time.Duration
	// Secure says that the console is reached over https: its cookies then go
	// no other way.
	Secure bool
	// Version is that of the product.
	Version string
	// Log gets one line per request; nil means [slog.Default].
	Log *slog.Logger
	// Now tells the time; nil means [time.Now].
	Now func() time.Time
}

// Console is the console as an [http.Handler] for everything below [Prefix].
type Console struct {
	cfg      Config
	key      []byte // signs sessions
	pages    pages
	mux      *http.ServeMux
	origins  *http.CrossOriginProtection
	streams  eventstream.Listeners
	stopping chan struct{} // closed when streams have to end
}

// keyName names the key of the sessions among the store's secrets.
const keyName = "console-session-key"

// New gives a console whose sessions are signed with the store's key, which it
// makes on the first start.
func New(ctx context.Context, cfg Config) (*Console, error) {
	if cfg.Clients == nil || cfg.Endpoints == nil || cfg.Secrets == nil || cfg.Events == nil || cfg.Deliveries == nil || cfg.Repeats == nil ||
		cfg.Templates == nil || cfg.Issuances == nil || cfg.Issuer == nil || cfg.CheckURL == nil {
		return nil, errors.New("console: every member of Config but Log and Now is required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Console{cfg: cfg, mux: http.NewServeMux(), origins: http.NewCrossOriginProtection(),
		streams: eventstream.Listeners{Most: maxStreams}, stopping: make(chan struct{})}
	var err error
	if c.key, err = cfg.Clients.Secret(ctx, keyName, newKey); err != nil {
		return nil, fmt.Errorf("reading the key of the console's sessions: %w", err)
	}
	if c.pages, err = parsePages(cfg.Now); err != nil {
		return nil, err
	}
	for _, r := range c.routes() {
		c.mux.Handle(r.method+" "+Prefix+r.pattern, c.handler(r))
	}
	c.mux.HandleFunc("GET "+Prefix+"/assets/{name}", c.asset)
	c.mux.Handle("/", c.handler(route{open: true, do: c.unknown}))
	return c, nil
}

func newKey() ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key)
	return key, nil
}

// ServeHTTP answers one request.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

// EndStreams ends the live views, so that a stop need not wait for those who
// look on: their pages come back by themselves.
func (c *Console) EndStreams() { close(c.stopping) }
