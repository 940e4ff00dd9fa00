package console

import (
	"cmp"
	"context"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// templateList is a page of the templates.
type templateList struct {
	Templates []tidings.Template
	Pager     pager
	Search    string
	Archived  bool
	Filtered  bool
}

func (c *Console) listTemplates(ctx context.Context, r *request) (answer, error) {
	p := templateList{Search: strings.TrimSpace(r.query.Get("search")), Archived: r.query.Get("archived") == "true"}
	p.Search = strings.Map(printable, p.Search)
	p.Filtered = p.Search != "" || p.Archived
	l, err := c.cfg.Templates.Templates(ctx, r.org(), tidings.TemplateFilter{Search: p.Search, Archived: &p.Archived, Order: tidings.TemplatesByName}, pageOf(r))
	p.Templates, p.Pager = l.Items, pagerOf("/templates", r.query, l, func(t tidings.Template) string { return t.ID })
	return answer{page: "templates", title: "Templates", section: "templates", body: p}, err
}

// printable drops what no name holds and no database wants.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == '�' {
		return -1
	}
	return r
}

// templatePage is one template.
type templatePage struct {
	tidings.Template
	VCT   string
	Rows  []attributeRow
	Cards []template.HTML // how wallets may show its credentials, by language
}

// attributeRow is an attribute with its claim's name, in a table or a form.
type attributeRow struct {
	Claim string
	tidings.Attribute
}

func attributeRows(t tidings.Template) (out []attributeRow) {
	for _, claim := range slices.Sorted(maps.Keys(t.Attributes)) {
		out = append(out, attributeRow{claim, t.Attributes[claim]})
	}
	return out
}

// template finds the template of the path.
func (c *Console) template(ctx context.Context, r *request) (tidings.Template, error) {
	id := r.path("id")
	if !plausible(id) {
		return tidings.Template{}, tidings.NotFound("template", "")
	}
	return c.cfg.Templates.Template(ctx, r.org(), id)
}

func (c *Console) showTemplate(ctx context.Context, r *request) (answer, error) {
	t, err := c.template(ctx, r)
	p := templatePage{Template: t, VCT: c.cfg.Issuer.VCT(r.Organisation.Slug, t.Code), Rows: attributeRows(t)}
	for _, d := range t.Displays() {
		p.Cards = append(p.Cards, drawCard(d, r.Organisation.Slug))
	}
	return answer{page: "template", title: t.Name, section: "templates", body: p}, err
}

// drawCard draws a credential roughly as wallets do, in its colours. Its logo is
// left out: the console loads nothing from elsewhere.
func drawCard(d tidings.Display, issuer string) template.HTML {
	escape := template.HTMLEscapeString
	back, ink := escape(cmp.Or(d.BackgroundColor, "#2450b8")), escape(cmp.Or(d.TextColor, "#ffffff"))
	return template.HTML(`<svg class="credential" viewBox="0 0 320 200" role="img" aria-label="` + escape(d.Name+", as a wallet may show it") + `">` +
		`<rect width="320" height="200" rx="14" fill="` + back + `"/>` +
		`<text x="22" y="44" fill="` + ink + `" font-size="20" font-weight="600">` + escape(shorten(d.Name, 26)) + `</text>` +
		`<text x="22" y="70" fill="` + ink + `" font-size="13">` + escape(shorten(d.Description, 44)) + `</text>` +
		`<text x="22" y="178" fill="` + ink + `" font-size="13">` + escape(shorten(issuer, 40)) + `</text></svg>`)
}

