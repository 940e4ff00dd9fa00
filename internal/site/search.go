package site

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// searchPath is where the search stands.
const searchPath = Prefix + "/search"

// Bounds of a search.
const (
	maxQuery = 100 // bytes
	maxHits  = 30
	around   = 120 // bytes shown of the text on either side of what was found
)

// hit is a section that was found.
type hit struct {
	Address, Page, Title string
	Before, Words, After string // what stands around the first word
	weight               int
}

// bounded cuts a query to what is looked for.
func bounded(q string) string {
	q = strings.ToValidUTF8(strings.TrimSpace(q), "")
	for len(q) > maxQuery {
		_, size := utf8.DecodeLastRuneInString(q)
		q = q[:len(q)-size]
	}
	return q
}

// search finds the sections that hold all words of the query, those first whose
// titles do.
func search(pages []*page, q string) (out []hit) {
	words := strings.Fields(lower(bounded(q)))
	if len(words) == 0 {
		return nil
	}
	for _, p := range pages {
		for _, s := range p.sections {
			if h, ok := s.find(words); ok {
				h.Page, h.Address = p.title, p.address
				if s.ID != "" && s.level > 1 {
					h.Address += "#" + s.ID
				}
				out = append(out, h)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b hit) int { return cmp.Compare(b.weight, a.weight) })
	return out[:min(len(out), maxHits)]
}

// lower is strings.ToLower for ASCII only, so that places in both are the same.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

func (s section) find(words []string) (h hit, ok bool) {
	title, body := lower(s.Title), lower(s.text)
	for _, w := range words {
		inTitle, inBody := strings.Contains(title, w), strings.Count(body, w)
		if !inTitle && inBody == 0 {
			return h, false
		}
		if inTitle {
			h.weight += 100
		}
		h.weight += min(inBody, 20)
	}
	h.Title = s.Title
	at := max(strings.Index(body, words[0]), 0)
	end := at
	if strings.HasPrefix(body[at:], words[0]) {
		end += len(words[0])
	}
	h.Before, h.Words, h.After = before(s.text[:at]), s.text[at:end], after(s.text[end:])
	return h, true
}

// before gives the last whole words of a text, and after the first of one.
func before(text string) string {
	if from := len(text) - around; from > 0 {
		_, text, _ = strings.Cut(text[from:], " ")
	}
	return strings.Join(strings.Fields(text), " ")
}

func after(text string) string {
	if len(text) > around {
		text = text[:around]
		text = text[:strings.LastIndex(text, " ")+1]
	}
	return strings.Join(strings.Fields(text), " ")
}
