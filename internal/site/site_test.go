package site_test

import (
	"compress/gzip"
	"fmt"
	"html"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tidings/deploy"
	"tidings/docs"
	"tidings/examples"
	"tidings/internal/site"
)

var folders = map[string]fs.FS{"docs": docs.Files, "examples": examples.Files, "deploy": deploy.Files}

func newSite(t *testing.T) *site.Site {
	t.Helper()
	s, err := site.New(site.Config{Files: folders, OpenAPI: "/openapi.json", Version: "1.2.3", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks for a path with these headers: name, value, ….
func get(s *site.Site, method, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, from io.Reader) string {
	t.Helper()
	all, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

var (
	linked = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	named  = regexp.MustCompile(`\bid="([^"]*)"`)
)

// crawl reads all pages that can be reached from the first, by their addresses.
func crawl(t *testing.T, s *site.Site) map[string]string {
	t.Helper()
	pages, waiting := map[string]string{}, []string{site.Prefix}
	for len(waiting) > 0 {
		address := waiting[0]
		waiting = waiting[1:]
		if _, known := pages[address]; known {
			continue
		}
		answer := get(s, "GET", address)
		body := text(t, answer.Body)
		if pages[address] = body; answer.StatusCode != http.StatusOK {
			t.Errorf("%s answers %d", address, answer.StatusCode)
		}
		if !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
			continue
		}
		for _, m := range linked.FindAllStringSubmatch(body, -1) {
			if to, _, _ := strings.Cut(html.UnescapeString(m[1]), "#"); strings.HasPrefix(to, site.Prefix) {
				waiting = append(waiting, to)
			}
		}
	}
	return pages
}

func isPage(body string) bool { return strings.HasPrefix(body, "<!DOCTYPE html>") }

// elsewhere is what pages may link to besides the site's own.
var elsewhere = regexp.MustCompile(`^(https://|/console$|/openapi\.json$|[a-z]+@)`)

// Every link of the site leads somewhere, to a heading that is there, and every
// page is found by links.
func TestEveryLinkAndAnchorResolves(t *testing.T) {
	pages := crawl(t, newSite(t))
	anchors := 0
	for address, body := range pages {
		if !isPage(body) {
			continue
		}
		ids := map[string]bool{}
		for _, m := range named.FindAllStringSubmatch(body, -1) {
			if ids[m[1]] {
				t.Errorf("%s has the id %q twice", address, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range linked.FindAllStringSubmatch(body, -1) {
			to, anchor, _ := strings.Cut(html.UnescapeString(m[1]), "#")
			target, known := body, true
			if to != "" {
				target, known = pages[to]
			}
			if !known && !elsewhere.MatchString(to) {
				t.Errorf("%s links to %s, which is not there", address, m[1])
			}
			if anchor == "" || !known {
				continue
			}
			if anchors++; !strings.Contains(target, `id="`+anchor+`"`) {
				t.Errorf("%s links to %s, where no such heading is", address, m[1])
			}
		}
	}
	if anchors < 100 {
		t.Errorf("only %d links to headings were found", anchors)
	}
	for folder, files := range folders {
		fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			at := path.Join(site.Prefix, strings.TrimPrefix(folder+"/"+strings.TrimSuffix(name, ".md"), "docs/"))
			at = strings.TrimSuffix(at, "/README")
			if _, reached := pages[at]; !reached {
				t.Errorf("no link leads to %s", at)
			}
			return nil
		})
	}
}

// A link of a page that the site does not have leads to a file of the repository,
// for those who read the page there.
func TestLinksWorkInTheRepositoryToo(t *testing.T) {
	relative := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	count := 0
	for _, folder := range []string{"docs", "examples"} {
		err := fs.WalkDir(folders[folder], ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || path.Ext(name) != ".md" {
				return err
			}
			body, err := fs.ReadFile(folders[folder], name)
			for _, m := range relative.FindAllStringSubmatch(string(body), -1) {
				count++
				if _, err := os.Stat(path.Join("../..", folder, path.Dir(name), m[1])); err != nil {
					t.Errorf("%s/%s links to %s: %v", folder, name, m[1], err)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if count < 20 {
		t.Errorf("only %d links were found", count)
	}
}

// A picture that a page shows has to be named in docs/docs.go, so that the
// program holds it, and none else.
func TestThePicturesOfThePagesAreEmbedded(t *testing.T) {
	shown := map[string]bool{}
	pages, err := fs.Glob(docs.Files, "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages {
		body, err := fs.ReadFile(docs.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`!\[[^]]*\]\(([^)]+)\)`).FindAllStringSubmatch(string(body), -1) {
			shown[m[1]] = true
		}
	}
	embedded, err := fs.Glob(docs.Files, "images/*")
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Sorted(maps.Keys(shown)); len(want) == 0 || !slices.Equal(embedded, want) {
		t.Errorf("docs/docs.go embeds %q, and the pages show %q", embedded, want)
	}
}

func TestPagesAreShownAsWritten(t *testing.T) {
	s := newSite(t)
	for _, row := range []struct {
		address, want string
	}{
		{"/docs", "<h1 id="},
		{"/docs/operating", `<h3 id="tidingsnotready">TidingsNotReady <a class="here" href="#tidingsnotready"`},
		{"/docs/operating", `<td><code>tidings_lanes{state}</code></td>`},
		{"/docs/operating", `<a href="/docs/deploy/grafana/tidings.json">`},
		{"/docs/operating", `<li><a href="/docs/operating" aria-current="page">`},
		{"/docs/decisions/0014-postgres-one-writer", "<h1"},
		{"/docs/architecture", `<pre class="drawing" tabindex="0"`},
		{"/docs/console", `<img src="/docs/images/issuance-completed-light.png" alt=`},
		{"/docs/examples", `<a href="/docs/cli#receive-on-your-own-machine">`},
		{"/docs/api-reference", `data-document="/openapi.json"`},
	} {
		answer := get(s, "GET", row.address)
		if body := text(t, answer.Body); answer.StatusCode != http.StatusOK || !strings.Contains(body, row.want) {
			t.Errorf("%s answers %d without %s", row.address, answer.StatusCode, row.want)
		}
	}
}

// Nothing of a page comes from elsewhere, and only the reference may run scripts.
func TestPagesLoadNothingFromElsewhere(t *testing.T) {
	s := newSite(t)
	outside := regexp.MustCompile(`(?:src|action)="(https?:)?//|<link[^>]*href="(https?:)?//|<script[^>]*>[^<]`)
	for address, body := range crawl(t, s) {
		answer := get(s, "HEAD", address)
		policy := answer.Header.Get("Content-Security-Policy")
		if scripts := strings.Contains(policy, "script-src 'self'"); !strings.HasPrefix(policy, "default-src 'none'") || scripts != (address == site.ReferencePath) ||
			strings.Contains(policy, "http") || strings.Contains(policy, "unsafe-eval") || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s has the policy %q", address, policy)
		}
		if isPage(body) && (outside.MatchString(body) || strings.Contains(body, "style=") || strings.Contains(body, "<style")) {
			t.Errorf("%s loads something from elsewhere, or carries style or script itself", address)
		}
	}
}

func TestAnswersThatAreNoPage(t *testing.T) {
	s := newSite(t)
	etag := get(s, "GET", "/docs/api").Header.Get("Etag")
	for _, row := range []struct {
		method, path string
		headers      []string
		status       int
		header, want string // of the answer
	}{
		{"GET", "/docs/nothing", nil, 404, "Content-Type", "text/html; charset=utf-8"},
		{"GET", "/docs/../go.mod", nil, 404, "", ""},
		{"GET", "/docs/api.md", nil, 404, "", ""},
		{"GET", "/docs/", nil, 301, "Location", "/docs"},
		{"GET", "/docs/decisions/", nil, 301, "Location", "/docs/decisions"},
		{"POST", "/docs", nil, 405, "Allow", "GET, HEAD"},
		{"GET", "/docs/api", []string{"If-None-Match", etag}, 304, "Etag", etag},
		{"HEAD", "/docs/api", nil, 200, "Content-Type", "text/html; charset=utf-8"},
		{"GET", "/docs/examples/go/main.go", nil, 200, "Content-Type", "text/plain; charset=utf-8"},
		{"GET", "/docs/deploy/prometheus/alerts.yml", nil, 200, "Content-Type", "text/plain; charset=utf-8"},
		{"GET", "/docs/deploy/grafana/tidings.json", nil, 200, "Content-Type", "application/json"},
	} {
		answer := get(s, row.method, row.path, row.headers...)
		if answer.StatusCode != row.status || row.header != "" && answer.Header.Get(row.header) != row.want {
			t.Errorf("%s %s answers %d with %s %q, want %d with %q", row.method, row.path, answer.StatusCode, row.header, answer.Header.Get(row.header), row.status, row.want)
		}
	}
}

// The component lies here compressed, and is given to those who do not take that, too.
func TestTheComponentIsGivenToEveryClient(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js"} {
		plain := get(s, "GET", site.ReferencePath+"/"+name)
		compressed := get(s, "GET", site.ReferencePath+"/"+name, "Accept-Encoding", "br, gzip")
		if compressed.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" {
			t.Fatalf("%s: encoded as %q and %q", name, compressed.Header.Get("Content-Encoding"), plain.Header.Get("Content-Encoding"))
		}
		reader, err := gzip.NewReader(compressed.Body)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := text(t, reader), text(t, plain.Body); a != b || len(a) < 100_000 {
			t.Errorf("%s has %d bytes compressed and %d plain", name, len(a), len(b))
		}
	}
}

func TestSearchFindsSections(t *testing.T) {
	s := newSite(t)
	found := regexp.MustCompile(`<li><p><a href="([^"]*)">`)
	for _, row := range []struct{ query, first string }{
		{"tidingsnotready", "/docs/operating#tidingsnotready"},
		{"Exit+CODES", "/docs/operating#signals-and-exit-codes"},
		{"zzz-nowhere", ""},
		{"", ""},
		{"%3Cscript%3Ealert(1)%3C/script%3E", ""},
		{strings.Repeat("%C3%A4", 500), ""},
		{"%ff%fe", ""},
	} {
		answer := get(s, "GET", "/docs/search?q="+row.query)
		body := text(t, answer.Body)
		first := ""
		if m := found.FindStringSubmatch(body); m != nil {
			first = m[1]
		}
		if answer.StatusCode != http.StatusOK || first != row.first || strings.Contains(body, "<script") {
			t.Errorf("%q: status %d, first %q, want %q", row.query, answer.StatusCode, first, row.first)
		}
	}
	hits := found.FindAllString(text(t, get(s, "GET", "/docs/search?q=e").Body), -1)
	if len(hits) != 30 {
		t.Errorf("%d sections are shown of many", len(hits))
	}
}

// The log names no path that a stranger made up.
func TestTheLogNamesKnownPathsOnly(t *testing.T) {
	var log strings.Builder
	s, err := site.New(site.Config{Files: folders, OpenAPI: "/openapi.json", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	get(s, "GET", "/docs/secret-of-somebody")
	get(s, "GET", "/docs/search?q=secret-of-somebody")
	get(s, "BREW", "/docs/secret-of-somebody")
	lines := slices.Collect(strings.Lines(log.String()))
	if len(lines) != 3 || strings.Contains(log.String(), "secret") || strings.Contains(log.String(), "BREW") {
		t.Errorf("%d lines:\n%s", len(lines), log.String())
	}
}

func BenchmarkFirstPage(b *testing.B) {
	for b.Loop() {
		s, err := site.New(site.Config{Files: folders, OpenAPI: "/openapi.json", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		if answer := get(s, "GET", "/docs"); answer.StatusCode != http.StatusOK {
			b.Fatal(fmt.Sprint(answer.StatusCode))
		}
	}
}
