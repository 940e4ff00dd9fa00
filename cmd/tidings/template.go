package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"tidings"
	"tidings/client"
)

type templateCommand struct {
	List   templateList   `cmd:"" help:"List the credential templates, the oldest first."`
	Get    templateGet    `cmd:"" help:"Show a template with its attributes."`
	Create templateCreate `cmd:"" help:"Create a credential template."`
	Update templateUpdate `cmd:"" help:"Change how a template's credentials are shown."`

	Archive   templateArchive   `cmd:"" help:"End issuing from a template; what was issued stays valid."`
	Unarchive templateUnarchive `cmd:"" help:"Issue from an archived template again."`
}

type templateList struct {
	listFlags
	Search   string `placeholder:"TEXT" help:"Only those with this text in their name."`
	Type     string `placeholder:"CODE" help:"Only the one of this code or full type."`
	Archived *bool  `negatable:"" help:"Only those that are archived, or that are not."`
	Sort     string `placeholder:"ORDER" help:"createdAt, name or updatedAt; --sort=-name is descending. Default: createdAt."`
}

// Run lists templates.
func (c templateList) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		q := client.TemplateQuery{Search: c.Search, Type: c.Type, Archived: c.Archived, Sort: tidings.TemplateOrder(c.Sort), Page: c.page()}
		return collect(api.Templates(ctx, q), c.Limit, []string{"ID", "CODE", "NAME", "CREATED"}, func(t client.Template) []string {
			return []string{t.ID, t.Code, t.Name, stamp(t.CreatedAt)}
		})
	})
}

type templateGet struct {
	remoteFlags
	ID string `arg:"" help:"The template's id."`
}

// Run shows a template.
func (c templateGet) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		t, err := api.Template(ctx, c.ID)
		return templateView(t), err
	})
}

func templateView(t client.Template) view {
	v := view{ids: []string{t.ID}, head: []string{"ATTRIBUTE", "TYPE", "REQUIRED", "DISCLOSED"}}
	v.add("id", t.ID)
	v.add("name", t.Name)
	v.add("description", t.Description)
	v.add("code", t.Code)
	v.add("type", t.Type)
	v.add("format", t.Format)
	if t.ValidFor > 0 {
		v.add("valid for", (time.Duration(t.ValidFor) * time.Second).String())
	}
	if t.Revocable {
		v.add("revocable", "yes")
	}
	for _, d := range t.Display {
		v.add("shown as", strings.TrimSpace(d.Name+" "+bracketed(d.Locale)))
	}
	v.add("created", stamp(t.CreatedAt))
	v.add("archived", optionalStamp(t.ArchivedAt))
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		a := t.Attributes[name]
		row := []string{name, string(a.Type), "", ""}
		if a.Required {
			row[2] = "required"
		}
		if a.AlwaysDisclosed {
			row[3] = "always"
		}
		v.rows = append(v.rows, row)
	}
	return v
}

func bracketed(text string) string {
	if text == "" {
		return ""
	}
	return "(" + text + ")"
}

type templateCreate struct {
	remoteFlags
	Code           string        `arg:"" optional:"" help:"Short name of the credential's type, unique in your organisation."`
	Name           string        `placeholder:"TEXT" help:"What people see. Default: the code."`
	Description    string        `placeholder:"TEXT" help:"What it is."`
	Attribute      []string      `sep:"none" placeholder:"NAME:TYPE[:required][:disclosed]" help:"A claim; TYPE is string, number, boolean or date; disclosed: the holder cannot withhold it. Repeat for each."`
	ValidFor       time.Duration `placeholder:"8760h" help:"How long each credential is valid, in whole seconds. Default: without end."`
	Revocable      bool          `help:"Its credentials can be revoked and suspended."`
	File           string        `placeholder:"FILE" help:"The whole template as JSON, as the API takes it, display too; - is standard input."`
	IdempotencyKey string        `placeholder:"KEY" help:"The same key again gives the first result, for 24 hours."`
}

// Help shows examples.
func (templateCreate) Help() string {
	return `For example:

  tidings template create library-card --name "Library card" \
      --attribute card_number:string:required:disclosed \
      --attribute holder_name:string:required`
}

