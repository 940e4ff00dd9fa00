package console

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidings"
)

//go:embed pages
var pageFiles embed.FS

// pages are the templates by name, each with the layout around it.
type pages map[string]*template.Template

// parsePages reads every page once. Times are told relative to now.
func parsePages(now func() time.Time) (pages, error) {
	funcs := template.FuncMap{
		"ago":      func(t any) template.HTML { return timeElement(t, now(), "", "") },
		"when":     func(t any) template.HTML { return timeElement(t, now(), " ", "") },
		"said":     func(t any) template.HTML { return timeElement(t, now(), " (", ")") }, // within a sentence
		"exact":    func(t time.Time) string { return exact(t) },
		"duration": duration,
		"count":    count,
		"percent":  percent,
		"inc":      func(n int) int { return n + 1 },
		"list":     func(words ...string) []string { return words },
		"text":     func(s any) string { return fmt.Sprint(s) },
		"link":     link,
		"status":   statusPill,
		"type":     typeName,
		"asset":    assetPath,
		"nav":      nav,
		"clock":    func(t time.Time) string { return t.UTC().Format("15:04") },
		"prefix":   func() string { return Prefix },
	}
	layout, err := template.New("layout.html").Funcs(funcs).ParseFS(pageFiles, "pages/layout.html", "pages/parts.html")
	if err != nil {
		return nil, fmt.Errorf("reading the console's layout: %w", err)
	}
	files, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, err
	}
	out := pages{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "pages/"), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		page, err := layout.Clone()
		if err == nil {
			_, err = page.ParseFS(pageFiles, file)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the console's page %s: %w", name, err)
		}
		out[name] = page
	}
	return out, nil
}

// view is what every page is rendered from.
type view struct {
	Title   string
	Section string
	Org     string // empty where nobody is signed in
	Client  string
	CSRF    string
	Admin   bool
	Publish bool
	Version string
	Done    string // what the action did from which the page was reached
	Live    bool   // a page that can be loaded again
	Notices []notice

	MoreNotices int // that are not among them
	Body        any
}

// render writes a page.
func (c *Console) render(w io.Writer, r *request, a answer) error {
	page := c.pages[a.page]
	if page == nil {
		return fmt.Errorf("there is no page %q", a.page)
	}
	v := view{Title: a.title, Section: a.section, CSRF: c.csrf(r.session), Version: c.cfg.Version, Body: a.body}
	if r.ClientID != "" {
		v.Org, v.Client = r.Organisation.Slug, r.ClientID
		v.Admin, v.Publish = r.can(tidings.ScopeAdmin), r.can(tidings.ScopePublish)
		v.Done = done(r.query)
		if v.Live = a.status == 0 && r.http.Method == http.MethodGet; v.Live {
			var err error
			if v.Notices, err = c.notices(r.http.Context(), r); err != nil {
				return err
			}
			if n := len(v.Notices); n > mostNotices {
				v.Notices, v.MoreNotices = v.Notices[:mostNotices], n-mostNotices
			}
		}
	}
	return page.ExecuteTemplate(w, "layout.html", v)
}

// dones are the sentences that a page says after an action led to it.
var dones = map[string]string{
	"created":    "Created.",
	"saved":      "Saved.",
	"paused":     "Paused. Deliveries are kept, and sent once the endpoint is enabled again.",
	"enabled":    "Enabled. What has waited is sent now, in order.",
	"deleted":    "Deleted. Its pending deliveries are canceled; what was delivered stays readable.",
	"rotated":    "There is a new secret. The one before signs along until it expires.",
	"retried":    "It is sent again.",
	"tested":     "The sample is on its way. The answer appears here by itself.",
	"recovered":  "The recovery has begun.",
	"offered":    "The offer is ready. Show the code to the holder, or send the link.",
	"archived":   "Archived. No new offers can be made from it.",
	"unarchived": "Offers can be made from it again.",
	"canceled":   "Canceled. The offer cannot be accepted any more.",
	"approved":   "Approved.",
	"denied":     "Denied.",
	"revoked":    "Revoked, for good.",
	"suspended":  "Suspended.",
	"resumed":    "Resumed.",
}

// done gives the sentence that belongs to the query's ?done=…: none but these.
func done(q url.Values) string {
	if q.Get("done") != "resent" {
		return dones[q.Get("done")]
	}
	n, _ := strconv.Atoi(q.Get("n"))
	skipped, _ := strconv.Atoi(q.Get("skipped"))
	out := count(n) + " sent again."
	if n == 0 {
		out = "There was nothing to send again."
	}
	if skipped > 0 {
		out += " " + count(skipped) + " left alone: they have arrived since, or their endpoint was deleted."
	}
	if q.Get("more") != "" {
		out += " There are more: send again once more to go on."
	}
	return out
}

