package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"tidings"
	"tidings/internal/delivery"
)

// Config says how a server runs. The zero Config does not; start from [Default].
type Config struct {
	Listen   string // address to listen on, such as 127.0.0.1:8080; port 0 takes a free one
	Database string // URL of a PostgreSQL (postgres://…), instead of the folder
	// Of that: how long it may take to answer before it counts as away, and how
	// many connections read at once.
	DatabaseTimeout     time.Duration
	DatabaseConnections int
	DatabaseListen      string        // another URL of it, for LISTEN
	NodeLease           time.Duration // how long a node of several keeps its endpoints without a sign of life; at least what an attempt takes
	TrustClock          bool          // for tests that move the clock: PostgreSQL's does not correct it
	Data                string        // folder of the embedded database with all keys
	PublicURL           string        // base of all links, without a path; default: http(s)://Listen
	TLSCert             string        // PEM files, to serve HTTPS itself; both or none
	TLSKey              string

	EgressAllow    []netip.Prefix // private networks that webhooks may go to
	EgressRoots    *x509.CertPool // whose certificates receivers may have; default: the system's
	EgressProxy    *url.URL       // an outgoing proxy
	AttemptTimeout time.Duration  // for one request to a receiver, all told
	RetrySchedule  []time.Duration
	DisableAfter   time.Duration // an endpoint that has only failed for so long is disabled

	OfferLife       time.Duration // how long an offer can be accepted where its maker does not say
	AcceptanceGrace time.Duration // how long a wallet may still refuse; 0 completes at once
	TokenLife       time.Duration // of a wallet's access token
	DeferralLife    time.Duration // how long a deferred issuance waits for its decision and its wallet

	Retention       time.Duration // how long events and deliveries are kept; 0: for ever
	ClaimsRetention time.Duration // how long claims are kept once their issuance has ended

	QuotaEndpoints        int            // how many endpoints an organisation may have
	QuotaRequests         float64        // its API requests per second; 0: no quota
	QuotaEvents           float64        // its published events per second; 0: no quota
	AuthIssuer            string         // URL of an outside token issuer; empty: this server gives out the tokens
	AuthAudience          string         // what its tokens are for; default: the API's URL
	AuthOrganisationClaim string         // where they name the organisation
	AuthScopeClaim        string         // where they name the scopes
	AuthScopePrefix       string         // stands before each scope that is ours
	AuthRoots             *x509.CertPool // whose certificates it may have; default: the system's

	Sandbox bool // issuances can be ended without a wallet

	Traces      bool // send traces to where OTEL_EXPORTER_OTLP_ENDPOINT says
	Traceparent bool // name them to receivers

	DrainTimeout time.Duration // how long a stop waits for work in flight

	ClientID, ClientSecret string // made at start, in the organisation "default", where it does not exist

	Version string
	Now     func() time.Time // default time.Now
	Log     *slog.Logger
	Fatal   func(error) // the disk loses data: must end the process
}

// Default gives the settings of the documentation.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:8080",
		Data:            "tidings-data",
		DatabaseTimeout: 10 * time.Second, DatabaseConnections: 10, NodeLease: 30 * time.Second,
		AttemptTimeout:  15 * time.Second,
		RetrySchedule:   delivery.DefaultPolicy.RetrySchedule,
		DisableAfter:    delivery.DefaultPolicy.DisableAfter,
		OfferLife:       168 * time.Hour,
		AcceptanceGrace: 10 * time.Second,
		TokenLife:       5 * time.Minute,
		DeferralLife:    336 * time.Hour,
		Retention:       720 * time.Hour,
		ClaimsRetention: 168 * time.Hour,
		QuotaEndpoints:  tidings.MaxEndpoints,
		DrainTimeout:    20 * time.Second,
		Version:         "dev",
		Now:             time.Now,
		Log:             slog.Default(),
	}
}

// lease is how long a node's lease is: an attempt that begins with the next
// renewal has to end well before it.
func (c Config) lease() time.Duration { return max(c.NodeLease, c.AttemptTimeout+7*time.Second) }

