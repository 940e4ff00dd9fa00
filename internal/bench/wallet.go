package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"tidings"
	"tidings/client"
	"tidings/internal/wallet"
)

// walletCount is how many wallets there are at once.
const walletCount = 8

// holder is a wallet that knows the issuer, as one that was there before, with the
// program that makes offers for it. They take turns, on a connection each has kept.
type holder struct {
	wallet *wallet.Wallet
	issuer *wallet.Issuer
	offers *client.Client
	http   [2]*http.Client
}

func (h *holder) close() {
	for _, c := range h.http {
		c.CloseIdleConnections()
	}
}

// wallets measures whole issuances: create, offer, token, nonce, credential,
// notification. Every step is durable, and webhooks tell of it meanwhile.
func wallets(ctx context.Context, b *run) (err error) {
	in, err := b.install(ctx, 1, 1, takes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	template, err := in.tenants[0].CreateTemplate(ctx, client.NewTemplate{Name: "Library card", Code: "library-card", Attributes: map[string]tidings.Attribute{
		"card_number": {Type: "string", Required: true, AlwaysDisclosed: true}, "holder_name": {Type: "string", Required: true}, "valid_until": {Type: "date"},
	}})
	if err != nil {
		return err
	}
	holders := make([]*holder, walletCount)
	for i := range holders {
		if holders[i], err = in.newHolder(ctx, template.ID); err != nil {
			return err
		}
		defer holders[i].close()
	}
	if _, err := issueFor(ctx, b.cfg.Sizes.Window/warmUp, template.ID, holders); err != nil {
		return err
	}
	cpu, begin := in.cpu(), time.Now()
	took, err := issueFor(ctx, b.cfg.Sizes.Window, template.ID, holders)
	if err != nil {
		return err
	}
	row := Row{Scenario: "wallet", DeliveriesPerSecond: float64(len(took)) / time.Since(begin).Seconds(), P50Ms: percentile(took, 50), P99Ms: percentile(took, 99),
		CPUMicrosPerEvent: float64((in.cpu() - cpu).Microseconds()) / float64(len(took)), RSSMiB: rssOf(in.cmd.Process.Pid)}
	least, most := b.target(1200, 600), b.target(20, 40)
	row.Target = fmt.Sprintf("at least %.0f flows a second, p99 at most %.0f ms", least, most)
	row.Met = row.DeliveriesPerSecond >= least && row.P99Ms <= most
	b.add(row)
	return in.completed(ctx)
}

// newHolder makes a wallet that has claimed and verified one credential.
func (in *installation) newHolder(ctx context.Context, template string) (*holder, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	h := &holder{http: [2]*http.Client{in.b.newLeanHTTP(), in.b.newLeanHTTP()}}
	h.wallet = wallet.New(h.http[0], key)
	if h.offers, err = client.New(client.Config{URL: in.url, ClientID: clientID, ClientSecret: clientSecret, HTTP: h.http[1]}); err != nil {
		return nil, err
	}
	issuance, err := h.offer(ctx, template)
	if err != nil {
		return nil, err
	}
	held, err := h.wallet.Claim(ctx, issuance.OfferURI)
	if err != nil {
		return nil, err
	}
	h.issuer = held.Issuer
	return h, held.Notify(ctx, wallet.Accepted)
}

func (h *holder) offer(ctx context.Context, template string) (client.Issuance, error) {
	return h.offers.CreateIssuance(ctx, client.NewIssuance{CredentialTemplateID: template,
		Attributes: map[string]any{"card_number": "LC-1042", "holder_name": "Ada Example", "valid_until": "2030-12-31"}})
}

// issueFor has the wallets claim one credential after the other for a while,
// and gives how long each took, in order of size.
func issueFor(ctx context.Context, window time.Duration, template string, holders []*holder) (all []time.Duration, err error) {
	var mu sync.Mutex
	begin := time.Now()
	err = parallel(len(holders), len(holders), func(i int) error {
		var took []time.Duration
		for time.Since(begin) < window {
			start := time.Now()
			if err := holders[i].flow(ctx, template); err != nil {
				return err
			}
			took = append(took, time.Since(start))
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, took...)
		return nil
	})
	slices.Sort(all)
	return all, err
}

// flow is one issuance from its creation to the wallet's notification.
func (h *holder) flow(ctx context.Context, template string) error {
	issuance, err := h.offer(ctx, template)
	if err != nil {
		return err
	}
	offer, err := h.wallet.ResolveOffer(ctx, issuance.OfferURI)
	if err != nil {
		return err
	}
	token, err := h.wallet.Redeem(ctx, h.issuer, offer)
	if err != nil {
		return err
	}
	nonce, err := h.wallet.Nonce(ctx, h.issuer)
	if err != nil {
		return err
	}
	proof, err := h.wallet.Proof(h.issuer, nonce)
	if err != nil {
		return err
	}
	issued, err := h.wallet.Request(ctx, h.issuer, token, offer.ConfigurationIDs[0], proof)
	if err != nil {
		return err
	}
	return h.wallet.Notify(ctx, h.issuer, token, issued.NotificationID, wallet.Accepted)
}

// completed wants that the newest issuances are completed.
func (in *installation) completed(ctx context.Context) error {
	n := 0
	for i, err := range in.tenants[0].Issuances(ctx, client.IssuanceQuery{}) {
		if err != nil {
			return err
		}
		if i.Status != "completed" {
			return fmt.Errorf("issuance %s is %s", i.ID, i.Status)
		}
		if n++; n == 100 {
			break
		}
	}
	return nil
}
