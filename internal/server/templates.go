package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"tidings"

	"github.com/go-json-experiment/json/jsontext"
)

// NewTemplate asks for a credential template.
type NewTemplate struct {
	Name             string                       `json:"name"`
	Code             string                       `json:"code,omitempty"`
	Type             string                       `json:"type,omitempty"` // the older name of code
	Description      string                       `json:"description,omitempty"`
	CredentialFormat string                       `json:"credentialFormat,omitempty"` // "sd-jwt", also where it is left out
	Attributes       map[string]tidings.Attribute `json:"attributes"`
	Display          []tidings.Display            `json:"display,omitempty"`
	ValidFor         *int64                       `json:"validFor,omitzero"` // seconds
	Revocable        bool                         `json:"revocable,omitempty"`
}

// TemplatePatch changes how a template is shown: members that are there replace
// what was.
type TemplatePatch struct {
	Name        *string            `json:"name,omitempty"`
	Description *string            `json:"description,omitempty"`
	Display     *[]tidings.Display `json:"display,omitempty"`
}

// UnmarshalJSONFrom reads a patch, in which null takes a member back to its
// default.
func (p *TemplatePatch) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	type plain TemplatePatch
	return readPatch(dec, (*plain)(p), func(name string) bool {
		switch name {
		case "description":
			p.Description = new("")
		case "display":
			p.Display = &[]tidings.Display{}
		default:
			return false
		}
		return true
	})
}

// Template is a credential template.
type Template struct {
	ID          string                       `json:"id"`
	Name        string                       `json:"name"`
	Description string                       `json:"description"`
	Type        string                       `json:"type"` // the full type (vct) of its credentials
	Code        string                       `json:"code"` // the type's short name
	Format      string                       `json:"format"`
	Attributes  map[string]tidings.Attribute `json:"attributes"`
	Display     []tidings.Display            `json:"display"`
	ValidFor    *int64                       `json:"validFor"` // seconds; null: without end
	Revocable   bool                         `json:"revocable"`
	CreatedAt   Time                         `json:"createdAt"`
	UpdatedAt   Time                         `json:"updatedAt"`
	ArchivedAt  *Time                        `json:"archivedAt"`
}

func (t Template) cursor() string { return t.ID }

func (s *Server) showTemplate(c *call) func(tidings.Template) Template {
	return func(t tidings.Template) Template {
		out := Template{
			ID: t.ID, Name: t.Name, Description: t.Description,
			Type: s.cfg.Issuer.VCT(c.Organisation.Slug, t.Code), Code: t.Code, Format: tidings.FormatSDJWTVC,
			Attributes: t.Attributes, Display: t.Display, Revocable: t.Revocable, CreatedAt: Time(t.CreatedAt), UpdatedAt: Time(t.UpdatedAt), ArchivedAt: optionalTime(t.ArchivedAt),
		}
		if t.ValidFor != 0 {
			out.ValidFor = new(int64(t.ValidFor / time.Second))
		}
		return out
	}
}

// noun gives the template that is asked for, under either name of its code.
func (in NewTemplate) noun() (tidings.NewTemplate, error) {
	out := tidings.NewTemplate{Name: in.Name, Code: in.Code, Description: in.Description, Format: in.CredentialFormat, Attributes: in.Attributes,
		Display: in.Display, Revocable: in.Revocable}
	if in.ValidFor != nil {
		// 0 is no life; what is beyond a duration is beyond the bounds, too.
		seconds := max(min(*in.ValidFor, int64(tidings.MaxValidFor/time.Second)+1), -1)
		out.ValidFor = time.Duration(cmp.Or(seconds, -1)) * time.Second
	}
	if in.Type != "" {
		if in.Code != "" && in.Code != in.Type {
			return out, tidings.Invalid("/type", "type is the older name of code; the two must not differ.")
		}
		out.Code = in.Type
	}
	if out.Format == "" {
		out.Format = "sd-jwt"
	}
	return out, in.pointAtType(out.Check())
}

// pointAtType makes an error about the code point to the member that the
// caller wrote it in.
func (in NewTemplate) pointAtType(err error) error {
	if in.Code == "" && in.Type != "" {
		return movePointer(err, "/code", "/type")
	}
	return err
}

func (s *Server) createTemplate(ctx context.Context, c *call, in NewTemplate) (Template, error) {
	wanted, err := in.noun()
	if err != nil {
		return Template{}, err
	}
	wanted.Origin = c.origin()
	t, err := s.cfg.Templates.CreateTemplate(ctx, c.Organisation.Key, wanted)
	return s.showTemplate(c)(t), in.pointAtType(err)
}

func (s *Server) listTemplates(ctx context.Context, c *call) (page[Template], error) {
	f := c.query.filter
	filter := tidings.TemplateFilter{ID: f["id"], Type: f["type"], Format: f["format"], Search: c.query.search, Order: tidings.TemplateOrder(c.query.sort)}
	if archived, ok := f["archived"]; ok {
		yes := archived == "true"
		filter.Archived = &yes
	}
	if slash := strings.LastIndexByte(filter.Type, '/'); slash >= 0 { // a full type, which ends with its code
		code := filter.Type[slash+1:]
		if s.cfg.Issuer.VCT(c.Organisation.Slug, code) != filter.Type {
			return page[Template]{}, nil // another organisation's, or another issuer's
		}
		filter.Type = code
	}
	l, err := s.cfg.Templates.Templates(ctx, c.Organisation.Key, filter, c.query.page)
	p := pageOf(l, s.showTemplate(c))
	// An update meanwhile moves the template at the boundary, but must not move the
	// boundary.
	switch strings.TrimPrefix(c.query.sort, "-") {
	case "updatedAt":
		p.cursor = func(t Template) string { return t.ID + "." + strconv.FormatInt(time.Time(t.UpdatedAt).UnixMilli(), 10) }
	case "name":
		p.cursor = func(t Template) string {
			if stands := t.ID + "." + base64.RawURLEncoding.EncodeToString([]byte(t.Name)); len(stands) <= maxValue {
				return stands
			}
			return t.ID
		}
	}
	return p, err
}

func (s *Server) readTemplate(ctx context.Context, c *call, _ none) (Template, error) {
	t, err := s.cfg.Templates.Template(ctx, c.Organisation.Key, c.id)
	return s.showTemplate(c)(t), err
}

func (s *Server) updateTemplate(ctx context.Context, c *call, in TemplatePatch) (Template, error) {
	patch := tidings.TemplatePatch{Name: in.Name, Description: in.Description, Display: in.Display, Origin: c.origin()}
	if err := patch.Check(); err != nil {
		return Template{}, err
	}
	t, err := s.cfg.Templates.UpdateTemplate(ctx, c.Organisation.Key, c.id, patch)
	return s.showTemplate(c)(t), err
}

func (s *Server) archiveTemplate(ctx context.Context, c *call, _ none) (Template, error) {
	t, err := s.cfg.Templates.ArchiveTemplate(ctx, c.Organisation.Key, c.id, true, c.origin())
	return s.showTemplate(c)(t), err
}

func (s *Server) unarchiveTemplate(ctx context.Context, c *call, _ none) (Template, error) {
	t, err := s.cfg.Templates.ArchiveTemplate(ctx, c.Organisation.Key, c.id, false, c.origin())
	return s.showTemplate(c)(t), err
}
