package apptest_test

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/pgtest"
	"tidings/internal/wallet"
)

// An embedded installation with pending deliveries and an open offer moves to
// PostgreSQL: what was accepted arrives, the wallet gets its credential, and what
// was signed before verifies.
func TestMove(t *testing.T) {
	url := pgtest.NewDatabase(t, pgtest.Start(t))
	p := apptest.Serve(t, apptest.Setup{Plain: true, Flags: []string{oftenRetried}})
	tally, open := newTally(), atomic.Bool{}
	receiver := apptest.NewReceiver(t, p.CA, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		if !open.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		tally.answer(w, r, got)
	})
	w := newWallet(t, p.API)
	before, _, issuer := resolved(t, p, w, apptest.Object{"credentialTemplateId": template(p.API), "attributes": apptest.Object{"name": "A"}})
	held, err := w.Claim(t.Context(), before.OfferURI)
	if err != nil {
		t.Fatal(err)
	}
	waiting, _, _ := resolved(t, p, w, apptest.Object{"credentialTemplateId": templateOf(p.API, "Second"), "attributes": apptest.Object{"name": "B"}})
	p.Register(receiver.URL)
	ids := publish(t, p.API, many(300, offered, "moved")...)
	awaitAttempt(p)

	if out, code := move(t, p.Dir, url); code != 1 || !strings.Contains(out, "another tidings process") {
		t.Errorf("moving beside the server ends with %d: %s", code, out)
	}
	if code := p.Stop(); code != 0 {
		t.Fatalf("the server ends with %d", code)
	}
	if out, code := move(t, filepath.Join(p.Dir, "nothing"), url); code != 3 {
		t.Errorf("moving nothing ends with %d: %s", code, out)
	}
	if out, code := move(t, p.Dir, "mysql://x"); code != 2 {
		t.Errorf("moving to no PostgreSQL ends with %d: %s", code, out)
	}
	if out, code := move(t, p.Dir, "postgres://127.0.0.1:1/none"); code != 74 {
		t.Errorf("moving to a PostgreSQL that is not there ends with %d: %s", code, out)
	}
	if out, code := move(t, p.Dir, url); code != 0 || !strings.Contains(out, "queue: 300 of 300 rows") {
		t.Fatalf("moving ends with %d: %s", code, out)
	}
	if out, code := move(t, p.Dir, url); code != 1 || !strings.Contains(out, "not empty") {
		t.Errorf("moving once more ends with %d: %s", code, out)
	}

	open.Store(true)
	p.Use(url)
	p.Start()
	p.Await("every accepted event has arrived", func() bool { return tally.missing("/webhooks", ids) == 0 })
	if _, err := w.Verify(t.Context(), issuer, held.Credential); err != nil {
		t.Errorf("a credential from before: %v", err)
	}
	after, err := w.Claim(t.Context(), waiting.OfferURI)
	if err != nil {
		t.Fatal(err)
	}
	if err := after.Notify(t.Context(), wallet.Accepted); err != nil {
		t.Error(err)
	}
	p.Await("nothing is pending", func() bool { return len(list[struct{}](p.API, "/deliveries?filter[status]=pending")) == 0 })
	p.Check()
}

// move runs the command and gives what it printed, and its exit code.
func move(t *testing.T, from, to string) (out string, code int) {
	t.Helper()
	c := exec.Command(apptest.Binary(t, false), "move", "--from", from, "--to", to)
	text, _ := c.CombinedOutput() // the code tells
	return string(text), c.ProcessState.ExitCode()
}
