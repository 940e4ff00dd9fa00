package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tidings/webhook"
)

// senders is how many requests are on their way at the same time, in the bare
// loop and from the publisher.
const senders = 64

// sampleBody is a webhook's body as the product sends it.
const sampleBody = `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"bench-100000"}}`

// loop measures what this machine does at most with net/http: sign and post
// over TLS, certificates verified, nothing stored. It gives requests a second.
func (b *run) loop(ctx context.Context, paths int, d time.Duration) (float64, error) {
	signer, err := webhook.NewSigner(webhook.NewSecret())
	if err != nil {
		return 0, err
	}
	transport := b.newTransport(senders)
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	var posted, at atomic.Int64
	failed := make(chan error, senders)
	begin := time.Now()
	for range senders {
		wg.Go(func() {
			for time.Since(begin) < d {
				path := b.sink.url + pathTake + "loop" + strconv.FormatInt(at.Add(1)%int64(paths), 10)
				if err := post(ctx, transport, signer, path, []byte(sampleBody)); err != nil {
					failed <- err
					return
				}
				posted.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	select {
	case err := <-failed:
		return 0, err
	default:
		return float64(posted.Load()) / took.Seconds(), nil
	}
}

func post(ctx context.Context, transport *http.Transport, signer *webhook.Signer, url string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if err := signer.SetHeaders(request.Header, "c0162ph6po1s024m7iuxnc7lh", time.Now(), body); err != nil {
		return err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	io.Copy(io.Discard, answer.Body)
	return answer.Body.Close()
}

func (b *run) newTransport(conns int) *http.Transport {
	return &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: b.ca.Pool(), NextProtos: []string{"http/1.1"}},
		MaxIdleConns:        conns,
		MaxIdleConnsPerHost: conns,
	}
}

// besideLoop measures something with the bare loop before and behind it, as
// machines change their pace.
func (b *run) besideLoop(ctx context.Context, paths int, measure func() error) (perSecond float64, err error) {
	before, err := b.loop(ctx, paths, b.cfg.Sizes.Window/2)
	if err != nil {
		return 0, err
	}
	if err := measure(); err != nil {
		return 0, err
	}
	behind, err := b.loop(ctx, paths, b.cfg.Sizes.Window/2)
	return (before + behind) / 2, err
}
