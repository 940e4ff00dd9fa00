package apptest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/apptest"
)

// hanging is a receiver that takes requests and never answers.
type hanging struct {
	begun, ended atomic.Int64
}

func (h *hanging) answer(_ http.ResponseWriter, r *http.Request, _ apptest.Received) {
	h.begun.Add(1)
	<-r.Context().Done() // until the sender gives up
	h.ended.Add(1)
}

// neighbours are healthy endpoints beside hanging ones. The hanging ones want
// "failed" events, of which a backlog waits, the healthy ones "completed".
type neighbours struct {
	*apptest.Process
	t     testing.TB
	tally *tally
	hang  hanging
	url   [2]string // of the healthy and of the hanging receiver
}

const isolationTimeout = 15 * time.Second

func newNeighbours(t testing.TB, plain bool) *neighbours {
	n := &neighbours{t: t, tally: newTally()}
	n.Process = apptest.Serve(t, apptest.Setup{Plain: plain, Flags: []string{
		"--attempt-timeout=" + isolationTimeout.String(), "--retry-schedule=1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s", "--log-level=error"}})
	n.url[0] = apptest.NewReceiver(t, n.CA, n.tally.answer).URL
	n.url[1] = apptest.NewReceiver(t, n.CA, n.hang.answer).URL
	return n
}

// organisation gives a client of an organisation that has hanging endpoints
// and healthy ones: one organisation cannot have them all.
func (n *neighbours) organisation(name string, hanging, healthy int) *apptest.API {
	n.t.Helper()
	out, code := n.Command("client", "create", "--organisation", name)
	var c struct{ ClientID, ClientSecret string }
	if err := json.Unmarshal([]byte(out), &c); err != nil || code != 0 {
		n.t.Fatalf("creating a client: code %d, %v: %s", code, err, out)
	}
	api := n.As(c.ClientID, c.ClientSecret)
	for range hanging {
		register(api, n.url[1], failed)
	}
	for k := range healthy {
		register(api, strings.Replace(n.url[0], "/webhooks", fmt.Sprint("/", name, k), 1), completed)
	}
	return api
}

// pile has deliveries to hanging endpoints pile up, and waits until each such
// endpoint hangs.
func (n *neighbours) pile(api *apptest.API, events, hanging int) {
	n.t.Helper()
	before := n.hang.begun.Load()
	for left := events; left > 0; left -= 1000 {
		publish(n.t, api, many(min(left, 1000), failed, fmt.Sprint("pile", left))...)
	}
	n.Await("the receiver hangs", func() bool { return n.hang.begun.Load()-before >= int64(hanging) })
}

// measure publishes healthy events, one every few milliseconds, waits until all
// have arrived at so many endpoints, and gives how long each took to the first.
func (n *neighbours) measure(api *apptest.API, name string, events int, paths []string) []time.Duration {
	n.t.Helper()
	since := map[string]time.Time{}
	var ids []string
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := range events {
		<-tick.C
		begin := time.Now()
		id := api.Publish(completed, fmt.Sprint(name, "-", i))
		since[id], ids = begin, append(ids, id)
	}
	for _, path := range paths {
		n.Await("every healthy event has arrived", func() bool { return n.tally.missing(path, ids) == 0 })
	}
	return n.tally.latencies(since)
}

func TestAHangingEndpointSlowsNoOther(t *testing.T) {
	n := newNeighbours(t, false)
	api := n.organisation("one", 1, 1)
	paths := []string{"/one0"}
	n.measure(api, "warm", 20, paths)
	alone := n.measure(api, "alone", 200, paths)
	n.pile(api, 10000, 1)
	beside := n.measure(api, "beside", 200, paths)
	n.isolated(alone, beside)
}

func TestManyHangingEndpointsSlowNoOther(t *testing.T) {
	n := newNeighbours(t, false)
	one, two := n.organisation("one", 60, 10), n.organisation("two", 40, 10)
	var paths []string
	for k := range 10 {
		paths = append(paths, fmt.Sprint("/one", k))
	}
	n.measure(one, "warm", 20, paths)
	alone := n.measure(one, "alone", 100, paths)
	n.pile(one, 100, 60)
	n.pile(two, 100, 40)
	beside := n.measure(one, "beside", 100, paths)
	n.isolated(alone, beside)
}

// isolated wants that events arrived beside hanging attempts as if those were
// not there, as far as that can be said on a machine that others use too.
func (n *neighbours) isolated(alone, beside []time.Duration) {
	n.t.Helper()
	hang := n.hang.begun.Load() - n.hang.ended.Load()
	n.t.Logf("arrival p99 alone %.1f ms, beside %d hanging attempts %.1f ms", ms(p99(alone)), hang, ms(p99(beside)))
	if hang < 1 {
		n.t.Error("nothing hangs any more: the test shows nothing")
	}
	if p99(beside) >= isolationTimeout/3 { // whoever waits for one that hangs waits for most of that
		n.t.Errorf("p99 beside hanging endpoints is %v: events waited for them", p99(beside))
	}
}

// BenchmarkIsolation gives the figures that shared machines cannot be held to:
// the p99 from publish to arrival alone, beside endpoints that hang, and the ratio.
func BenchmarkIsolation(b *testing.B) {
	for _, hanging := range []int{1, 100} {
		b.Run(fmt.Sprintf("hanging=%d", hanging), func(b *testing.B) {
			n := newNeighbours(b, true)
			api := n.organisation("one", hanging, 0)
			other := n.organisation("two", 0, 20)
			n.measure(other, "warm", 200, nil)
			alone := n.measure(other, "alone", 1000, []string{"/two0"})
			n.pile(api, 10000/hanging, hanging)
			b.ResetTimer()
			for i := range b.N {
				beside := n.measure(other, fmt.Sprint("beside-", i), 1000, []string{"/two0"})
				b.ReportMetric(ms(p99(alone)), "p99-alone-ms")
				b.ReportMetric(ms(p99(beside)), "p99-beside-ms")
				b.ReportMetric(float64(p99(beside))/float64(p99(alone)), "ratio")
			}
		})
	}
}
