package console_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"tidings/internal/apptest"
)

// The documentation stands beside the console, and its pages have to hold what
// the console's do.
func TestTheDocumentationInTheBrowser(t *testing.T) {
	app := apptest.New(t)
	b := newTab(t, app)
	b.unpictured = true
	docs := func(path string) {
		t.Helper()
		b.do(chromedp.Navigate(app.URL + "/docs" + path))
		b.until("document.querySelector('main h1')")
	}
	docs("")
	pages := must[[]string](b, "[...document.querySelectorAll('nav > ul > li > a')].map((a) => a.pathname.slice(5)).filter((p) => p != '/api-reference')")
	if len(pages) < 10 {
		t.Fatalf("only %d pages are listed", len(pages))
	}
	for _, path := range append(pages, "/decisions/0015-documentation-in-the-program", "/nothing") {
		docs(path)
		b.check("docs" + strings.ReplaceAll(path, "/", "-"))
	}

	docs("")
	b.click("/Operating/")
	b.until("location.pathname === '/docs/operating'")
	b.click("nav a[href='#signals-and-exit-codes']")
	b.until("location.hash === '#signals-and-exit-codes'")
	b.fill("#q", "exit codes")
	b.keys(enterKey)
	b.until("location.pathname === '/docs/search'")
	b.sees("Signals and exit codes")
	b.check("docs-search")
	b.click(".found a")
	b.until("location.pathname === '/docs/operating'")
}

// The reference shows what /openapi.json says: operations, and the webhooks; and
// it calls the API with a token.
func TestTheReferenceOfTheAPIInTheBrowser(t *testing.T) {
	app := apptest.New(t)
	b := newTab(t, app)
	open := func(path string) string {
		t.Helper()
		block := ".opblock:has([data-path='" + path + "'])"
		b.do(chromedp.Click(chromedp.CSS(block+" .opblock-summary-control"), chromedp.NodeVisible))
		return block
	}
	b.do(chromedp.Navigate(app.URL + "/docs/api-reference"))
	b.sees("/credentials/issuance")
	open("/credentials/issuance")
	b.sees("Request body")
	open("openid4vc.issuance.completed")
	b.sees("openId4VcIssuanceId")
	if heading := must[string](b, "document.querySelector('.webhooks:has([data-path=\"openid4vc.issuance.completed\"]) h2').innerText"); heading != "Webhooks" {
		t.Errorf("the webhooks stand below %q", heading)
	}

	b.do(chromedp.Click(chromedp.CSS(".btn.authorize"), chromedp.NodeVisible))
	b.until("document.querySelector('#auth-bearer-value')")
	b.do(chromedp.SendKeys(chromedp.CSS("#auth-bearer-value"), app.Token()))
	b.do(chromedp.Click(chromedp.CSS(".auth-container:has(#auth-bearer-value) .authorize"), chromedp.NodeVisible))
	b.do(chromedp.Click(chromedp.CSS(".close-modal"), chromedp.NodeVisible))
	block := open("/audit")
	b.do(chromedp.Click(chromedp.CSS(block+" .try-out__btn"), chromedp.NodeVisible))
	b.do(chromedp.Click(chromedp.CSS(block+" .execute"), chromedp.NodeVisible))
	b.until("[...document.querySelectorAll(`" + block + " .live-responses-table .response-col_status`)].some((e) => e.innerText.startsWith('200'))")

	if must[bool](b, "document.querySelector('main').innerText.includes('Warning')") {
		t.Error("the component warns of the document")
	}
	b.do(chromedp.EmulateViewport(360, 740))
	if wide := must[int](b, "document.documentElement.scrollWidth"); wide > 360 {
		t.Errorf("the page is %d px wide on a phone", wide)
	}
}
