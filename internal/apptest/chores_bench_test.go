package apptest_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// BenchmarkChores gives the p99 from publish to arrival at one endpoint alone,
// and while another organisation's endpoint with 100,000 deliveries is deleted,
// or gets as many by a recovery.
func BenchmarkChores(b *testing.B) {
	const backlog = 100_000
	chores := map[string]func(api *apptest.API, endpoint string){
		"delete": func(api *apptest.API, endpoint string) {
			api.Call("DELETE", "/endpoints/"+endpoint, nil, http.StatusNoContent, nil)
		},
		"recover": func(api *apptest.API, _ string) {
			late := register(api, "https://receiver.invalid/late", failed)
			api.Call("PATCH", "/endpoints/"+late, apptest.Object{"status": "disabled"}, http.StatusOK, nil)
			since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
			api.Call("POST", "/endpoints/"+late+"/recover", apptest.Object{"since": since}, http.StatusAccepted, nil)
		},
	}
	for name, chore := range chores {
		b.Run(name, func(b *testing.B) {
			n := newNeighbours(b, true)
			api, other := n.organisation("one", 0, 0), n.organisation("two", 0, 1)
			endpoint := register(api, "https://receiver.invalid/paused", failed)
			api.Call("PATCH", "/endpoints/"+endpoint, apptest.Object{"status": "disabled"}, http.StatusOK, nil)
			for left := backlog; left > 0; left -= 1000 {
				publish(b, api, many(1000, failed, fmt.Sprint("pile", left))...)
			}
			n.measure(other, "warm", 200, nil)
			alone := n.measure(other, "alone", 1000, []string{"/two0"})
			b.ResetTimer()
			for i := range b.N {
				chore(api, endpoint)
				beside := n.measure(other, fmt.Sprint("beside-", i), 1000, []string{"/two0"})
				b.ReportMetric(ms(p99(alone)), "p99-alone-ms")
				b.ReportMetric(ms(p99(beside)), "p99-beside-ms")
				b.ReportMetric(float64(p99(beside))/float64(p99(alone)), "ratio")
			}
		})
	}
}

// BenchmarkRetention gives the same while a month of history is dropped: 100,000
// deliveries become too old at once, as the server's clock is moved.
func BenchmarkRetention(b *testing.B) {
	const history = 100_000
	var shift atomic.Int64
	a := apptest.New(b, func(c *app.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
		c.Log = slog.New(slog.DiscardHandler)
	})
	n := &neighbours{t: b, tally: newTally()}
	var arrived atomic.Int64
	all := make(chan struct{})
	old := apptest.NewReceiver(b, a.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
		w.WriteHeader(http.StatusNoContent)
		if arrived.Add(1) == history {
			close(all)
		}
	})
	register(a.API, old.URL, failed)
	register(a.API, apptest.NewReceiver(b, a.CA, n.tally.answer).URL, completed)
	for left := history; left > 0; left -= 1000 {
		publish(b, a.API, many(1000, failed, fmt.Sprint("old", left))...)
	}
	<-all
	n.Process = &apptest.Process{API: a.API}
	n.measure(a.API, "warm", 200, nil)
	alone := n.measure(a.API, "alone", 1000, []string{"/webhooks"})
	b.ResetTimer()
	for i := range b.N {
		shift.Add(int64(31 * 24 * time.Hour))
		later := apptest.NewAPI(b, a.URL, a.CA) // the token is as old as the history
		beside := n.measure(later, fmt.Sprint("beside-", i), 1000, []string{"/webhooks"})
		b.ReportMetric(ms(p99(alone)), "p99-alone-ms")
		b.ReportMetric(ms(p99(beside)), "p99-beside-ms")
		b.ReportMetric(float64(p99(beside))/float64(p99(alone)), "ratio")
	}
}
