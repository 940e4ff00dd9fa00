package client

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"time"
)

// Page is part of every query of a list.
type Page struct {
	// After is the id of an item: the list begins behind it.
	After string `query:"page[after]"`
	// Size is how many items are fetched at once, 1 to 100; 0 leaves it to
	// the server.
	Size int `query:"page[size]"`
}

// EndpointQuery says which endpoints to list.
type EndpointQuery struct{ Page }

// item is an element of a list.
type item interface{ cursor() string }

// list gives all items, page after page. After an error it ends.
func list[T item](ctx context.Context, c *Client, path string, query any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		values := url.Values{}
		writeQuery(values, reflect.ValueOf(query))
		for {
			page, err := call[[]T](ctx, c, request{method: http.MethodGet, path: path, query: values, repeatable: true})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Data {
				if !yield(item, nil) {
					return
				}
			}
			if !page.Meta.Page.HasNext || len(page.Data) == 0 {
				return
			}
			values.Set("page[after]", cmp.Or(cursorOf(page.Links.Next), page.Data[len(page.Data)-1].cursor()))
		}
	}
}

// cursorOf gives where a link goes on: in some orders that is more than an id.
func cursorOf(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	return u.Query().Get("page[after]")
}

// writeQuery writes the members that are set, under the names of their tags.
func writeQuery(values url.Values, query reflect.Value) {
	for field, v := range query.Fields() {
		name := field.Tag.Get("query")
		if field.Anonymous {
			writeQuery(values, v)
			continue
		}
		if v.IsZero() {
			continue
		}
		if at, ok := v.Interface().(time.Time); ok {
			values.Set(name, at.UTC().Format(time.RFC3339Nano))
			continue
		}
		switch v = reflect.Indirect(v); v.Kind() {
		case reflect.Int:
			values.Set(name, strconv.FormatInt(v.Int(), 10))
		case reflect.Bool:
			values.Set(name, strconv.FormatBool(v.Bool()))
		default:
			values.Set(name, v.String())
		}
	}
}
