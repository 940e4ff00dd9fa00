// Package app joins the parts to a server: it is the only one that knows them
// all.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"tidings/internal/auth"
	"tidings/internal/console"
	"tidings/internal/delivery"
	"tidings/internal/egress"
	"tidings/internal/issuer"
	"tidings/internal/server"
	"tidings/internal/site"
	"tidings/internal/store"
)

// App is a server that is wired and listens, but does not work yet: [App.Run]
// has it work.
type App struct {
	URL   string // its public URL
	Store *store.Store

	cfg      Config
	listener net.Listener
	api      *server.Server
	console  *console.Console
	handler  http.Handler
	engine   *delivery.Engine
	issuer   *issuer.Issuer
	egress   *egress.Client
	freed    chan struct{} // holds a token while shards can be taken or given free
	outside  *auth.Outside // nil: the tokens are our own
	traces   *traces       // nil: nothing is traced
}

// ErrConfig says that the configuration is wrong.
var ErrConfig = errors.New("the configuration is wrong")

// New wires a server. What it opened is closed by [App.Run], or by New itself
// where it fails.
func New(ctx context.Context, cfg Config) (_ *App, err error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	a := &App{cfg: cfg, freed: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			a.close()
		}
	}()

	if a.listener, err = listen(cfg); err != nil {
		return nil, err
	}
	a.URL = publicURL(cfg, a.listener)

	if a.traces, err = newTraces(ctx, cfg); err != nil {
		return nil, err
	}
	cfg.Log = a.traces.logs(cfg.Log)
	a.cfg = cfg
	counts := newMetrics()
	// The store wakes the engine, and the engine reads the store.
	a.Store, err = store.Open(ctx, store.Options{Dir: cfg.Data, Database: cfg.Database, ListenAt: cfg.DatabaseListen, Timeout: cfg.DatabaseTimeout, Connections: cfg.DatabaseConnections,
		Home: home(a.listener), Lease: cfg.lease(), Now: cfg.Now, Correct: !cfg.TrustClock, Log: cfg.Log,
		MaxEndpoints: cfg.QuotaEndpoints, Retention: cfg.Retention, ClaimsRetention: cfg.ClaimsRetention, OnWake: a.wake, OnCommit: counts.onCommit, Trace: a.traces.commits(), OnFatal: cfg.Fatal})
	if err != nil {
		return nil, err
	}
	cfg.Now = a.Store.Now // all parts go by one clock
	a.cfg.Now = cfg.Now
	if err := a.first(ctx, auth.HashClientSecret); err != nil {
		return nil, fmt.Errorf("making the first client: %w", err)
	}
	a.egress, err = egress.New(egress.Config{Allow: cfg.EgressAllow, RootCAs: cfg.EgressRoots, Proxy: cfg.EgressProxy, Timeout: cfg.AttemptTimeout})
	if err != nil {
		return nil, err
	}
	a.engine = delivery.New(a.Store, sender{a.egress}, delivery.Config{
		Policy:         delivery.Policy{RetrySchedule: cfg.RetrySchedule, DisableAfter: cfg.DisableAfter},
		AttemptTimeout: cfg.AttemptTimeout,
		DrainTimeout:   cfg.DrainTimeout * 3 / 4, // the rest is for recording and closing
		UserAgent:      "Tidings/" + cfg.Version,
		Sharded:        cfg.Database != "",
		OnFree:         a.onFreed,
		OnResult:       counts.onResult,
		Trace:          a.traces.attempts(),
		Now:            cfg.Now,
		Log:            cfg.Log,
	})
	tokens, err := a.tokens(ctx)
	if err != nil {
		return nil, err
	}
	a.issuer, err = issuer.New(ctx, issuer.Config{PublicURL: a.URL, AccessLife: cfg.TokenLife, DeferralLife: cfg.DeferralLife, Grace: cfg.AcceptanceGrace, Now: cfg.Now, Log: cfg.Log}, a.Store)
	if err != nil {
		return nil, err
	}
	api, err := server.New(server.Config{
		Auth: tokens, Endpoints: a.Store, Secrets: a.Store, Events: a.Store, Deliveries: a.Store, Repeats: a.Store,
		Templates: a.Store, Issuances: a.Store, Credentials: a.Store, Issuer: a.issuer,
		CheckURL: a.egress.Guard().CheckURL, OfferLife: cfg.OfferLife, Sandbox: cfg.Sandbox, DisableAfter: cfg.DisableAfter,
		Quota: server.Quota{RequestsPerSecond: cfg.QuotaRequests, EventsPerSecond: cfg.QuotaEvents, Nodes: a.nodes},
		Ready: a.ready, Detail: a.detail, Observe: counts.onRequest, Log: cfg.Log,
		PublicURL: a.URL, Version: cfg.Version,
	})
	if err != nil {
		return nil, err
	}
	a.console, err = console.New(ctx, console.Config{
		Clients: a.Store, Endpoints: a.Store, Secrets: a.Store, Events: a.Store, Deliveries: a.Store, Repeats: a.Store,
		Templates: a.Store, Issuances: a.Store, Issuer: a.issuer,
		CheckURL: a.egress.Guard().CheckURL, OfferLife: cfg.OfferLife, DisableAfter: cfg.DisableAfter,
		Secure: strings.HasPrefix(a.URL, "https:"), Version: cfg.Version, Log: cfg.Log, Now: cfg.Now,
	})
	if err != nil {
		return nil, err
	}
	manual, err := documentation(cfg)
	if err != nil {
		return nil, err
	}
	a.api, a.handler = api, a.traces.requests(routes(api, tokens, a.issuer, a.console, manual, counts.serve(a)))
	return a, nil
}

