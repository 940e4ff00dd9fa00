//go:build unix

package apptest_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
)

// chore is a server with a large backlog at an endpoint of one organisation,
// and another organisation's endpoint whose latency counts.
type chore struct {
	*neighbours
	api, other *apptest.API
	paused     string // has the backlog and is disabled
	late       string // was registered behind the events, and is disabled
}

const choreBacklog = 100_000

func newChore(b *testing.B) chore {
	c := chore{neighbours: newNeighbours(b, true)}
	c.api, c.other = c.organisation("one", 0, 0), c.organisation("two", 0, 1)
	c.paused = register(c.api, strings.Replace(c.url[0], "/webhooks", "/paused", 1), failed)
	c.patch(c.paused, "disabled")
	for left := choreBacklog; left > 0; left -= 1000 {
		publish(b, c.api, many(1000, failed, fmt.Sprint("pile", left))...)
	}
	c.late = register(c.api, strings.Replace(c.url[0], "/webhooks", "/late", 1), failed)
	c.patch(c.late, "disabled")
	c.measure(c.other, "warm", 200, nil)
	return c
}

func (c chore) patch(endpoint, status string) {
	c.api.Call("PATCH", "/endpoints/"+endpoint, apptest.Object{"status": status}, http.StatusOK, nil)
}

func (c chore) delete() {
	c.api.Call("DELETE", "/endpoints/"+c.paused, nil, http.StatusNoContent, nil)
}

func (c chore) recover() {
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	c.api.Call("POST", "/endpoints/"+c.late+"/recover", apptest.Object{"since": since}, http.StatusAccepted, nil)
}

// gotOn tells how far the chore is, to show that it was at work all the time.
func (c chore) gotOn(b *testing.B, started string) {
	var e struct{ Backlog struct{ Count int } }
	switch started {
	case "delete":
		left, err := strconv.ParseFloat(scrape(b, c.API)["tidings_backlog_deliveries"], 64)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(choreBacklog-left, "deleted")
	case "recover":
		c.api.Call("GET", "/endpoints/"+c.late, nil, http.StatusOK, &e)
		b.ReportMetric(float64(e.Backlog.Count), "recovered")
	case "enable":
		c.api.Call("GET", "/endpoints/"+c.paused, nil, http.StatusOK, &e)
		b.ReportMetric(float64(choreBacklog-e.Backlog.Count), "sent")
	}
}

func (c chore) enable() { c.patch(c.paused, "enabled") }

// freeze stops the server's process where it is, until it is told to go on.
func (c chore) freeze(b *testing.B) {
	if err := syscall.Kill(c.PID(), syscall.SIGSTOP); err != nil {
		b.Fatal(err)
	}
}

func (c chore) thaw(b *testing.B) {
	if err := syscall.Kill(c.PID(), syscall.SIGCONT); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkChores gives the p99 from publish to arrival at one endpoint while
// another organisation's endpoint with 100,000 deliveries is deleted, or gets as
// many by a recovery, or by being enabled after a pause, and the p99 without.
// The latter is a second server's with the same content. The two are measured
// in turns, each while the other is frozen, so that other load on the machine
// weighs on both; the figures are the medians.
func BenchmarkChores(b *testing.B) {
	const rounds, events = 20, 200
	for _, one := range []struct {
		name string
		do   func(chore)
	}{{"none", func(chore) {}}, {"delete", chore.delete}, {"recover", chore.recover}, {"enable", chore.enable}} {
		b.Run(one.name, func(b *testing.B) {
			calm, busy := newChore(b), newChore(b)
			b.Cleanup(func() { calm.thaw(b); busy.thaw(b) }) // a frozen one would not stop
			busy.freeze(b)
			b.ResetTimer()
			for i := range b.N {
				var alone, beside []time.Duration
				for r := range rounds {
					name := fmt.Sprint(i, "-", r)
					alone = append(alone, p99(calm.measure(calm.other, name, events, []string{"/two0"})))
					calm.freeze(b)
					busy.thaw(b)
					if r == 0 {
						one.do(busy)
					}
					beside = append(beside, p99(busy.measure(busy.other, name, events, []string{"/two0"})))
					busy.freeze(b)
					calm.thaw(b)
				}
				b.Log("alone", alone, "beside", beside)
				busy.thaw(b)
				busy.gotOn(b, one.name)
				busy.freeze(b)
				b.ReportMetric(ms(median(alone)), "p99-alone-ms")
				b.ReportMetric(ms(median(beside)), "p99-beside-ms")
				b.ReportMetric(float64(median(beside))/float64(median(alone)), "ratio")
			}
		})
	}
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
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
	gone := "/deliveries?page%5Bsize%5D=1&filter%5BendpointId%5D=" + register(a.API, old.URL, failed)
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
		shift.Add(int64(38 * 24 * time.Hour))   // a partition goes once its last row is too old
		later := apptest.NewAPI(b, a.URL, a.CA) // the token is as old as the history
		beside := n.measure(later, fmt.Sprint("beside-", i), 1000, []string{"/webhooks"})
		var left []struct{ ID string }
		if _, answer, err := later.Request("GET", gone, nil); err != nil || unmarshalData(answer, &left) != nil {
			b.Fatalf("%s: %v", answer, err)
		}
		b.ReportMetric(float64(len(left)), "left") // 0: all of it went meanwhile
		b.ReportMetric(ms(p99(alone)), "p99-alone-ms")
		b.ReportMetric(ms(p99(beside)), "p99-beside-ms")
		b.ReportMetric(float64(p99(beside))/float64(p99(alone)), "ratio")
	}
}

// BenchmarkRetentionOnPostgreSQL is the same on a PostgreSQL that syncs.
func BenchmarkRetentionOnPostgreSQL(b *testing.B) {
	apptest.OnPostgreSQL(b, pgtest.Durable...)
	BenchmarkRetention(b)
}