// check reports all mistakes at once.
func (c Config) check() error {
	var mistakes []error
	mistake := func(wrong bool, format string, args ...any) {
		if wrong {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	mistake((c.TLSCert == "") != (c.TLSKey == ""), "tls-cert and tls-key belong together: give both or none")
	mistake(c.DatabaseTimeout < time.Second || c.DatabaseTimeout > 5*time.Minute, "database-timeout is 1s to 5m, not %v", c.DatabaseTimeout)
	mistake(c.NodeLease < time.Second || c.NodeLease > time.Hour, "node-lease is 1s to 1h, not %v", c.NodeLease)
	mistake(c.DatabaseConnections < 1 || c.DatabaseConnections > 1000, "database-connections is 1 to 1000, not %d", c.DatabaseConnections)
	mistake(c.AttemptTimeout < time.Second || c.AttemptTimeout > time.Minute, "attempt-timeout is 1s to 1m, not %v", c.AttemptTimeout)
	mistake(len(c.RetrySchedule) > 20, "retry-schedule has at most 20 delays, not %d", len(c.RetrySchedule))
	for _, d := range c.RetrySchedule {
		mistake(d < 100*time.Millisecond || d > 7*24*time.Hour, "each delay of retry-schedule is 100ms to 168h, not %v", d)
	}
	mistake(c.DisableAfter < 0, "disable-after must not be negative; 0 never disables")
	mistake(c.OfferLife < tidings.MinOfferLife || c.OfferLife > tidings.MaxOfferLife, "offer-life is 1s to 2160h (90 days), not %v", c.OfferLife)
	mistake(c.AcceptanceGrace < 0 || c.AcceptanceGrace > 24*time.Hour, "acceptance-grace is 0 to 24h, not %v", c.AcceptanceGrace)
	mistake(c.TokenLife < time.Second || c.TokenLife > 5*time.Minute, "token-life is 1s to 5m, not %v", c.TokenLife)
	mistake(c.DeferralLife < time.Second || c.DeferralLife > tidings.MaxOfferLife, "deferral-life is 1s to 2160h (90 days), not %v", c.DeferralLife)
	mistake(c.Retention < 0 || c.Retention > 0 && c.Retention < time.Hour, "retention is 1h or more, or 0 to keep everything, not %v", c.Retention)
	// A wallet whose answer was lost may ask again while its token lives.
	mistake(c.ClaimsRetention < 5*time.Minute || c.ClaimsRetention > 8760*time.Hour, "claims-retention is 5m to 8760h (a year), not %v", c.ClaimsRetention)
	mistake(c.QuotaEndpoints < 1 || c.QuotaEndpoints > 1_000_000, "quota-endpoints is 1 to 1000000, not %d", c.QuotaEndpoints)
	mistake(c.QuotaRequests < 0, "quota-requests must not be negative; 0 is no quota")
	mistake(c.QuotaEvents < 0, "quota-events must not be negative; 0 is no quota")
	mistake(c.DrainTimeout < time.Second || c.DrainTimeout > 10*time.Minute, "drain-timeout is 1s to 10m, not %v", c.DrainTimeout)
	mistake((c.ClientID == "") != (c.ClientSecret == ""), "TIDINGS_CLIENT_ID and TIDINGS_CLIENT_SECRET belong together: set both or none")
	mistake(c.ClientSecret != "" && len(c.ClientSecret) < 16, "TIDINGS_CLIENT_SECRET has at least 16 characters")
	mistakes = append(mistakes, c.checkAuth(), c.checkTraces())
	if c.PublicURL != "" {
		mistakes = append(mistakes, checkPublicURL(c.PublicURL))
	}
	return errors.Join(mistakes...)
}

func checkPublicURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("public-url is an https URL such as https://tidings.example, not %q", text)
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("public-url has no path, query, fragment or user, and no slash at its end: %q", text)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("public-url is http only on loopback; wallets and clients need https: %q", text)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// first makes the client of the configuration where it does not exist.
func (a *App) first(ctx context.Context, hash func(string) [32]byte) error {
	if a.cfg.ClientID == "" {
		return nil
	}
	want := hash(a.cfg.ClientSecret)
	c, err := a.Store.CreateClient(ctx, "default", tidings.Client{ID: a.cfg.ClientID, Scopes: tidings.AllScopes, SecretHash: want})
	switch {
	case tidings.KindOf(err) != tidings.KindConflict || err == nil:
		if err == nil {
			a.cfg.Log.Info("client created", "client_id", c.ID, "organisation", c.Organisation.Slug)
		}
		return err
	}
	have, err := a.Store.Client(ctx, a.cfg.ClientID)
	if err == nil && have.SecretHash != want {
		a.cfg.Log.Warn("TIDINGS_CLIENT_SECRET is not this client's secret: the client exists already and stays as it is", "client_id", have.ID)
	}
	return err
}
