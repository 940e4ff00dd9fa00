package server

import (
	"context"
	"strings"

	"tidings"
)

// NewTemplate asks for a credential template.
type NewTemplate struct {
	Name             string                       `json:"name"`
	Code             string                       `json:"code,omitempty"`
	Type             string                       `json:"type,omitempty"` // the older name of code
	Description      string                       `json:"description,omitempty"`
	CredentialFormat string                       `json:"credentialFormat,omitempty"` // "sd-jwt", also where it is left out
	Attributes       map[string]tidings.Attribute `json:"attributes"`
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
	CreatedAt   Time                         `json:"createdAt"`
	UpdatedAt   Time                         `json:"updatedAt"`
	ArchivedAt  *Time                        `json:"archivedAt"`
}

func (t Template) cursor() string { return t.ID }

func (s *Server) showTemplate(c *call) func(tidings.Template) Template {
	return func(t tidings.Template) Template {
		return Template{
			ID: t.ID, Name: t.Name, Description: t.Description,
			Type: s.cfg.Issuer.VCT(c.Organisation.Slug, t.Code), Code: t.Code, Format: tidings.FormatSDJWTVC,
			Attributes: t.Attributes, CreatedAt: Time(t.CreatedAt), UpdatedAt: Time(t.UpdatedAt), ArchivedAt: optionalTime(t.ArchivedAt),
		}
	}
}

// noun gives the template that is asked for, under either name of its code.
func (in NewTemplate) noun() (tidings.NewTemplate, error) {
	out := tidings.NewTemplate{Name: in.Name, Code: in.Code, Description: in.Description, Format: in.CredentialFormat, Attributes: in.Attributes}
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
	filter := tidings.TemplateFilter{ID: f["id"], Type: f["type"], Format: f["format"], Search: c.query.search}
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
	return pageOf(l, s.showTemplate(c)), err
}

func (s *Server) readTemplate(ctx context.Context, c *call, _ none) (Template, error) {
	t, err := s.cfg.Templates.Template(ctx, c.Organisation.Key, c.id)
	return s.showTemplate(c)(t), err
}
