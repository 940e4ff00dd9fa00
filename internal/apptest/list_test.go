package apptest_test

import (
	"encoding/json"
	"net/http"
	"strings"

	"tidings/internal/apptest"
	"tidings/internal/server"
)

// list reads all pages of a list.
func list[T any](a *apptest.API, path string) (all []T) {
	for path != "" {
		status, answer, err := a.Request("GET", path, nil)
		var page struct {
			Data  []T
			Links struct{ Next string }
		}
		if err != nil || status != http.StatusOK || json.Unmarshal(answer, &page) != nil {
			return nil
		}
		all = append(all, page.Data...)
		path = strings.TrimPrefix(page.Links.Next, server.Prefix)
	}
	return all
}

// unmarshalData reads the data of an answer, if there is any.
func unmarshalData(answer []byte, into any) error {
	if len(answer) == 0 {
		return nil
	}
	return json.Unmarshal(answer, &struct{ Data any }{into})
}
