package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
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

// pace is what came of the bare loop.
type pace struct {
	perSecond float64
	cpu       float64 // microseconds for a request, of sender and receiver together
}

// loop measures what this machine does at most with net/http: sign and post
// over TLS, certificates verified, nothing stored.
func (b *run) loop(ctx context.Context, paths int, d time.Duration) (p pace, err error) {
	signer, err := webhook.NewSigner(webhook.NewSecret())
	if err != nil {
		return p, err
	}
	transport := b.newTransport(senders)
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	var posted, at atomic.Int64
	failed := make(chan error, senders)
	cpu, begin := cpuOf(os.Getpid()), time.Now()
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
		return p, err
	default:
		n := float64(posted.Load())
		return pace{perSecond: n / took.Seconds(), cpu: float64((cpuOf(os.Getpid()) - cpu).Microseconds()) / n}, nil
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
func (b *run) besideLoop(ctx context.Context, paths int, measure func() error) (pace, error) {
	before, err := b.loop(ctx, paths, b.cfg.Sizes.Window/2)
	if err != nil {
		return pace{}, err
	}
	if err := measure(); err != nil {
		return pace{}, err
	}
	behind, err := b.loop(ctx, paths, b.cfg.Sizes.Window/2)
	return pace{(before.perSecond + behind.perSecond) / 2, (before.cpu + behind.cpu) / 2}, err
}
