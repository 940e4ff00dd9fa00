package site

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/yuin/goldmark" // CommonMark in Go without dependencies, kept for years
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// page is a page of Markdown.
type page struct {
	source   string // its file, such as docs/api.md
	address  string // below which it is served
	title    string
	body     template.HTML
	sections []section
}

// section is a part of a page below a heading; the first is what stands before
// them.
type section struct {
	ID, Title string
	level     int
	text      string // for the search
}

// Address is where the page stands.
func (p *page) Address() string { return p.address }

// Title is its first heading.
func (p *page) Title() string { return p.title }

// Sections are its main parts.
func (p *page) Sections() []section {
	return slices.DeleteFunc(slices.Clone(p.sections), func(s section) bool { return s.level != 2 })
}

var markdown = goldmark.New(
	goldmark.WithExtensions(extension.Table),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
	goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(blocks{}, 1))),
)

// render renders all pages of the folders.
func render(folders map[string]fs.FS) (content, error) {
	c := content{sources: map[string]bool{}, pages: map[string]*page{}, files: map[string]*file{}}
	bodies := map[string][]byte{} // of the pages, by source
	for folder, files := range folders {
		err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			body, err := fs.ReadFile(files, name)
			source := path.Join(folder, name)
			c.sources[source] = true
			if path.Ext(name) != ".md" {
				c.files[addressOf(source)] = newFile(kindOf(name), body)
				return err
			}
			p := &page{source: source, address: addressOf(source)}
			c.pages[p.address], bodies[source] = p, body
			return err
		})
		if err != nil {
			return c, err
		}
	}
	for _, p := range c.pages {
		if err := c.renderPage(p, bodies[p.source]); err != nil {
			return c, fmt.Errorf("%s: %w", p.source, err)
		}
	}
	c.order = slices.SortedFunc(maps.Values(c.pages), func(a, b *page) int { return strings.Compare(a.address, b.address) })
	return c, nil
}

// addressOf gives the address of a file: a page has no ending, and one named
// README.md is that of its folder.
func addressOf(source string) string {
	name := strings.TrimPrefix(source, "docs/")
	if plain, ok := strings.CutSuffix(name, ".md"); ok {
		name = plain
		if path.Base(name) == "README" {
			name = path.Dir(name)
		}
	}
	return path.Join(Prefix, name)
}

func (c *content) renderPage(p *page, source []byte) error {
	doc := markdown.Parser().Parse(text.NewReader(source))
	var away []ast.Node // links and pictures that the site does not have
	var now *section
	p.sections = []section{{}}
	now = &p.sections[0]
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			id, _ := n.AttributeString("id")
			name, _ := id.([]byte)
			p.sections = append(p.sections, section{ID: string(name), Title: plainText(n, source), level: n.Level})
			now = &p.sections[len(p.sections)-1]
			return ast.WalkSkipChildren, nil
		case *ast.Link:
			if n.Destination = c.link(p, n.Destination); n.Destination == nil {
				away = append(away, n)
			}
		case *ast.Image:
			if n.Destination = c.link(p, n.Destination); n.Destination == nil {
				away = append(away, n)
			}
		case *ast.Text:
			now.text += string(n.Segment.Value(source)) + " "
		case *ast.FencedCodeBlock:
			now.text += string(n.Lines().Value(source)) + " "
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return err
	}
	for _, link := range away { // what they say stays
		for child := link.FirstChild(); child != nil; child = link.FirstChild() {
			link.Parent().InsertBefore(link.Parent(), link, child)
		}
		link.Parent().RemoveChild(link.Parent(), link)
	}
	for _, s := range p.sections {
		if s.level == 1 {
			p.title = s.Title
			break
		}
	}
	var out bytes.Buffer
	if err := markdown.Renderer().Render(&out, source, doc); err != nil {
		return err
	}
	p.body = template.HTML(out.String()) // of our own text
	return nil
}

// link gives the address of what a page links to, nil where the site does not
// have it.
func (c *content) link(p *page, to []byte) []byte {
	target, anchor, _ := strings.Cut(string(to), "#")
	if strings.Contains(target, ":") || target == "" || strings.HasPrefix(target, "/") {
		return to
	}
	source := path.Join(path.Dir(p.source), target)
	if !c.sources[source] {
		source = path.Join(source, "README.md") // of a folder
	}
	if !c.sources[source] {
		return nil
	}
	address := addressOf(source)
	if anchor != "" {
		address += "#" + anchor
	}
	return []byte(address)
}

func plainText(n ast.Node, source []byte) string {
	var out strings.Builder
	ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			out.Write(t.Segment.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return out.String()
}

// blocks renders headings, which can be linked to, and code.
type blocks struct{}

// RegisterFuncs tells goldmark what is rendered here.
func (blocks) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindHeading, renderHeading)
	r.Register(ast.KindFencedCodeBlock, renderCode)
}

func renderHeading(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	n := node.(*ast.Heading)
	id, _ := n.AttributeString("id")
	if entering {
		fmt.Fprintf(w, `<h%d id="%s">`, n.Level, id)
	} else if n.Level == 1 {
		fmt.Fprintf(w, "</h%d>\n", n.Level)
	} else {
		title := util.EscapeHTML([]byte(plainText(n, source)))
		fmt.Fprintf(w, " <a class=\"here\" href=\"#%s\" aria-label=\"Link to %s\">#</a></h%d>\n", id, title, n.Level)
	}
	return ast.WalkContinue, nil
}

// renderCode writes code, whose long lines are broken. A drawing cannot be: it is
// scrolled, by keyboard too.
func renderCode(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	code := node.(*ast.FencedCodeBlock).Lines().Value(source)
	open := `<pre>`
	if bytes.ContainsAny(code, "─│▶▼") {
		open = `<pre class="drawing" tabindex="0" role="group" aria-label="Drawing">`
	}
	fmt.Fprintf(w, "%s<code>%s</code></pre>\n", open, util.EscapeHTML(code))
	return ast.WalkSkipChildren, nil
}
