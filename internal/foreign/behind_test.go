package foreign

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/apptest"
)

// behind is the issuer of examples/credo: Credo's, with Tidings behind it.
type behind struct {
	w      *world
	node   string
	folder string
	front  *httptest.Server        // over https, as wallets want it
	at     atomic.Pointer[url.URL] // where the front leads to
	offers string                  // where offers are made
	cmd    *exec.Cmd
	out    *apptest.Log
}

func newBehind(w *world) *behind {
	w.t.Helper()
	b := &behind{w: w}
	b.node, b.folder = nodeExample(w.t, "credo")
	certificate, err := w.CA.Issue("127.0.0.1")
	if err != nil {
		w.t.Fatal(err)
	}
	b.front = httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(b.at.Load()) }})
	b.front.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	b.front.StartTLS()
	w.t.Cleanup(b.front.Close)
	b.start()
	return b
}

var listens = regexp.MustCompile(`wallets: (\S+), offers: (\S+)`)

// start starts the issuer on what an earlier run has left.
func (b *behind) start() {
	t := b.w.t
	t.Helper()
	b.cmd, b.out = exec.Command(b.node, "issuer.mjs"), &apptest.Log{}
	b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = b.folder, b.out, b.out
	b.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NODE_EXTRA_CA_CERTS=" + b.w.files.CA, "PORT=0", "DATA=" + b.folder, "PUBLIC_URL=" + b.front.URL,
		"TIDINGS_URL=" + b.w.URL, "TIDINGS_CLIENT_ID=" + apptest.ClientID, "TIDINGS_CLIENT_SECRET=" + apptest.ClientSecret}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, out, killed := b.cmd, b.out, time.AfterFunc(programLife, func() { b.cmd.Process.Kill() })
	t.Cleanup(func() {
		killed.Stop()
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait() // it was killed
		}
		if t.Failed() {
			t.Logf("the issuer printed:\n%s", out.String())
		}
	})
	apptest.Await(t, "the issuer listens", func() bool {
		found := listens.FindStringSubmatch(out.String())
		if found == nil {
			return false
		}
		at, err := url.Parse(found[1])
		b.at.Store(at)
		b.offers = found[2]
		return err == nil
	})
}

// kill ends the issuer without a warning.
func (b *behind) kill() {
	b.cmd.Process.Kill()
	b.cmd.Wait() // it was killed
}

// offer has the issuer make an offer, which is open for so many seconds.
func (b *behind) offer(seconds int) (id, offerURI string) {
	t := b.w.t
	t.Helper()
	body, err := json.Marshal(object{"claims": object{"holder_name": "Ada Example"}, "expiresIn": seconds})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(b.offers, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var made struct{ ID, OfferURI string }
	if err := json.NewDecoder(answer.Body).Decode(&made); err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("no offer was made: %d, %v", answer.StatusCode, err)
	}
	return made.ID, made.OfferURI
}

// claim accepts an offer with Credo's holder.
func (b *behind) claim(offerURI string) {
	b.w.t.Helper()
	wallet := b.w.credo()
	wallet.do("resolve", object{"offerUri": offerURI, "anchor": strings.TrimSuffix(b.offers, "/offers") + "/certificate.pem"}, nil)
	wallet.do("redeem", nil, nil)
	var got struct{ Claims object }
	wallet.do("request", nil, &got)
	if got.Claims["holder_name"] != "Ada Example" {
		b.w.t.Errorf("the credential holds %v", got.Claims)
	}
}

// What becomes of the offers of Credo's issuer arrives at a receiver as signed
// webhooks of Tidings.
func TestBehindCredo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := newBehind(w)
	accepted, offerURI := b.offer(600)
	ignored, _ := b.offer(1)
	b.claim(offerURI)
	w.told(accepted, "offered", "completed")
	w.told(ignored, "offered", "expired")
}

// While Tidings is away the issuer goes on, and is killed; what happened
// meanwhile is told once both are back, each event once, in its order.
func TestBehindCredoNothingIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := newBehind(w)
	before, first := b.offer(600)
	w.told(before, "offered")
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	b.claim(first)
	during, second := b.offer(600)
	apptest.Await(t, "the issuer finds Tidings away", func() bool { return strings.Contains(b.out.String(), "Tidings was not told of") })
	b.kill()
	w.Restart()
	b.start()
	w.told(before, "offered", "completed")
	w.told(during, "offered")
	b.claim(second)
	w.told(during, "offered", "completed")

	// A crash may come after Tidings took an event, and before that is written
	// down: what is told once more makes no second event.
	b.kill()
	journal := filepath.Join(b.folder, "told.jsonl")
	if err := os.WriteFile(journal, []byte("\n{\"begun\":true}"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	last, _ := b.offer(600)
	w.told(last, "offered")
	w.told(before, "offered", "completed")
	w.told(during, "offered", "completed")
}

// A first start that is cut off leaves a journal that says nothing. The next one
// is the first again, and tells no history.
func TestBehindCredoAFirstStartThatIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := newBehind(w)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	history, _ := b.offer(600)
	b.kill()
	if err := os.WriteFile(filepath.Join(b.folder, "told.jsonl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Restart()
	b.start()
	fresh, _ := b.offer(600)
	w.told(fresh, "offered")
	w.receiver.Until(func(got []apptest.Received) bool {
		for _, r := range got {
			if strings.Contains(string(r.Body), history) {
				t.Errorf("the second start tells of what was before the first: %s", r.Body)
			}
		}
		return true
	})
}
