package site

import (
	"slices"
	"strings"
)

// group is a part of the navigation.
type group struct {
	Title string
	Links []link
}

type link struct{ Address, Title string }

// shelves say where pages stand in the navigation, and in which order. Pages
// that are not named come at the end of the last shelf.
var shelves = []struct {
	title   string
	sources []string
}{
	{"Begin", []string{"docs/README.md"}},
	{"Use", []string{"docs/receiving.md", "examples/README.md", "docs/cli.md", "docs/api.md", reference, "docs/console.md"}},
	{"Run", []string{"docs/operating.md", "docs/performance.md", "docs/scaling.md"}},
	{"Inside", []string{"docs/architecture.md", "docs/terms.md", "docs/decisions/README.md"}},
}

// reference stands for the API's reference among the sources.
const reference = "reference"

// groups arranges the pages. Those in a folder of their own are found by the
// folder's page.
func groups(pages []*page) (out []group) {
	named := map[string]bool{}
	for _, shelf := range shelves {
		g := group{Title: shelf.title}
		for _, source := range shelf.sources {
			named[source] = true
			if source == reference {
				g.Links = append(g.Links, link{ReferencePath, "API reference"})
			}
			if i := slices.IndexFunc(pages, func(p *page) bool { return p.source == source }); i >= 0 {
				g.Links = append(g.Links, link{pages[i].address, pages[i].title})
			}
		}
		out = append(out, g)
	}
	last := &out[len(out)-1]
	for _, p := range pages {
		if !named[p.source] && strings.Count(p.source, "/") == 1 {
			last.Links = append(last.Links, link{p.address, p.title})
		}
	}
	return out
}