// Run creates a template.
func (c templateCreate) Run(ctx context.Context, env *environment) error {
	wanted, err := c.template()
	if err != nil {
		return usageError{err}
	}
	return c.show(env, func(api *client.Client) (view, error) {
		t, err := api.CreateTemplate(ctx, wanted, keyed(c.IdempotencyKey)...)
		return templateView(t), err
	})
}

func (c templateCreate) template() (client.NewTemplate, error) {
	var t client.NewTemplate
	if c.File != "" {
		if c.Code != "" || c.Name != "" || c.Description != "" || len(c.Attribute) > 0 || c.ValidFor != 0 || c.Revocable {
			return t, errors.New("--file holds the whole template; leave out the rest")
		}
		err := readJSON(c.File, &t)
		return t, err
	}
	if c.Code == "" {
		return t, errors.New("name the template's code, or give --file")
	}
	if c.ValidFor < 0 || c.ValidFor%time.Second != 0 {
		return t, fmt.Errorf("--valid-for %v: it is whole seconds, such as 24h or 8760h", c.ValidFor)
	}
	t = client.NewTemplate{Name: c.Name, Code: c.Code, Description: c.Description, Attributes: map[string]tidings.Attribute{},
		ValidFor: int64(c.ValidFor / time.Second), Revocable: c.Revocable}
	if t.Name == "" {
		t.Name = c.Code
	}
	for _, text := range c.Attribute {
		parts := strings.Split(text, ":")
		if len(parts) < 2 || parts[0] == "" {
			return t, fmt.Errorf("--attribute %q: it is NAME:TYPE, such as holder_name:string:required", text)
		}
		a := tidings.Attribute{Type: tidings.AttributeType(parts[1])}
		for _, word := range parts[2:] {
			switch word {
			case "required":
				a.Required = true
			case "disclosed":
				a.AlwaysDisclosed = true
			default:
				return t, fmt.Errorf("--attribute %q: behind the type stand required or disclosed, not %q", text, word)
			}
		}
		t.Attributes[parts[0]] = a
	}
	return t, nil
}

type templateUpdate struct {
	remoteFlags
	ID          string  `arg:"" help:"The template's id."`
	Name        *string `placeholder:"TEXT" help:"What people see."`
	Description *string `placeholder:"TEXT" help:"What it is."`
	DisplayFile string  `placeholder:"FILE" help:"How wallets show it: a JSON array of the API's display; - is standard input, [] goes back to name and description."`
}

// Help shows an example.
func (templateUpdate) Help() string {
	return `For example, with this in display.json,

  [{"name": "Library card", "locale": "en", "backgroundColor": "#12107c", "textColor": "#ffffff",
    "logo": {"uri": "https://library.example/logo.png", "alt": "A book"}}]

  tidings template update TEMPLATE-ID --display-file display.json`
}

// Run changes a template.
func (c templateUpdate) Run(ctx context.Context, env *environment) error {
	patch := client.TemplatePatch{Name: c.Name, Description: c.Description}
	if c.DisplayFile != "" {
		if err := readJSON(c.DisplayFile, &patch.Display); err != nil {
			return usageError{err}
		}
	}
	return c.show(env, func(api *client.Client) (view, error) {
		t, err := api.UpdateTemplate(ctx, c.ID, patch)
		return templateView(t), err
	})
}

type templateArchive struct {
	remoteFlags
	ID string `arg:"" help:"The template's id."`
}

// Run archives a template.
func (c templateArchive) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		t, err := api.ArchiveTemplate(ctx, c.ID)
		return templateView(t), err
	})
}

type templateUnarchive struct {
	remoteFlags
	ID string `arg:"" help:"The template's id."`
}

// Run takes a template out of the archive.
func (c templateUnarchive) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		t, err := api.UnarchiveTemplate(ctx, c.ID)
		return templateView(t), err
	})
}

// keyed gives the option for an idempotency key, where one is set.
func keyed(key string) []client.Option {
	if key == "" {
		return nil
	}
	return []client.Option{client.IdempotencyKey(key)}
}

// maxFile bounds what is read from a file or standard input.
const maxFile = 2 << 20

// readJSON reads a file, or standard input where its name is -.
func readJSON(path string, into any) error {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return err
		}
		defer file.Close()
	}
	d := json.NewDecoder(io.LimitReader(file, maxFile))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s is not as the API takes it: %w", path, err)
	}
	return nil
}
