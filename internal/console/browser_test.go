package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tidings/internal/apptest"
)

// axePath is where internal/foreign/install.sh puts axe-core.
const axePath = "../foreign/node_modules/axe-core/axe.min.js"

// screenshots names the folder that gets a picture of each page that is
// checked; empty: none is taken. make screenshots sets it.
var screenshots = os.Getenv("TIDINGS_SCREENSHOTS")

// patience is how long anything in the browser may take.
const patience = 2 * time.Minute

// chromium starts the one browser of these tests, which ends with them.
var chromium = sync.OnceValues(func() (context.Context, error) {
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return nil, fmt.Errorf("Chromium is needed: scripts/install-chromium.sh installs it")
	}
	if _, err := os.Stat(axePath); err != nil {
		return nil, fmt.Errorf("axe-core is needed: internal/foreign/install.sh installs it: %w", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.IgnoreCertErrors) // the authority is the test's own
	allocator, _ := chromedp.NewExecAllocator(context.Background(), options...)
	browser, _ := chromedp.NewContext(allocator)
	return browser, chromedp.Do(browser)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if browserUsed {
		if browser, err := chromium(); err == nil {
			chromedp.Cancel(browser)
		}
	}
	os.Exit(code)
}

var browserUsed bool

// tab is a window of its own in the browser, with cookies of its own.
type tab struct {
	t   *testing.T
	ctx context.Context
	app *apptest.App

	unpictured bool // no pictures are taken of its pages

	mu       sync.Mutex
	problems []string // what the browser complained about
}

func newTab(t *testing.T, app *apptest.App) *tab {
	t.Helper()
	browserUsed = true
	browser, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, app: app}
	err = chromedp.Listen(ctx, func(event any) {
		entry, ok := event.(*log.EventEntryAdded)
		if !ok || entry.Entry.Level != log.EntryLevelError || entry.Entry.Source == log.EntrySourceNetwork {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.problems = append(b.problems, entry.Entry.Text)
	})
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(1280, 900))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, problem := range b.problems {
			t.Errorf("the browser says: %s", problem)
		}
	})
	return b
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := b.try(patience, actions...); err != nil {
		b.t.Fatalf("%v, on %s:\n%s", err, b.where(), b.text())
	}
}

func (b *tab) try(most time.Duration, actions ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(b.ctx, most)
	defer cancel()
	return chromedp.Do(ctx, actions...)
}

// eval gives what an expression comes to.
func eval[T any](b *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// must gives what an expression comes to, which has to come to something.
func must[T any](b *tab, expression string) T {
	b.t.Helper()
	out, err := eval[T](b, expression)
	if err != nil {
		b.t.Fatalf("%v, on %s:\n%s", err, b.where(), b.text())
	}
	return out
}

// where gives the address, and text the words of the page, for messages.
func (b *tab) where() string {
	url, _ := eval[string](b, "location.href")
	return url
}

func (b *tab) text() string {
	words, _ := eval[string](b, "document.body ? document.body.innerText.slice(0, 3000) : ''")
	return words
}

// open goes to a page of the console.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.app.URL + "/console" + path))
}

// until waits until an expression is true. Pages may change meanwhile.
func (b *tab) until(expression string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if so, err := eval[bool](b, "document.readyState === 'complete' && !!("+expression+")"); err == nil && so {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("it is still not so that %s, on %s:\n%s", expression, b.where(), b.text())
		}
		<-tick.C
	}
}

// sees waits until the page says something, anywhere.
func (b *tab) sees(words string) {
	b.t.Helper()
	quoted, _ := json.Marshal(words)
	b.until("document.body.innerText.includes(" + string(quoted) + ")")
}

// at waits until a page of the console is there.
func (b *tab) at(path string) {
	b.t.Helper()
	quoted, _ := json.Marshal("/console" + path)
	b.until("location.pathname === " + string(quoted))
}

// click presses what a selector or, in /…/, the words of a button, link or
// summary name. It tries again where a live part was renewed under the pointer.
func (b *tab) click(what string) {
	b.t.Helper()
	selector := what
	if words, ok := strings.CutPrefix(what, "/"); ok && !strings.HasPrefix(words, "/") {
		selector = fmt.Sprintf(`//*[self::a or self::button or self::summary][normalize-space(.)=%q]`, strings.TrimSuffix(words, "/"))
	}
	var err error
	for range 5 {
		if err = b.try(patience/5, chromedp.Click(selector, chromedp.NodeVisible)); err == nil {
			return
		}
	}
	b.t.Fatalf("clicking %s: %v, on %s:\n%s", what, err, b.where(), b.text())
}

