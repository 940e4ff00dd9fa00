package apptest_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
	"tidings/internal/wallet"
)

// tracedSpan is a span as the collector got it.
type tracedSpan struct {
	Trace, ID, Parent, Name string
	Attributes              map[string]string
	Failed                  bool
	By                      string // the version of the sender
}

// collector takes traces by OTLP over HTTP.
type collector struct {
	URL   string
	mu    sync.Mutex
	spans []tracedSpan
	named map[string]string // what the sender calls itself
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var export coltrace.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &export) != nil {
			t.Errorf("%s %s is no export of traces", r.Method, r.URL.Path)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.take(&export)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20") // ms
	return c
}

func (c *collector) take(export *coltrace.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range export.ResourceSpans {
		c.named = map[string]string{}
		for _, a := range of.Resource.Attributes {
			c.named[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				got := tracedSpan{hex.EncodeToString(s.TraceId), hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId), s.Name, map[string]string{}, s.Status.GetCode() == 2, c.named["service.version"]}
				for _, a := range s.Attributes {
					got.Attributes[a.Key] = strings.Trim(regexp.MustCompile(`^\w+:`).ReplaceAllString(a.Value.String(), ""), `"`)
				}
				c.spans = append(c.spans, got)
			}
		}
	}
}

// of gives the spans of a trace, or all, by their names.
func (c *collector) of(trace string) map[string][]tracedSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string][]tracedSpan{}
	for _, s := range c.spans {
		if trace == "" || s.Trace == trace {
			out[s.Name] = append(out[s.Name], s)
		}
	}
	return out
}

// tracedAttributes are what spans may hold: no path as it was asked for, no
// address of a person, no body.
var tracedAttributes = []string{"http.request.method", "http.route", "http.response.status_code", "server.address", "error.type",
	"tidings.event.id", "tidings.event.type", "tidings.attempt", "tidings.timing.dns_ms", "tidings.timing.connect_ms", "tidings.timing.tls_ms", "tidings.timing.wait_ms"}

func (c *collector) mustBeDiscreet(t *testing.T) {
	t.Helper()
	for name, spans := range c.of("") {
		for _, s := range spans {
			for key := range maps.Keys(s.Attributes) {
				if !slices.Contains(tracedAttributes, key) {
					t.Errorf("a span %q holds %s", name, key)
				}
			}
		}
	}
}

func tracing(toReceivers bool) apptest.Option {
	return func(c *app.Config) { c.Traces, c.Traceparent = true, toReceivers }
}

// publishIn publishes within a trace that the publisher began.
func publishIn(t *testing.T, a *apptest.App, traceparent, issuance string) {
	t.Helper()
	body := `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"` + issuance + `"}}`
	request, err := http.NewRequest("POST", a.URL+"/me-creds/api/events", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.Token())
	request.Header.Set("Traceparent", traceparent)
	answer, err := a.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		t.Fatalf("status %d", answer.StatusCode)
	}
}

// One trace leads from the publisher's request over the commit to every attempt,
// also where the server was started anew between two of them, and on to the
// receiver.
func TestATraceLeadsFromTheRequestToEveryAttempt(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	c := newCollector(t)
	t.Setenv("OTEL_SERVICE_NAME", "tidings-of-the-test")
	a := apptest.New(t, tracing(true), func(c *app.Config) { c.RetrySchedule = []time.Duration{time.Second, time.Second, time.Second} })
	up := answering(http.StatusServiceUnavailable)
	receiver := apptest.NewReceiver(t, a.CA, up.answer)
	a.Register(receiver.URL)
	publishIn(t, a, "00-"+trace+"-"+parent+"-01", "one")
	receiver.Wait(1)
	a.Await("the first attempt is recorded", func() bool {
		return list[struct{ AttemptCount int }](a.API, "/deliveries")[0].AttemptCount > 0
	})
	a.Restart()
	up.status.Store(http.StatusNoContent)
	a.Await("the delivery arrived", func() bool {
		return len(list[struct{ ID string }](a.API, "/deliveries?filter%5Bstatus%5D=delivered")) == 1
	})
	received := receiver.Received()
	var spans map[string][]tracedSpan
	a.Await("all spans have come", func() bool { spans = c.of(trace); return len(spans["attempt"]) == len(received) })

	request, commit, attempts := spans["POST /me-creds/api/events"], spans["commit"], spans["attempt"]
	if len(request) != 1 || request[0].Parent != parent || request[0].Attributes["http.response.status_code"] != "202" || len(commit) != 1 || commit[0].Parent != request[0].ID || len(spans) != 3 {
		t.Fatalf("the trace is %+v", spans)
	}
	for i, s := range attempts {
		last := i == len(attempts)-1
		wanted := map[string]string{"http.response.status_code": "503", "error.type": "", "tidings.attempt": fmt.Sprint(i + 1), "tidings.event.type": "openid4vc.issuance.completed", "server.address": "127.0.0.1"}
		if last {
			wanted["http.response.status_code"] = "204"
		}
		for key, value := range wanted {
			if s.Attributes[key] != value {
				t.Errorf("attempt %d says %s of %s, not %s", i+1, s.Attributes[key], key, value)
			}
		}
		if s.Parent != commit[0].ID || s.Failed == last {
			t.Errorf("attempt %d is %+v", i+1, s)
		}
		if got, want := received[i].Header.Get("traceparent"), "00-"+trace+"-"+s.ID+"-01"; got != want {
			t.Errorf("attempt %d gave the receiver the traceparent %q, want %q", i+1, got, want)
		}
	}
	c.mustBeDiscreet(t)
	if c.named["service.name"] != "tidings-of-the-test" || c.named["service.version"] != "dev" {
		t.Errorf("the sender calls itself %v", c.named)
	}
	if !strings.Contains(a.Logs.String(), "route=/events status=202") || !strings.Contains(a.Logs.String(), "trace_id="+trace) {
		t.Error("the log does not name the trace")
	}
}

