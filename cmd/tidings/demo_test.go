package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tidings/internal/localca"
	"tidings/webhook"
)

// demoRun runs the demo and checks that it leaves no file and no goroutine.
func demoRun(t *testing.T, ctx context.Context, w interface {
	Write([]byte) (int, error)
	String() string
}) (output string, err error) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ignore := goleak.IgnoreCurrent()
	err = runDemo(ctx, w, slog.New(slog.DiscardHandler))
	goleak.VerifyNone(t, ignore)
	left, readErr := os.ReadDir(dir)
	if readErr != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, readErr)
	}
	return w.String(), err
}

func TestTheDemoShowsAllSix(t *testing.T) {
	started := time.Now()
	out, err := demoRun(t, t.Context(), &bytes.Buffer{})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, want := range []string{
		`✓ offered +signature verified +attempt 1 `,
		`✓ completed +signature verified +attempt 1 `,
		`✓ failed +signature verified +attempt 1 `,
		`✓ expired +signature verified +attempt 1 `,
		`! offered +signature verified +attempt 1 .*500, on purpose`,
		`✓ offered +signature verified +attempt 2 .*204, processed`,
		`! offered +signature verified +attempt 1 .*the connection breaks`,
		`✓ offered +signature verified +attempt 2 .*204, a duplicate: dropped`,
		`attempt 1: 500 server_error, attempt 2: 204 delivered`,
		`attempt 1: closed, attempt 2: 204 delivered`,
		`(?s)curl -X POST "https://127.0.0.1:\d+/me-creds/api/endpoints".*"url": "https://127.0.0.1:\d+/webhooks/credentials"`,
		`All 6 seen in \d`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the output does not match %s", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// interruptedAt ends the demo, as Ctrl-C does, as soon as a text is written.
type interruptedAt struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (w *interruptedAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.cancel()
	}
	return w.Buffer.Write(p)
}

func TestAnInterruptedDemoSaysWhatIsMissing(t *testing.T) {
	for text, missing := range map[string]string{
		"Tidings demo":    "missing: offered, completed, failed, expired, retried, duplicate",
		"Nobody comes":    "missing: expired, retried, duplicate",
		"500, on purpose": "missing: retried, duplicate",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out, err := demoRun(t, ctx, &interruptedAt{text: text, cancel: cancel})
		cancel()
		if err == nil || !strings.HasSuffix(err.Error(), missing) {
			t.Errorf("interrupted at %q: error %v, want %q", text, err, missing)
		}
		if !strings.Contains(out, "✗ duplicate  missing") {
			t.Errorf("interrupted at %q, the summary does not say what is missing:\n%s", text, out)
		}
	}
}

func TestTheDemoReceiverRefusesForgeries(t *testing.T) {
	ca, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	r, err := newDemoReceiver(ca)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	r.trust(webhook.NewSecret())
	forger, err := webhook.NewSigner(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"i"}}`
	req := httptest.NewRequest(http.MethodPost, r.url, strings.NewReader(body))
	if err := forger.SetHeaders(req.Header, "e1", time.Now(), []byte(body)); err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	r.receive(answer, req)
	if a := <-r.arrivals; a.verdict != unverified || answer.Code != http.StatusBadRequest || r.known["e1"] {
		t.Errorf("a forged webhook is %s, answered %d", a.verdict, answer.Code)
	}
}
