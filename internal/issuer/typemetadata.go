package issuer

import (
	"context"
	"maps"
	"slices"

	"tidings"
)

// typeMetadata is the type metadata document of a vct (SD-JWT VC, section 5.2).
type typeMetadata struct {
	VCT         string        `json:"vct"`
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Display     []typeDisplay `json:"display"`
	Claims      []typeClaim   `json:"claims"`
}

// typeDisplay names the language twice: drafts before 11 called it lang, and
// their readers refuse a document without it; others ignore what they don't know.
type typeDisplay struct {
	Locale      string `json:"locale"`
	Lang        string `json:"lang"`
	Name        string `json:"name,omitempty"`  // of the type
	Label       string `json:"label,omitempty"` // of a claim
	Description string `json:"description,omitempty"`

	Rendering *rendering `json:"rendering,omitempty"` // of the type
}

// rendering holds the rendering method "simple".
type rendering struct {
	Simple simpleRendering `json:"simple"`
}

type simpleRendering struct {
	Logo            *logo  `json:"logo,omitempty"`
	BackgroundColor string `json:"background_color,omitempty"`
	TextColor       string `json:"text_color,omitempty"`
}

type typeClaim struct {
	Path      []string      `json:"path"`
	Display   []typeDisplay `json:"display"`
	Mandatory bool          `json:"mandatory"`
	SD        string        `json:"sd"` // always or never: no third is recommended
}

// typeMetadata serves the document at the URL that is the vct. That of an
// archived template stays: its credentials live on.
func (s *Issuer) typeMetadata(ctx context.Context, r *request) (answer, error) {
	code := r.PathValue("code")
	if !tidings.IsCode(code) {
		return answer{}, errNotFound
	}
	list, err := s.store.Templates(ctx, r.org.Key, tidings.TemplateFilter{Type: code}, tidings.Page{Size: tidings.MaxPageSize})
	if err != nil {
		return answer{}, err
	}
	k := slices.IndexFunc(list.Items, func(t tidings.Template) bool { return t.Code == code })
	if k < 0 {
		return answer{}, errNotFound
	}
	t := list.Items[k]
	m := typeMetadata{
		VCT: s.VCT(r.org.Slug, t.Code), Name: t.Name, Description: t.Description, Display: typeDisplays(t),
	}
	locale := localeOf(t)
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		a := t.Attributes[name]
		sd := "always"
		if a.AlwaysDisclosed {
			sd = "never"
		}
		m.Claims = append(m.Claims, typeClaim{
			Path: []string{name}, Mandatory: a.Required, SD: sd,
			Display: []typeDisplay{{Locale: locale, Lang: locale, Label: label(name, a), Description: a.Description}},
		})
	}
	return answer{body: m}, nil
}

func typeDisplays(t tidings.Template) []typeDisplay {
	var out []typeDisplay
	for _, d := range t.Displays() {
		shown := typeDisplay{Locale: d.Locale, Lang: d.Locale, Name: d.Name, Description: d.Description}
		simple := simpleRendering{Logo: logoOf(d), BackgroundColor: d.BackgroundColor, TextColor: d.TextColor}
		if simple != (simpleRendering{}) {
			shown.Rendering = &rendering{simple}
		}
		out = append(out, shown)
	}
	return out
}