// What a wallet does is traced as well, by the patterns of the routes: their
// paths can hold what nobody else may know.
func TestAWalletsStepsAreTraced(t *testing.T) {
	c := newCollector(t)
	a := apptest.New(t, tracing(false))
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	var made issuance
	a.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": template(a.API), "attributes": apptest.Object{"name": "A"}}, http.StatusCreated, &made)
	h := &holders{}
	held, err := h.claim(t.Context(), newWallet(t, a.API), made.OfferURI)
	if err == nil {
		err = held.Notify(t.Context(), wallet.Accepted)
	}
	if err != nil {
		t.Fatal(err)
	}
	receiver.Wait(2)
	var told []tracedSpan
	a.Await("the notification and its attempt are traced", func() bool {
		told = c.of("")["POST /o/{organisation}/notification"]
		return len(told) == 1 && len(c.of(told[0].Trace)["attempt"]) == 1 && len(c.of(told[0].Trace)["commit"]) >= 1
	})
	c.mustBeDiscreet(t)
	for name := range c.of("") {
		if name != "commit" && name != "attempt" && !regexp.MustCompile(`^[A-Z]+ (unknown|/[a-zA-Z0-9/{}._-]*)$`).MatchString(name) || strings.Contains(name, "default") {
			t.Errorf("a span is called %q", name)
		}
	}
	for _, got := range receiver.Received() {
		if header := got.Header.Get("traceparent"); header != "" {
			t.Errorf("the receiver gets the traceparent %q, which is not switched on", header)
		}
	}
}

// A collector that cannot be reached costs traces only, and the log says so.
func TestACollectorThatIsAwayHoldsUpNothing(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
	a := apptest.New(t, tracing(false))
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	a.Publish("openid4vc.issuance.offered", "one")
	receiver.Wait(1)
	a.Await("the log tells of it", func() bool { return strings.Contains(a.Logs.String(), "traces are lost") })
}

// What one node accepts is delivered by others, too, within the same trace.
func TestATraceLeadsToOtherNodes(t *testing.T) {
	c := newCollector(t)
	started := 0
	all := nodes(t, pgtest.NewDatabase(t, pgtest.Start(t)), 2, tracing(false), func(c *app.Config) {
		started++
		c.Version = fmt.Sprint("node ", started)
	})
	r := apptest.NewReceiver(t, all[0].CA, nil)
	const endpoints = 20
	for i := range endpoints {
		all[0].Register(fmt.Sprintf("%s/%d", r.URL, i))
	}
	awaitShares(t, all)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	publishIn(t, all[0], "00-"+trace+"-b7ad6b7169203331-01", "one")
	all[0].Await("all attempts are in the trace", func() bool { return len(c.of(trace)["attempt"]) == endpoints })
	by := map[string]int{}
	for _, s := range c.of(trace)["attempt"] {
		by[s.By]++
	}
	if by["node 1"] == 0 || by["node 2"] == 0 {
		t.Errorf("the attempts were made by %v, want both", by)
	}
}

// A request that is traced can be answered by a stream.
func TestStreamsFlowWhereRequestsAreTraced(t *testing.T) {
	newCollector(t)
	a := apptest.New(t, tracing(false))
	first, second := a.Publish(offered, "one"), a.Publish(offered, "two")
	if got := follow(t, a.API, first, 1); !slices.Equal(got, []string{second}) {
		t.Errorf("the stream gives %q, want %s", got, second)
	}
}

// By default nothing is traced, although the environment names a collector, and
// nothing of it stays.
func TestNothingIsTracedByDefault(t *testing.T) {
	c := newCollector(t)
	a := apptest.New(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	publishIn(t, a, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "one")
	if got := receiver.Wait(1)[0].Header.Get("traceparent"); got != "" {
		t.Errorf("the receiver gets the traceparent %q", got)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if len(c.of("")) != 0 || bytes.Contains([]byte(a.Logs.String()), []byte("trace_id")) {
		t.Errorf("%d spans came", len(c.of("")))
	}
}
