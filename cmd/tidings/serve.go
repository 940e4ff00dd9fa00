package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"time"

	"tidings/internal/app"
	"tidings/internal/egress"
)

type serveCommand struct {
	Listen                string          `env:"TIDINGS_LISTEN" default:"127.0.0.1:8080" help:"Address to listen on."`
	Data                  string          `env:"TIDINGS_DATA" default:"./tidings-data" placeholder:"DIR" help:"Folder of the embedded database, with all keys."`
	Database              string          `env:"TIDINGS_DATABASE" placeholder:"postgres://…" help:"A PostgreSQL (14 or newer) instead of the folder, with all keys. Any number of servers can share it."`
	DatabaseTimeout       time.Duration   `env:"TIDINGS_DATABASE_TIMEOUT" default:"10s" help:"How long PostgreSQL may take for a statement before it counts as away."`
	DatabaseConnections   int             `env:"TIDINGS_DATABASE_CONNECTIONS" default:"10" help:"How many connections to PostgreSQL read at once; up to four more write and listen."`
	DatabaseListen        string          `env:"TIDINGS_DATABASE_LISTEN" placeholder:"postgres://…" help:"A direct address of that PostgreSQL, where --database is a pooler in transaction mode: servers hear there what the others do, and look each second without it."`
	NodeLease             time.Duration   `env:"TIDINGS_NODE_LEASE" default:"30s" help:"How long a server of several on one PostgreSQL keeps its endpoints without a sign of life; at least attempt-timeout and 7s."`
	PublicURL             string          `env:"TIDINGS_PUBLIC_URL" placeholder:"https://…" help:"Base of all links. Default: http://LISTEN, which is for a trial on this machine only."`
	TLSCert               string          `env:"TIDINGS_TLS_CERT" placeholder:"FILE" help:"Certificate (PEM), to serve HTTPS itself."`
	TLSKey                string          `env:"TIDINGS_TLS_KEY" placeholder:"FILE" help:"Its key (PEM)."`
	EgressAllow           []netip.Prefix  `env:"TIDINGS_EGRESS_ALLOW" placeholder:"CIDR,…" help:"Private networks that webhooks may go to. Default: none."`
	EgressCA              string          `env:"TIDINGS_EGRESS_CA" placeholder:"FILE" help:"Extra root certificates (PEM) trusted for receivers."`
	EgressProxy           string          `env:"TIDINGS_EGRESS_PROXY" placeholder:"URL" help:"An outgoing proxy."`
	OfferLife             time.Duration   `env:"TIDINGS_OFFER_LIFE" default:"168h" help:"How long an offer can be accepted."`
	AcceptanceGrace       time.Duration   `env:"TIDINGS_ACCEPTANCE_GRACE" default:"10s" help:"How long a wallet may still refuse a delivered credential."`
	TokenLife             time.Duration   `env:"TIDINGS_TOKEN_LIFE" default:"5m" help:"How long a wallet's access token works."`
	DeferralLife          time.Duration   `env:"TIDINGS_DEFERRAL_LIFE" default:"336h" help:"How long a deferred issuance waits for its decision and its wallet."`
	RetrySchedule         []time.Duration `env:"TIDINGS_RETRY_SCHEDULE" default:"5s,5m,30m,2h,5h,10h,14h,20h,24h" placeholder:"5s,5m,…" help:"Delays after each failed attempt."`
	AttemptTimeout        time.Duration   `env:"TIDINGS_ATTEMPT_TIMEOUT" default:"15s" help:"Time for one request to a receiver."`
	DisableAfter          time.Duration   `env:"TIDINGS_DISABLE_AFTER" default:"120h" help:"An endpoint that has only failed for so long is disabled."`
	AuthIssuer            string          `env:"TIDINGS_AUTH_ISSUER" placeholder:"https://…" help:"An outside issuer of access tokens (OAuth 2.0, OpenID Connect), instead of the built-in one."`
	AuthAudience          string          `env:"TIDINGS_AUTH_AUDIENCE" placeholder:"TEXT" help:"What the aud of its tokens must hold. Default: PUBLIC-URL/me-creds/api."`
	AuthOrganisationClaim string          `env:"TIDINGS_AUTH_ORGANISATION_CLAIM" default:"organisation" placeholder:"CLAIM" help:"Where its tokens name the organisation; dots lead inwards."`
	AuthScopeClaim        string          `env:"TIDINGS_AUTH_SCOPE_CLAIM" default:"scope" placeholder:"CLAIM" help:"Where its tokens name the scopes publish, read and admin."`
	AuthScopePrefix       string          `env:"TIDINGS_AUTH_SCOPE_PREFIX" placeholder:"TEXT" help:"What stands before each of these scopes, such as tidings:"`
	AuthCA                string          `name:"auth-ca" env:"TIDINGS_AUTH_CA" placeholder:"FILE" help:"Extra root certificates (PEM) trusted for the issuer."`
	Retention             time.Duration   `env:"TIDINGS_RETENTION" default:"720h" help:"How long events and deliveries are kept; 0: for ever."`
	ClaimsRetention       time.Duration   `env:"TIDINGS_CLAIMS_RETENTION" default:"168h" help:"How long what was certified is kept once its issuance has ended."`
	QuotaEndpoints        int             `env:"TIDINGS_QUOTA_ENDPOINTS" default:"100" help:"How many endpoints an organisation may have."`
	QuotaRequests         float64         `env:"TIDINGS_QUOTA_REQUESTS" default:"0" help:"API requests per second of an organisation; 0: no quota."`
	QuotaEvents           float64         `env:"TIDINGS_QUOTA_EVENTS" default:"0" help:"Events per second that an organisation may publish; 0: no quota."`
	Sandbox               bool            `env:"TIDINGS_SANDBOX" default:"false" help:"For trials: issuances can be ended without a wallet."`
	DrainTimeout          time.Duration   `env:"TIDINGS_DRAIN_TIMEOUT" default:"20s" help:"How long a stop waits for work in flight."`
	Traces                bool            `env:"TIDINGS_TRACES" default:"false" help:"Send traces (OpenTelemetry, OTLP over HTTP) to where OTEL_EXPORTER_OTLP_ENDPOINT says."`
	Traceparent           bool            `env:"TIDINGS_TRACEPARENT" default:"false" help:"Send the header traceparent with webhooks whose events are traced."`
	LogFormat             string          `env:"TIDINGS_LOG_FORMAT" enum:"text,json" default:"text" help:"Form of the log: text or json."`
	LogLevel              slog.Level      `env:"TIDINGS_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
	Config                string          `env:"TIDINGS_CONFIG" placeholder:"FILE" help:"The same settings in a TOML file; flags and environment win."`
}

// Help says what the flags do not.
func (serveCommand) Help() string {
	return `TIDINGS_CLIENT_ID and TIDINGS_CLIENT_SECRET name the first client of the organisation "default": it is made at the start where it does not exist.

SIGTERM or SIGINT drains: no new work is taken, requests and attempts in flight end or are given back.`
}

// Run serves until it is told to stop.
func (c serveCommand) Run(ctx context.Context, env *environment) error {
	log := logger(env, c.LogFormat, c.LogLevel)
	cfg, err := c.config(log)
	if err != nil {
		return usageError{err}
	}
	a, err := app.New(ctx, cfg)
	if errors.Is(err, app.ErrConfig) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	collectLess()
	log.Info("serving", "url", a.URL, "listen", c.Listen, "data", where(c), "version", cfg.Version)
	return a.Run(ctx)
}

// where says where the store is, without the password that a URL may hold.
func where(c serveCommand) string {
	if c.Database == "" {
		return c.Data
	}
	return "PostgreSQL"
}

func logger(env *environment, format string, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(env.stderr, o))
	}
	return slog.New(slog.NewTextHandler(env.stderr, o))
}

// config turns flags into the app's configuration.
func (c serveCommand) config(log *slog.Logger) (app.Config, error) {
	cfg := app.Default()
	cfg.Listen, cfg.Data, cfg.Database, cfg.PublicURL = c.Listen, c.Data, c.Database, c.PublicURL
	cfg.NodeLease, cfg.DatabaseListen = c.NodeLease, c.DatabaseListen
	cfg.DatabaseTimeout, cfg.DatabaseConnections = c.DatabaseTimeout, c.DatabaseConnections
	cfg.TLSCert, cfg.TLSKey = c.TLSCert, c.TLSKey
	cfg.EgressAllow = c.EgressAllow
	cfg.OfferLife, cfg.AcceptanceGrace, cfg.TokenLife, cfg.DeferralLife = c.OfferLife, c.AcceptanceGrace, c.TokenLife, c.DeferralLife
	cfg.RetrySchedule, cfg.AttemptTimeout, cfg.DisableAfter = c.RetrySchedule, c.AttemptTimeout, c.DisableAfter
	cfg.DrainTimeout, cfg.Retention, cfg.ClaimsRetention = c.DrainTimeout, c.Retention, c.ClaimsRetention
	cfg.Sandbox = c.Sandbox
	cfg.Traces, cfg.Traceparent = c.Traces, c.Traceparent
	cfg.QuotaEndpoints, cfg.QuotaRequests, cfg.QuotaEvents = c.QuotaEndpoints, c.QuotaRequests, c.QuotaEvents
	cfg.AuthIssuer, cfg.AuthAudience, cfg.AuthScopePrefix = c.AuthIssuer, c.AuthAudience, c.AuthScopePrefix
	cfg.AuthOrganisationClaim, cfg.AuthScopeClaim = c.AuthOrganisationClaim, c.AuthScopeClaim
	cfg.ClientID, cfg.ClientSecret = os.Getenv("TIDINGS_CLIENT_ID"), os.Getenv("TIDINGS_CLIENT_SECRET")
	cfg.Version, cfg.Log = version(), log
	cfg.Fatal = func(err error) {
		log.Error("the store cannot be relied on any more: the process ends", "error", err)
		os.Exit(exitStorage)
	}
	if c.EgressCA != "" {
		roots, err := egress.LoadRoots(c.EgressCA)
		if err != nil {
			return cfg, fmt.Errorf("egress-ca: %w", err)
		}
		cfg.EgressRoots = roots
	}
	if c.AuthCA != "" {
		roots, err := egress.LoadRoots(c.AuthCA)
		if err != nil {
			return cfg, fmt.Errorf("auth-ca: %w", err)
		}
		cfg.AuthRoots = roots
	}
	if c.EgressProxy != "" {
		proxy, err := url.Parse(c.EgressProxy)
		if err != nil {
			return cfg, fmt.Errorf("egress-proxy is no URL")
		}
		cfg.EgressProxy = proxy
	}
	return cfg, nil
}
