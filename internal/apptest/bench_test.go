package apptest_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// BenchmarkDelivery measures the whole path: HTTP in, synced to disk, signed,
// posted over TLS, recorded. Publisher, server and receiver share the machine.
func BenchmarkDelivery(b *testing.B) {
	for _, batch := range []int{1, 100} {
		for _, endpoints := range []int{1, 100} {
			b.Run(fmt.Sprintf("batch=%d/endpoints=%d", batch, endpoints), func(b *testing.B) { benchmarkDelivery(b, batch, endpoints) })
		}
	}
}

func benchmarkDelivery(b *testing.B, batch, endpoints int) {
	a := apptest.New(b, func(c *app.Config) { c.Log = slog.New(slog.DiscardHandler) })
	var arrived atomic.Int64
	done := make(chan struct{})
	receiver := apptest.NewReceiver(b, a.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
		w.WriteHeader(http.StatusNoContent)
		if arrived.Add(1) == int64(b.N) {
			close(done)
		}
	})
	for range endpoints {
		a.Register(receiver.URL)
	}
	events := (b.N + endpoints - 1) / endpoints
	var next atomic.Int64
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				from := next.Add(int64(batch)) - int64(batch)
				if from >= int64(events) {
					return
				}
				list := make([]apptest.Object, 0, batch)
				for i := from; i < min(from+int64(batch), int64(events)); i++ {
					list = append(list, apptest.Object{"eventType": "openid4vc.issuance.offered", "payload": apptest.Object{"openId4VcIssuanceId": fmt.Sprint("i", i)}})
				}
				var body any = list
				if batch == 1 {
					body = list[0]
				}
				if status, answer, err := a.Request("POST", "/events", body); err != nil || status != http.StatusAccepted {
					panic(fmt.Sprintf("publishing: %d %s %v", status, answer, err))
				}
			}
		})
	}
	wg.Wait()
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
