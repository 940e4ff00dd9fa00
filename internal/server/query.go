package server

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tidings"
)

// query is what the query of a list asks for.
type query struct {
	page   tidings.Page
	filter map[string]string // by the name in filter[name]
	search string            // search[name]
	sort   string            // one of the route's; empty: its own
	raw    url.Values        // of the known parameters, for links
}

// maxValue bounds a query parameter.
const maxValue = 512

// parseQuery reads the parameters that the route takes. One that looks like
// ours but is not known is refused, as ignoring a filter shows too much; any
// other is ignored, as proxies and browsers add some.
func parseQuery(route *Route, text string) (query, error) {
	q := query{page: tidings.Page{Size: tidings.DefaultPageSize}}
	if text == "" {
		return q, nil
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return q, &tidings.Error{Kind: tidings.KindInvalid, Message: "The query is not well-formed."}
	}
	q.raw, q.filter = url.Values{}, map[string]string{}
	names := parameters(route)
	for name, given := range values {
		if !ours(name) {
			continue
		}
		value := given[0]
		switch {
		case !slices.Contains(names, name):
			return q, tidings.InvalidParameter(short(name), "There is no such parameter here; there are %s.", strings.Join(names, ", "))
		case len(given) > 1:
			return q, tidings.InvalidParameter(name, "%s is there more than once.", name)
		case value == "" || len(value) > maxValue || !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return q, tidings.InvalidParameter(name, "%s must be 1 to %d bytes of UTF-8.", name, maxValue)
		}
		if err := q.set(route, name, value); err != nil {
			return q, err
		}
		q.raw.Set(name, value)
	}
	if q.page.After != "" && q.page.Before != "" {
		return q, tidings.InvalidParameter("page[before]", "page[after] and page[before] exclude each other.")
	}
	return q, nil
}

// ours tells whether a parameter has the form of those that lists take.
func ours(name string) bool {
	family, _, _ := strings.Cut(name, "[")
	switch family {
	case "filter", "page", "search", "sort":
		return true
	}
	return false
}

// parameters lists what a list takes.
func parameters(route *Route) []string {
	names := []string{"page[size]", "page[after]", "page[before]", "sort"}
	if route.Search {
		names = append(names, "search[name]")
	}
	for _, f := range route.Filters {
		names = append(names, "filter["+f.Name+"]")
	}
	return names
}

func (q *query) set(route *Route, name, value string) error {
	switch name {
	case "page[size]":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > tidings.MaxPageSize {
			return tidings.InvalidParameter(name, "page[size] is a number from 1 to %d.", tidings.MaxPageSize)
		}
		q.page.Size = n
	case "page[after]", "page[before]":
		if !plausibleID(value) {
			return tidings.InvalidParameter(name, "%s is the id of an item of the list.", name)
		}
		if name == "page[after]" {
			q.page.After = value
		} else {
			q.page.Before = value
		}
	case "sort":
		orders := route.orders()
		if !slices.Contains(orders, value) {
			return tidings.InvalidParameter(name, "This list is ordered by sort=%s.", strings.Join(orders, ", "))
		}
		q.sort = value
	case "search[name]":
		q.search = value
	default:
		return q.setFilter(route, name, value)
	}
	return nil
}

// orders lists what sort may ask for.
func (r *Route) orders() []string { return append([]string{r.Sort}, r.Sorts...) }

func (q *query) setFilter(route *Route, name, value string) error {
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "filter["), "]")
	for _, f := range route.Filters {
		if f.Name == bare && f.Values != nil && !slices.Contains(f.Values, value) {
			return tidings.InvalidParameter(name, "%s is one of %s.", name, strings.Join(f.Values, ", "))
		}
	}
	q.filter[bare] = value
	return nil
}

// item is an element of a list; its cursor is its id.
type item interface{ cursor() string }

// page is one page of a list as it is shown.
type page[Item item] struct {
	items            []Item
	hasNext, hasPrev bool
	cursor           func(Item) string // where an item's id is not all of it
}

// pageOf shows every item of a list.
func pageOf[Noun any, Item item](l tidings.List[Noun], show func(Noun) Item) page[Item] {
	p := page[Item]{items: make([]Item, len(l.Items)), hasNext: l.HasNext, hasPrev: l.HasPrev}
	for i, noun := range l.Items {
		p.items[i] = show(noun)
	}
	return p
}

func (p page[Item]) meta(c *call) *Meta {
	return &Meta{Page: PageMeta{Size: c.query.page.Limit(), HasNext: p.hasNext, HasPrev: p.hasPrev}}
}

// links tells where the list goes on. The cursor is the id of the item at the
// boundary, which the next page does not repeat.
func (p page[Item]) links(c *call) *Links {
	l := &Links{Self: link(c.self, c.query.raw, "", "")}
	if n := len(p.items); n > 0 {
		cursor := p.cursor
		if cursor == nil {
			cursor = Item.cursor
		}
		if p.hasNext {
			l.Next = link(c.self, c.query.raw, "page[after]", cursor(p.items[n-1]))
		}
		if p.hasPrev {
			l.Prev = link(c.self, c.query.raw, "page[before]", cursor(p.items[0]))
		}
	}
	return l
}

// link writes the path and the query; with a cursor, that one takes the place
// of the present one.
func link(path string, q url.Values, cursor, id string) string {
	next := make(url.Values, len(q)+1)
	for name, v := range q {
		if cursor == "" || name != "page[after]" && name != "page[before]" {
			next[name] = v
		}
	}
	if cursor != "" {
		next.Set(cursor, id)
	}
	if len(next) == 0 {
		return path
	}
	return path + "?" + next.Encode()
}
