package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"tidings"
)

// CreateTemplate makes a template. A code in use is a conflict.
func (s *Store) CreateTemplate(ctx context.Context, org int64, n tidings.NewTemplate) (out tidings.Template, err error) {
	attributes, err := json.Marshal(n.Attributes)
	if err != nil {
		return out, fmt.Errorf("encoding a template's attributes: %w", err)
	}
	err = s.w.submit(ctx, classTransition, org, 1, func(t *tx) error {
		key, err := t.idempotent(org, n.Idempotency, func() (int64, error) {
			key := t.key()
			added, err := t.exec(`INSERT INTO template (id, organisation_id, name, code, description, attributes, created_at, updated_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (organisation_id, code) DO NOTHING`,
				key, org, n.Name, n.Code, n.Description, string(attributes), t.now)
			if err == nil && added == 0 {
				err = &tidings.Error{Kind: tidings.KindConflict, Pointer: "/code", Message: "There is a template with the code \"" + n.Code + "\" already."}
			}
			return key, err
		})
		if err != nil {
			return err
		}
		return t.query("SELECT "+templateColumns+" FROM template t WHERE t.id = $1", []any{key}, func(r scanner) (err error) {
			out, err = s.scanTemplate(r)
			return err
		})
	})
	return out, err
}

const templateColumns = "t.id, t.organisation_id, t.name, t.code, t.description, t.attributes, t.created_at, t.updated_at, t.archived_at"

func (s *Store) scanTemplate(r scanner) (out tidings.Template, err error) {
	var attributes string
	var created, updated int64
	var archived nullable
	err = r.Scan(&out.Key, &out.OrganisationID, &out.Name, &out.Code, &out.Description, &attributes, &created, &updated, &archived)
	if err != nil {
		return out, err
	}
	out.ID, out.CreatedAt, out.UpdatedAt, out.ArchivedAt = s.ids.public(out.Key), fromMillis(created), fromMillis(updated), archived.pointer()
	return out, json.Unmarshal([]byte(attributes), &out.Attributes)
}

// Template finds a template of the organisation.
func (s *Store) Template(ctx context.Context, org int64, id string) (tidings.Template, error) {
	key, ok := s.ids.key(id)
	if !ok {
		return tidings.Template{}, tidings.NotFound("template", id)
	}
	t, err := s.scanTemplate(s.reads.QueryRowContext(ctx, bind("SELECT "+templateColumns+" FROM template t WHERE t.id = $1 AND t.organisation_id = $2"), key, org))
	return t, notFound(err, "template", id)
}

// Templates lists the organisation's templates, oldest first.
func (s *Store) Templates(ctx context.Context, org int64, f tidings.TemplateFilter, p tidings.Page) (tidings.List[tidings.Template], error) {
	q := listQuery{table: "template t", columns: templateColumns, order: "t.id"}
	q.add("t.organisation_id = $", org)
	if f.ID != "" {
		key, ok := s.ids.key(f.ID)
		if !ok {
			return tidings.List[tidings.Template]{}, nil
		}
		q.add("t.id = $", key)
	}
	if f.Type != "" { // a vct ends with its code
		q.add("t.code = $", f.Type[strings.LastIndexByte(f.Type, '/')+1:])
	}
	if f.Format != "" && f.Format != tidings.FormatSDJWTVC && f.Format != "sd-jwt" {
		return tidings.List[tidings.Template]{}, nil
	}
	if f.Archived != nil {
		q.where = append(q.where, map[bool]string{true: "t.archived_at IS NOT NULL", false: "t.archived_at IS NULL"}[*f.Archived])
	}
	if f.Search != "" {
		q.add("instr(lower(t.name), lower($)) > 0", f.Search)
	}
	return list(ctx, s, q, p, s.byKey("template"), s.scanTemplate)
}