// exact writes a time in full.
func exact(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// timeElement writes a time relative to now, and exact: beside it, between what
// opens and what closes, or, where nothing opens, as its title only. A nil
// pointer gives a dash.
func timeElement(of any, now time.Time, opens, closes string) template.HTML {
	var t time.Time
	switch v := of.(type) {
	case time.Time:
		t = v
	case *time.Time:
		if v != nil {
			t = *v
		}
	}
	if t.IsZero() {
		return `<span class="none">–</span>`
	}
	// Nothing of it comes from a stranger.
	element := `<time datetime="` + t.UTC().Format("2006-01-02T15:04:05.000Z") + `" title="` + exact(t) + `">` + relative(t, now) + `</time>`
	if opens != "" {
		element += opens + `<span class="exact">` + exact(t) + `</span>` + closes
	}
	return template.HTML(element)
}

// relative says how far t lies from now. console.js says the same, to keep it true.
func relative(t, now time.Time) string {
	d := now.Sub(t)
	ahead := d < 0
	if ahead {
		d = -d
	}
	var text string
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		text = strconv.Itoa(int(d/time.Second)) + " s"
	case d < time.Hour:
		text = strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 48*time.Hour:
		text = strconv.Itoa(int(d/time.Hour)) + " h"
	default:
		text = strconv.Itoa(int(d/(24*time.Hour))) + " days"
	}
	if ahead {
		return "in " + text
	}
	return text + " ago"
}

// duration writes a duration with the precision that people want.
func duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 ms"
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
	case d < time.Second:
		return strconv.Itoa(int(d.Round(time.Millisecond)/time.Millisecond)) + " ms"
	case d < time.Minute:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Round(time.Minute)/time.Minute)) + " min"
	case d < 48*time.Hour:
		return strings.TrimSuffix(strconv.FormatFloat(d.Hours(), 'f', 1, 64), ".0") + " h"
	}
	return strings.TrimSuffix(strconv.FormatFloat(d.Hours()/24, 'f', 1, 64), ".0") + " days"
}

// count writes a number with its thousands apart.
func count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// percent writes a part of one. Only all of it is 100 %.
func percent(part float64) string {
	text := strconv.FormatFloat(math.Floor(part*1000)/10, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0") + " %"
}

// link gives a path of the console with a query of name, value, name, value;
// empty values are left out.
func link(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return Prefix + path
	}
	return Prefix + path + "?" + q.Encode()
}

// pill is a state with the class of its colour; the word says it as well.
type pill struct{ Word, Class string }

// statusPill gives the pill of a status of any noun.
func statusPill(status any) pill {
	word := fmt.Sprint(status)
	classes := map[string]string{
		"delivered": "good", "enabled": "good", "completed": "good", "issued": "good", "accepted": "good",
		"failed": "bad", "disabled": "bad", "revoked": "bad", "failing": "bad",
		"pending": "wait", "offered": "wait", "running": "wait", "redeemed": "wait", "partiallyIssued": "wait", "deferred": "wait", "suspended": "wait",
	}
	return pill{word, classes[word]}
}

// typeName shows an event type, the prefix that all have set back.
func typeName(t tidings.EventType) template.HTML {
	family, rest, ok := strings.Cut(string(t), ".")
	if !ok {
		return template.HTML(template.HTMLEscapeString(string(t)))
	}
	// <wbr> lets a narrow screen break the name.
	rest = strings.ReplaceAll(template.HTMLEscapeString(rest), ".", ".<wbr>")
	return template.HTML(`<span class="type"><span class="family">` + template.HTMLEscapeString(family) + `.</span><wbr>` + rest + `</span>`)
}

// navItem is a link of the navigation.
type navItem struct {
	Path, Word string
	Here       bool
}

func nav(at, section, path, word string) navItem { return navItem{Prefix + path, word, at == section} }

// pager leads to the pages before and after a list's.
type pager struct{ Prev, Next string }

// pageOf reads which page of a list is asked for.
func pageOf(r *request) tidings.Page {
	p := tidings.Page{Size: pageSize, After: r.query.Get("after"), Before: r.query.Get("before")}
	if p.After != "" {
		p.Before = ""
	}
	return p
}

// pageSize is how many rows a page of a list has.
const pageSize = 25

// pagerOf makes the links of a list at path whose ends have these cursors.
func pagerOf[T any](path string, q url.Values, l tidings.List[T], cursor func(T) string) (p pager) {
	to := func(name, value string) string {
		u := url.Values{}
		for k, v := range q {
			if k != "after" && k != "before" && k != "done" && len(v) > 0 && v[0] != "" {
				u.Set(k, v[0])
			}
		}
		u.Set(name, value)
		return Prefix + path + "?" + u.Encode()
	}
	if len(l.Items) == 0 {
		return p
	}
	if l.HasPrev {
		p.Prev = to("before", cursor(l.Items[0]))
	}
	if l.HasNext {
		p.Next = to("after", cursor(l.Items[len(l.Items)-1]))
	}
	return p
}

// plausible tells whether text can be one of our ids, or one of another issuer:
// no other text reaches the store.
func plausible(id string) bool {
	if id == "" || len(id) > 255 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// option is one of a select's.
type option struct {
	Value, Label string
	Selected     bool
}

// options makes a select's, of which one is chosen.
func options(chosen string, pairs ...string) (out []option) {
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, option{pairs[i], pairs[i+1], pairs[i] == chosen})
	}
	return out
}