// fill types into a field that is emptied before.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.set(selector, "")
	b.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// choose takes an option of a select, by its value.
func (b *tab) choose(selector, value string) {
	b.t.Helper()
	b.set(selector, value)
}

func (b *tab) set(selector, value string) {
	b.t.Helper()
	text, _ := json.Marshal([]string{selector, value})
	b.until("document.querySelector(" + string(text) + "[0])")
	must[int](b, "{ const [selector, value] = "+string(text)+"; document.querySelector(selector).value = value; } 0")
}

// keys presses keys, as a person without a mouse does.
func (b *tab) keys(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// focus goes to a field, as the tab key does after some presses.
func focus(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Focus(chromedp.CSS(selector))
}

const tabKey, enterKey = kb.Tab, kb.Enter

// signIn signs in as a client, by keyboard alone.
func (b *tab) signIn(id, secret string) {
	b.t.Helper()
	b.open("")
	b.at("/sign-in")
	b.until("document.activeElement.id === 'client_id'")
	b.keys(id)
	b.keys(tabKey)
	b.keys(secret)
	b.keys(enterKey)
	b.at("")
}

// violation is a rule of axe that a page breaks.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML, FailureSummary string }
}

// check proves of the page that is shown that axe-core finds nothing serious in
// it, light and dark, and that it does not overflow on a narrow phone; and takes
// its pictures where they are wanted.
func (b *tab) check(name string) {
	b.t.Helper()
	axe, err := os.ReadFile(axePath)
	if err != nil {
		b.t.Fatal(err)
	}
	b.until("document.querySelector('main')")
	// What changes by itself meanwhile would be looked at half-way.
	must[int](b, `document.querySelectorAll("[data-live]").forEach((part) => part.removeAttribute("data-live")); 0`)
	must[int](b, string(axe)+"; 0")
	for _, scheme := range []string{"light", "dark"} {
		b.media(&emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme})
		found := must[[]violation](b, `axe.run({ resultTypes: ["violations"] }).then((r) => r.violations.map((v) =>
			({ ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.map((n) => ({ HTML: n.html, FailureSummary: n.failureSummary })) })))`)
		for _, v := range found {
			if v.Impact != "serious" && v.Impact != "critical" {
				continue
			}
			for _, n := range v.Nodes {
				b.t.Errorf("%s, %s: axe says %s (%s): %s\n%s\n%s", name, scheme, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
			}
		}
		b.picture(name, scheme)
	}
	b.do(chromedp.EmulateViewport(360, 740))
	// Nothing reaches beyond the screen, be it that one could scroll there or that
	// it is cut off; but for what scrolls by itself, and what is for ears only.
	wide := must[[]string](b, `(() => {
		const scrolls = (e) => e && e !== document.body && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
		const beyond = (e) => { const at = e.getBoundingClientRect(); return at.right > 361 && at.width > 1 };
		const cut = (e) => getComputedStyle(e).overflowX === "hidden" && e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1;
		return [...document.querySelectorAll("body *")].filter((e) => (beyond(e) || cut(e)) && !scrolls(e)).slice(0, 5).map((e) => e.outerHTML.slice(0, 200));
	})()`)
	if most := must[int](b, "document.documentElement.scrollWidth"); most > 360 {
		b.t.Errorf("%s can be scrolled to %d px on a phone of 360 px", name, most)
	}
	if len(wide) > 0 {
		b.t.Errorf("%s is wider than a phone of 360 px: %s", name, strings.Join(wide, "\n"))
	}
	b.picture(name, "phone")
	b.media()
	b.do(chromedp.EmulateViewport(1280, 900))
}

// media sets what a page is told of the person's wishes; never to move.
func (b *tab) media(features ...*emulation.MediaFeature) {
	b.t.Helper()
	features = append(features, &emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		b.t.Fatal(err)
	}
}

// picture takes a picture of the whole page, if pictures are wanted.
func (b *tab) picture(name, of string) {
	b.t.Helper()
	if screenshots == "" || b.unpictured {
		return
	}
	must[int](b, "scrollTo(0, 0); 0")
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(screenshots, name+"-"+of+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