// Handler answers requests as the listener does, without a network: for tests
// that make thousands of them.
func (a *App) Handler() http.Handler { return a.handler }

// routes says who answers what.
func routes(api http.Handler, tokens tokenService, issuer *issuer.Issuer, pages, manual, counts http.Handler) http.Handler {
	const oidc = "/iam/realms/product-hub/protocol/openid-connect"
	protocol := issuer.Handler()
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc(oidc+"/token", tokens.Token)
	mux.HandleFunc(oidc+"/certs", tokens.Certs)
	mux.Handle("/o/", protocol)
	mux.Handle("/.well-known/", protocol)
	mux.Handle("/.well-known/webhook-keys/", api)
	mux.Handle("/invitation", protocol)
	mux.Handle("GET /metrics", counts)
	mux.Handle(site.Prefix, manual)
	mux.Handle(site.Prefix+"/", manual)
	mux.Handle(console.Prefix, pages)
	mux.Handle(console.Prefix+"/", pages)
	return mux
}

// Run serves and delivers until ctx ends, then drains: no new work is taken,
// requests and attempts in flight end or are given back. It closes what [New]
// opened.
func (a *App) Run(ctx context.Context) error {
	defer a.close()
	if a.cfg.Sandbox {
		a.cfg.Log.Warn("this is a sandbox: whoever may issue can end issuances without a wallet, and the webhooks tell of it as if it were true")
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	srv := &http.Server{
		Handler:           a.handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          quiet(a.cfg.Log),
	}
	var fresh unused
	srv.ConnState = fresh.track
	srv.RegisterOnShutdown(fresh.close)
	srv.RegisterOnShutdown(a.api.EndStreams)
	srv.RegisterOnShutdown(a.console.EndStreams)
	var group sync.WaitGroup
	errs := make(chan error, 2)
	part := func(run func() error) {
		group.Go(func() {
			if err := run(); err != nil {
				errs <- err
				stop()
			}
		})
	}
	delivered := make(chan struct{})
	part(func() error {
		defer close(delivered)
		return a.engine.Run(work)
	})
	listening, deaf := context.WithCancel(context.WithoutCancel(ctx))
	left, leaving := make(chan struct{}), make(chan struct{})
	group.Go(func() {
		defer close(left)
		a.keepShards(work, delivered, sync.OnceFunc(func() { close(leaving) }))
	})
	group.Go(func() { a.Store.Listen(listening, a.ears()) })
	group.Go(func() { a.issuer.Run(work) })
	if a.outside != nil {
		group.Go(func() { a.outside.Run(work) })
	}
	group.Go(func() { a.keepHouse(work) })
	part(func() error {
		if err := srv.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})

	<-work.Done()
	a.cfg.Log.Info("stopping", "drain_timeout", a.cfg.DrainTimeout)
	// The address is free only then: whoever starts there would take this node for
	// one that was killed, and end its lease.
	select {
	case <-leaving:
	case <-time.After(min(leaveTimeout, a.cfg.DrainTimeout/4)):
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.DrainTimeout*3/4)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		a.cfg.Log.Warn("requests did not end in time and are broken off", "error", err)
		srv.Close()
	}
	<-left
	deaf() // not sooner: the last requests have something to tell, too
	group.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (a *App) close() {
	if a.listener != nil {
		a.listener.Close() // the server has closed it already, unless none was started
	}
	if a.egress != nil {
		a.egress.CloseIdle()
	}
	if a.Store != nil {
		if err := a.Store.Close(); err != nil {
			a.cfg.Log.Error("closing the store", "error", err)
		}
	}
	a.traces.close(a.cfg.Log)
}

func listen(cfg Config) (net.Listener, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another address with --listen", err)
	}
	if cfg.TLSCert == "" {
		return l, nil
	}
	keyPair, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the TLS certificate: %w", err), l.Close())
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{keyPair}, NextProtos: []string{"http/1.1"}}), nil
}

// publicURL gives the base of all links. An installation that is reachable
// under http only works on loopback, and says so.
func publicURL(cfg Config, l net.Listener) string {
	url := cfg.PublicURL
	if url == "" {
		scheme := "http://"
		if cfg.TLSCert != "" {
			scheme = "https://"
		}
		url = scheme + l.Addr().String()
	}
	if url[:5] == "http:" {
		cfg.Log.Warn("the public URL is http: good for a trial on this machine only; wallets may refuse it. Set --public-url to the https address that clients use", "public_url", url)
	}
	return url
}