func shorten(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// templateForm is the form of a new template, or of how one is shown.
type templateForm struct {
	ID          string // of the one that is there
	Name        string
	Code        string
	Description string
	ValidDays   string
	Revocable   bool
	Background  string
	Text        string
	Rows        []attributeRow
	Errors      formErrors
}

// blankRows is how many empty attributes a form begins with, and moreRows how
// many come with a press.
const blankRows, moreRows = 4, 4

func (c *Console) newTemplate(context.Context, *request) (answer, error) {
	return templateFormAnswer(templateForm{Rows: addRows(nil, blankRows)}, nil), nil
}

func addRows(rows []attributeRow, n int) []attributeRow {
	for range min(n, tidings.MaxAttributes-len(rows)) {
		rows = append(rows, attributeRow{Attribute: tidings.Attribute{Type: tidings.AttributeString}})
	}
	return rows
}

func templateFormAnswer(f templateForm, wrong formErrors) answer {
	f.Errors = wrong
	a := answer{page: "template-form", title: "New template", section: "templates", body: f}
	if f.ID != "" {
		a.title = "Edit " + f.Name
	}
	if wrong != nil {
		a.status = http.StatusBadRequest
	}
	return a
}

func readTemplateForm(r *request) (f templateForm, attributes map[string]tidings.Attribute, err error) {
	get := func(name string) string { return strings.Map(printable, strings.TrimSpace(r.form.Get(name))) }
	f = templateForm{Name: get("name"), Code: get("code"), Description: get("description"), ValidDays: get("validDays"),
		Revocable: get("revocable") != "", Background: get("background"), Text: get("text")}
	attributes = map[string]tidings.Attribute{}
	for i := range tidings.MaxAttributes {
		at := "attribute." + strconv.Itoa(i) + "."
		if !r.form.Has(at + "claim") {
			break
		}
		row := attributeRow{get(at + "claim"), tidings.Attribute{Type: tidings.AttributeType(get(at + "type")), Name: get(at + "name"),
			Required: get(at+"required") != "", AlwaysDisclosed: get(at+"always") != ""}}
		f.Rows = append(f.Rows, row)
		if row.Claim == "" {
			continue
		}
		if _, twice := attributes[row.Claim]; twice && err == nil {
			err = tidings.Invalid("/attributes", "The claim %q stands there twice.", row.Claim)
		}
		attributes[row.Claim] = row.Attribute
	}
	return f, attributes, err
}

// display is how a template is shown where colours are chosen; nil: by its name.
func (f templateForm) display() []tidings.Display {
	if f.Background == "" && f.Text == "" {
		return nil
	}
	return []tidings.Display{{Name: f.Name, Description: f.Description, BackgroundColor: f.Background, TextColor: f.Text}}
}

func (c *Console) createTemplate(ctx context.Context, r *request) (answer, error) {
	f, attributes, err := readTemplateForm(r)
	if r.form.Get("more") != "" {
		f.Rows = addRows(f.Rows, moreRows)
		return templateFormAnswer(f, nil), nil
	}
	var t tidings.Template
	if err == nil {
		t, err = c.makeTemplate(ctx, r, f, attributes)
	}
	if wrong, ok := formErrorsOf(err); ok {
		return templateFormAnswer(f, wrong), nil
	}
	return answer{redirect: link("/templates/"+t.ID, "done", "created")}, err
}

func (c *Console) makeTemplate(ctx context.Context, r *request, f templateForm, attributes map[string]tidings.Attribute) (t tidings.Template, err error) {
	wanted := tidings.NewTemplate{Name: f.Name, Code: f.Code, Description: f.Description, Format: "sd-jwt", Attributes: attributes,
		Display: f.display(), Revocable: f.Revocable, Origin: r.origin()}
	if f.ValidDays != "" {
		days, err := strconv.Atoi(f.ValidDays)
		if err != nil || days < 1 || days > int(tidings.MaxValidFor/(24*time.Hour)) {
			return t, tidings.Invalid("/validFor", "This is a number of days, up to a hundred years; empty: without end.")
		}
		wanted.ValidFor = time.Duration(days) * 24 * time.Hour
	}
	if err := wanted.Check(); err != nil {
		return t, err
	}
	return c.cfg.Templates.CreateTemplate(ctx, r.org(), wanted)
}

func (c *Console) editTemplate(ctx context.Context, r *request) (answer, error) {
	t, err := c.template(ctx, r)
	f := templateForm{ID: t.ID, Name: t.Name, Description: t.Description}
	if len(t.Display) > 0 {
		f.Background, f.Text = t.Display[0].BackgroundColor, t.Display[0].TextColor
	}
	return templateFormAnswer(f, nil), err
}

// updateTemplate changes how a template is shown. Of its languages the form knows
// the first only, and leaves the others and the logos as they are.
func (c *Console) updateTemplate(ctx context.Context, r *request) (answer, error) {
	t, err := c.template(ctx, r)
	if err != nil {
		return answer{}, err
	}
	f, _, _ := readTemplateForm(r)
	f.ID = t.ID
	display := slices.Clone(t.Display)
	if len(display) == 0 {
		display = f.display()
	} else {
		first := &display[0]
		first.BackgroundColor, first.TextColor = f.Background, f.Text
		if first.Name == t.Name {
			first.Name = f.Name
		}
		if first.Description == t.Description {
			first.Description = f.Description
		}
	}
	patch := tidings.TemplatePatch{Name: &f.Name, Description: &f.Description, Display: &display, Origin: r.origin()}
	if err = patch.Check(); err == nil {
		_, err = c.cfg.Templates.UpdateTemplate(ctx, r.org(), t.ID, patch)
	}
	if wrong, ok := formErrorsOf(err); ok {
		return templateFormAnswer(f, wrong), nil
	}
	return answer{redirect: link("/templates/"+t.ID, "done", "saved")}, err
}

func (c *Console) archiveTemplate(ctx context.Context, r *request) (answer, error) {
	t, err := c.template(ctx, r)
	if err != nil {
		return answer{}, err
	}
	archive, said := r.form.Get("archived") == "true", "unarchived"
	if archive {
		said = "archived"
	}
	_, err = c.cfg.Templates.ArchiveTemplate(ctx, r.org(), t.ID, archive, r.origin())
	return answer{redirect: link("/templates/"+t.ID, "done", said)}, err
}
