// Package site serves the documentation below [Prefix]: the Markdown of the
// repository as pages that work without scripts, on a phone and in the dark, and
// a reference of the API, which a component renders from the OpenAPI document.
// Nothing is loaded from elsewhere.
package site

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/swaggest/swgui/v5/static" // Swagger UI as a Go module: it shows OpenAPI 3.1 with its webhooks
)

// Prefix is the path below which the documentation stands.
const Prefix = "/docs"

// ReferencePath is where the reference of the API stands.
const ReferencePath = Prefix + "/api-reference"

// Config says what a [Site] shows.
type Config struct {
	// Files are folders of the repository by their names. The pages of "docs"
	// stand at [Prefix] itself, those of another folder below its name.
	Files map[string]fs.FS
	// OpenAPI is the path of the document that the reference shows.
	OpenAPI string
	// Version is that of the product.
	Version string
	// Log gets one line per request; nil means [slog.Default].
	Log *slog.Logger
}

// Site is the documentation as an [http.Handler].
type Site struct {
	cfg     Config
	layout  *template.Template
	content func() (content, error) // rendered when it is first asked for
}

// content is what there is.
type content struct {
	sources map[string]bool  // the files of the repository
	pages   map[string]*page // by address
	files   map[string]*file // the same
	order   []*page          // by address
}

//go:embed assets pages
var own embed.FS

// New makes a site.
func New(cfg Config) (*Site, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	layout, err := template.ParseFS(own, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("reading the layout of the documentation: %w", err)
	}
	s := &Site{cfg: cfg, layout: layout}
	s.content = sync.OnceValues(func() (content, error) {
		c, err := render(cfg.Files)
		if err != nil {
			return c, fmt.Errorf("rendering the documentation: %w", err)
		}
		return c, c.addComponent()
	})
	return s, nil
}

// file is something that is served as it is.
type file struct {
	kind       string // its media type
	body       []byte
	compressed bool // with gzip
	etag       string
}

func newFile(kind string, body []byte) *file {
	sum := sha256.Sum256(body)
	return &file{kind: kind, body: body, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// kinds are the media types of what is no page; all else is shown as text.
var kinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	".png": "image/png", ".json": "application/json",
}

func kindOf(name string) string {
	if kind := kinds[path.Ext(name)]; kind != "" {
		return kind
	}
	return "text/plain; charset=utf-8"
}

// addComponent adds the site's own files and those of the API's reference.
func (c *content) addComponent() error {
	add := func(files fs.FS, name, address string) error {
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		plain, compressed := strings.CutSuffix(address, ".gz")
		c.files[plain] = newFile(kindOf(plain), body)
		c.files[plain].compressed = compressed
		return nil
	}
	for _, name := range []string{"site.css", "reference.css", "reference.js", "icon.svg"} {
		if err := add(own, "assets/"+name, Prefix+"/assets/"+name); err != nil {
			return err
		}
	}
	for _, name := range []string{"swagger-ui.css.gz", "swagger-ui-bundle.js.gz"} {
		if err := add(static.FS, name, ReferencePath+"/"+name); err != nil {
			return fmt.Errorf("reading the component of the API's reference: %w", err)
		}
	}
	return nil
}

// policy lets the pages load nothing but the site's own pictures and style.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// referencePolicy is for the component, which is a script, sets styles, draws its
// icons as data and calls the API. It gets nothing from elsewhere either.
const referencePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-cache")
	status, route := s.answer(w, r)
	s.cfg.Log.InfoContext(r.Context(), "request", "method", methodName(r.Method), "route", route, "status", status, "duration", time.Since(start))
}

// methodName keeps a stranger's invention out of the log.
func methodName(m string) string {
	if m == http.MethodGet || m == http.MethodHead {
		return m
	}
	return "other"
}

// answer answers, and tells the status and what was asked for: nothing of the
// log is what a stranger made up.
func (s *Site) answer(w http.ResponseWriter, r *http.Request) (status int, route string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Pages are read with GET.", http.StatusMethodNotAllowed)
		return http.StatusMethodNotAllowed, Prefix
	}
	c, err := s.content()
	if err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "the documentation cannot be shown", "error", err)
		http.Error(w, "The documentation cannot be shown. Why stands in the server's log.", http.StatusInternalServerError)
		return http.StatusInternalServerError, Prefix
	}
	address := r.URL.Path
	if plain := strings.TrimRight(address, "/"); plain != address && c.has(plain) {
		http.Redirect(w, r, plain, http.StatusMovedPermanently)
		return http.StatusMovedPermanently, plain
	}
	switch f, p := c.files[address], c.pages[address]; {
	case f != nil:
		return f.serve(w, r), address
	case p != nil:
		return s.show(w, r, http.StatusOK, view{Title: p.title, Page: p, Body: p.body}, &c), address
	case address == ReferencePath:
		w.Header().Set("Content-Security-Policy", referencePolicy)
		return s.show(w, r, http.StatusOK, view{Title: "API reference", Reference: s.cfg.OpenAPI}, &c), address
	case address == searchPath:
		q := r.URL.Query().Get("q")
		return s.show(w, r, http.StatusOK, view{Title: "Search", Query: bounded(q), Found: search(c.order, q), Search: true}, &c), address
	}
	return s.show(w, r, http.StatusNotFound, view{Title: "Not found", Missing: true}, &c), "unknown"
}

func (c *content) has(address string) bool {
	return c.pages[address] != nil || address == ReferencePath || address == searchPath
}

// serve gives the file, compressed where the client takes that.
func (f *file) serve(w http.ResponseWriter, r *http.Request) int {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Etag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	switch {
	case !f.compressed:
		w.Write(f.body)
	case strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"):
		h.Set("Content-Encoding", "gzip")
		w.Write(f.body)
	default:
		plain, err := gzip.NewReader(bytes.NewReader(f.body))
		if err == nil {
			_, err = io.Copy(w, plain)
		}
		if err != nil {
			return http.StatusInternalServerError
		}
	}
	return http.StatusOK
}

// view is what every page is rendered from.
type view struct {
	Title   string
	Version string
	Groups  []group
	Page    *page // nil where there is none
	Body    template.HTML

	Search    bool
	Query     string
	Found     []hit
	Missing   bool
	Reference string // the document that it shows
}

// show writes a page.
func (s *Site) show(w http.ResponseWriter, r *http.Request, status int, v view, c *content) int {
	v.Version, v.Groups = s.cfg.Version, groups(c.order)
	var out bytes.Buffer
	if err := s.layout.ExecuteTemplate(&out, "layout.html", v); err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "rendering a page of the documentation", "error", err)
		http.Error(w, "This page cannot be shown. Why stands in the server's log.", http.StatusInternalServerError)
		return http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if status == http.StatusOK {
		sum := sha256.Sum256(out.Bytes())
		etag := `"` + hex.EncodeToString(sum[:12]) + `"`
		h.Set("Etag", etag)
		if strings.Contains(r.Header.Get("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return http.StatusNotModified
		}
	}
	w.WriteHeader(status)
	w.Write(out.Bytes())
	return status
}
