package auth

import (
	"slices"
	"strings"

	"tidings"
)

// claimSet is what a token says. Its issuer is trusted; users of the issuer
// may have chosen some values, so they are bounded before they go anywhere.
type claimSet map[string]any

// at gives what stands at a path: the member of that name or, where there is
// none, one within others: a.b.c is c in b in a. Names may hold dots
// themselves, as those of clients and namespaced claims do.
func (c claimSet) at(path string) any {
	if v, ok := c[path]; ok {
		return v
	}
	for i, r := range path {
		if r != '.' {
			continue
		}
		inner, ok := c[path[:i]].(map[string]any)
		if !ok {
			continue
		}
		if v := claimSet(inner).at(path[i+1:]); v != nil {
			return v
		}
	}
	return nil
}

// one gives the text at a path, or the only one of a list.
func (c claimSet) one(path string) (string, bool) {
	v := c.at(path)
	if list, ok := v.([]any); ok && len(list) == 1 {
		v = list[0]
	}
	text, ok := v.(string)
	return text, ok && text != ""
}

// scopes gives the scopes at a path: a text with spaces between them, or a
// list. What is none of ours is not meant for us.
func (c claimSet) scopes(path, prefix string) tidings.Scopes {
	var names []string
	switch v := c.at(path).(type) {
	case string:
		names = strings.Fields(v)
	case []any:
		for _, item := range v {
			if text, ok := item.(string); ok {
				names = append(names, text)
			}
		}
	}
	var out tidings.Scopes
	for _, scope := range tidings.AllScopes {
		if slices.Contains(names, prefix+string(scope)) {
			out = append(out, scope)
		}
	}
	return out
}

// client names who asks, for the log: the client or, where the token does not
// say, its subject.
func (c claimSet) client() string {
	for _, name := range []string{"client_id", "azp", "sub"} {
		text, _ := c[name].(string)
		if text = printable(text); text != "" {
			return text[:min(len(text), 128)]
		}
	}
	return "unnamed"
}
