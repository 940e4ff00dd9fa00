package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"tidings/internal/app"
	"tidings/internal/localca"
	"tidings/internal/wallet"
)

type demoCommand struct {
	Verbose bool `help:"Show the server's log, too."`
}

// Help says what the demo does.
func (demoCommand) Help() string {
	return `Starts a server, a receiver and a wallet in this process, on loopback and in a temporary folder, and shows every webhook as it arrives and is verified. It ends by itself, with 0 when everything was seen, and leaves nothing behind.`
}

// Run runs the demo and shows it.
func (c demoCommand) Run(ctx context.Context, env *environment) error {
	signal.Ignore(syscall.SIGPIPE) // "tidings demo | head" must not leave the folder behind
	log := slog.New(slog.DiscardHandler)
	if c.Verbose {
		log = logger(env, "text", slog.LevelDebug)
	}
	return runDemo(ctx, env.stdout, log)
}

const (
	// demoPatience is how long the demo waits for everything; stopping adds at
	// most the drain time.
	demoPatience = 25 * time.Second
	demoDrain    = 3 * time.Second

	demoClientID = "demo-client"
)

// demoRetries is a schedule for people who watch.
var demoRetries = []time.Duration{time.Second, time.Second, 2 * time.Second}

// demo is one run: the three parties, and what was seen so far.
type demo struct {
	*page
	api      *demoAPI
	receiver *demoReceiver
	wallet   *wallet.Wallet
	seen     *sightings
}

// runDemo runs the demo and writes it to w. The error says what is missing.
func runDemo(ctx context.Context, w io.Writer, log *slog.Logger) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, fmt.Errorf("the time of %v is over", demoPatience))
	defer cancel()
	started := time.Now()
	d := &demo{page: newPage(w), seen: &sightings{}}
	d.title("Tidings demo", "One process, loopback only, everything in a temporary folder.")

	dir, err := os.MkdirTemp("", "tidings-demo-")
	if err != nil {
		return err
	}
	err = errors.Join(d.inside(ctx, dir, log), os.RemoveAll(dir))
	d.summary(d.seen, time.Since(started), err == nil)
	switch missing := d.seen.missing(); {
	case missing == "":
		return err
	case err == nil:
		return errors.New("missing: " + missing)
	default:
		return fmt.Errorf("the demo ended early: %w; missing: %s", err, missing)
	}
}

// inside starts the three parties, has them act, and stops them in the
// opposite order.
func (d *demo) inside(ctx context.Context, dir string, log *slog.Logger) (err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ca, err := localca.New()
	if err != nil {
		return err
	}
	if d.receiver, err = newDemoReceiver(ca); err != nil {
		return err
	}
	defer d.receiver.close()

	secret := rand.Text()
	server, err := newDemoServer(ctx, dir, ca, secret, log)
	if err != nil {
		return err
	}
	stop := runDemoServer(server, fail)
	defer func() { err = errors.Join(err, stop()) }()

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	d.wallet = wallet.New(client, key)
	d.api = &demoAPI{url: server.URL, secret: secret, http: client}
	if err := d.tell(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// newDemoServer wires a server as an operator would, but for the short retry
// schedule.
func newDemoServer(ctx context.Context, dir string, ca *localca.CA, secret string, log *slog.Logger) (*app.App, error) {
	files, err := ca.Write(dir)
	if err != nil {
		return nil, err
	}
	cfg := app.Default()
	cfg.Listen, cfg.Data = "127.0.0.1:0", filepath.Join(dir, "data")
	cfg.TLSCert, cfg.TLSKey = files.Cert, files.Key
	cfg.EgressAllow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	cfg.EgressRoots = ca.Pool()
	cfg.RetrySchedule, cfg.DrainTimeout = demoRetries, demoDrain
	cfg.ClientID, cfg.ClientSecret = demoClientID, secret
	cfg.Version, cfg.Log = version(), log
	return app.New(ctx, cfg)
}

// runDemoServer runs the server until stop is called; stop waits for its end.
// A server that ends by itself ends the demo.
func runDemoServer(server *app.App, fail context.CancelCauseFunc) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := server.Run(ctx)
		if ctx.Err() == nil {
			fail(errors.Join(errors.New("the server ended by itself"), err))
		}
		done <- err
	}()
	return func() error {
		cancel()
		return <-done
	}
}
