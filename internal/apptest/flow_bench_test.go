package apptest_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// BenchmarkWalletFlow is one whole issuance: create, offer, token, nonce,
// credential, notification, each over TLS and durable, with webhooks going out,
// by eight wallets at once. Server, wallets and receiver share the process, so
// that -cpuprofile shows all; "tidings bench --scenario wallet" measures the
// server alone.
func BenchmarkWalletFlow(b *testing.B) {
	a := apptest.New(b, func(c *app.Config) { c.Log = slog.New(slog.DiscardHandler) })
	a.Register(apptest.NewReceiver(b, a.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) { w.WriteHeader(http.StatusNoContent) }).URL)
	made, ctx := template(a.API), context.Background()
	w := newWallet(b, a.API)
	known, err := w.Discover(ctx, a.URL+"/o/default")
	if err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			var err error
			for err == nil && left.Add(-1) >= 0 {
				err = oneFlow(ctx, a.API, w, known, made)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "flows/s")
}

func oneFlow(ctx context.Context, a *apptest.API, w *wallet.Wallet, known *wallet.Issuer, template string) error {
	h := &holder{api: a, wallet: w, template: template, issuer: known}
	if err := atOnce(offerFor(3600), look, redeem)(h); err != nil {
		return err
	}
	nonce, err := w.Nonce(ctx, known)
	if err != nil {
		return err
	}
	proof, err := w.Proof(known, nonce)
	if err != nil {
		return err
	}
	got, err := w.Request(ctx, known, h.token, template, proof)
	if err != nil {
		return err
	}
	return w.Notify(ctx, known, h.token, got.NotificationID, wallet.Accepted)
}
