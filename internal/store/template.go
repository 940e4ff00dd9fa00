package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tidings"
)

// CreateTemplate makes a template. A code in use is a conflict.
func (s *Store) CreateTemplate(ctx context.Context, org int64, n tidings.NewTemplate) (out tidings.Template, err error) {
	attributes, err := json.Marshal(n.Attributes)
	if err != nil {
		return out, fmt.Errorf("encoding a template's attributes: %w", err)
	}
	display, err := displayText(n.Display)
	if err != nil {
		return out, err
	}
	err = s.w.submit(ctx, classTransition, org, 2, func(t *tx) error {
		key, err := t.idempotent(org, n.Idempotency, func() (int64, error) {
			key := t.key()
			added, err := t.exec(`INSERT INTO template (id, organisation_id, name, sort_name, code, description, attributes, display, valid_for, revocable, created_at, updated_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) ON CONFLICT (organisation_id, code) DO NOTHING`,
				key, org, n.Name, sortName(n.Name), n.Code, n.Description, string(attributes), display, int64(n.ValidFor/time.Second), number(n.Revocable), t.now)
			if err == nil && added == 0 {
				err = &tidings.Error{Kind: tidings.KindConflict, Pointer: "/code", Message: "There is a template with the code \"" + n.Code + "\" already."}
			}
			if err == nil {
				err = t.audit(org, n.By, "template.created", s.ids.public(key), n.Code)
			}
			return key, err
		})
		if err != nil {
			return err
		}
		out, err = s.readTemplate(t, org, key)
		return err
	})
	return out, err
}

// UpdateTemplate changes how a template is shown.
func (s *Store) UpdateTemplate(ctx context.Context, org int64, id string, p tidings.TemplatePatch) (tidings.Template, error) {
	return s.changeTemplate(ctx, org, id, p.Origin, "template.updated", func(t *tx, before tidings.Template) (string, error) {
		after, changed := p.Apply(before)
		if len(changed) == 0 {
			return "", nil
		}
		display, err := displayText(after.Display)
		if err != nil {
			return "", err
		}
		_, err = t.exec("UPDATE template SET name = $1, sort_name = $2, description = $3, display = $4, updated_at = $5 WHERE id = $6",
			after.Name, sortName(after.Name), after.Description, display, t.now, before.Key)
		return strings.Join(changed, " "), err
	})
}

// ArchiveTemplate ends issuing from a template, or takes it up again. What was
// issued or offered under it stays as it is.
func (s *Store) ArchiveTemplate(ctx context.Context, org int64, id string, archived bool, o tidings.Origin) (tidings.Template, error) {
	action := map[bool]string{true: "template.archived", false: "template.unarchived"}[archived]
	return s.changeTemplate(ctx, org, id, o, action, func(t *tx, before tidings.Template) (string, error) {
		if archived == (before.ArchivedAt != nil) {
			return "", nil
		}
		var at any
		if archived {
			at = t.now
		}
		_, err := t.exec("UPDATE template SET archived_at = $1, updated_at = $2 WHERE id = $3", at, t.now, before.Key)
		return before.Code, err
	})
}

// changeTemplate changes one and tells the audit log what; empty: nothing was.
func (s *Store) changeTemplate(ctx context.Context, org int64, id string, o tidings.Origin, action string, change func(*tx, tidings.Template) (string, error)) (out tidings.Template, err error) {
	key, ok := s.ids.key(id)
	if !ok {
		return out, tidings.NotFound("template", id)
	}
	err = s.w.submit(ctx, classTransition, org, 2, func(t *tx) error {
		before, err := s.readTemplate(t, org, key)
		if err != nil {
			return notFound(err, "template", id)
		}
		_, err = t.idempotent(org, o.Idempotency, func() (int64, error) {
			what, err := change(t, before)
			if err == nil && what != "" {
				err = t.audit(org, o.By, action, id, what)
			}
			return key, err
		})
		if err != nil {
			return err
		}
		out, err = s.readTemplate(t, org, key)
		return err
	})
	return out, err
}

// notArchived refuses to issue from a template that is archived.
func (t *tx) notArchived(c tidings.NewCredential) error {
	if t.known.templates[c.Template.Key] && !t.direct {
		return nil
	}
	var archived nullable
	err := t.queryRow("SELECT archived_at FROM template WHERE id = $1", []any{c.Template.Key}, &archived)
	if err == nil && archived.Valid {
		err = tidings.Invalid(c.At+"/credentialTemplateId", "The credential template %q is archived.", c.Template.ID)
	}
	if err == nil && !t.direct {
		t.known.templates[c.Template.Key] = true
	}
	return err
}

// displayText is how a display stands in its column.
func displayText(list []tidings.Display) (string, error) {
	if list == nil {
		list = []tidings.Display{}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "", fmt.Errorf("encoding a template's display: %w", err)
	}
	return string(text), nil
}

// sortName is a name without regard to case: databases know that of ASCII only.
func sortName(name string) string { return strings.ToLower(name) }

// number is how a truth value stands in its column.
func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

const templateColumns = `t.id, t.organisation_id, t.name, t.code, t.description, t.attributes, t.display, t.valid_for, t.revocable,
	t.created_at, t.updated_at, t.archived_at`

func (s *Store) scanTemplate(r scanner) (out tidings.Template, err error) {
	var attributes, display string
	var seconds, revocable, created, updated int64
	var archived nullable
	err = r.Scan(&out.Key, &out.OrganisationID, &out.Name, &out.Code, &out.Description, &attributes, &display, &seconds, &revocable,
		&created, &updated, &archived)
	if err != nil {
		return out, err
	}
	out.ID, out.CreatedAt, out.UpdatedAt, out.ArchivedAt = s.ids.public(out.Key), fromMillis(created), fromMillis(updated), archived.pointer()
	out.ValidFor, out.Revocable = time.Duration(seconds)*time.Second, revocable != 0
	return out, errors.Join(json.Unmarshal([]byte(attributes), &out.Attributes), json.Unmarshal([]byte(display), &out.Display))
}

// readTemplate reads one inside a transaction.
func (s *Store) readTemplate(t *tx, org, key int64) (out tidings.Template, err error) {
	err = sql.ErrNoRows
	failed := t.query("SELECT "+templateColumns+" FROM template t WHERE t.id = $1 AND t.organisation_id = $2", []any{key, org}, func(r scanner) error {
		out, err = s.scanTemplate(r)
		return err
	})
	if failed != nil {
		err = failed
	}
	return out, err
}

// Template finds a template of the organisation.
func (s *Store) Template(ctx context.Context, org int64, id string) (tidings.Template, error) {
	key, ok := s.ids.key(id)
	if !ok {
		return tidings.Template{}, tidings.NotFound("template", id)
	}
	t, err := s.scanTemplate(s.reads.row(ctx, "SELECT "+templateColumns+" FROM template t WHERE t.id = $1 AND t.organisation_id = $2", key, org))
	return t, notFound(err, "template", id)
}

// Templates lists the organisation's templates in the filter's order. A cursor is
// a template's id; one that stands where a change of it must not move it has a
// "." behind it, and the template's updatedAt (epoch milliseconds) or its name
// (base64url).
func (s *Store) Templates(ctx context.Context, org int64, f tidings.TemplateFilter, p tidings.Page) (none tidings.List[tidings.Template], err error) {
	q := listQuery{table: "template t", columns: templateColumns, order: "t.id"}
	q.add("t.organisation_id = $", org)
	if f.ID != "" {
		key, ok := s.ids.key(f.ID)
		if !ok {
			return none, nil
		}
		q.add("t.id = $", key)
	}
	if f.Type != "" { // a vct ends with its code
		q.add("t.code = $", f.Type[strings.LastIndexByte(f.Type, '/')+1:])
	}
	if f.Format != "" && f.Format != tidings.FormatSDJWTVC && f.Format != "sd-jwt" {
		return none, nil
	}
	if f.Archived != nil {
		q.where = append(q.where, map[bool]string{true: "t.archived_at IS NOT NULL", false: "t.archived_at IS NULL"}[*f.Archived])
	}
	if f.Search != "" {
		q.add("t.sort_name LIKE $ ESCAPE '!'", "%"+strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(sortName(f.Search))+"%")
	}
	order, descending := strings.CutPrefix(string(f.Order), "-")
	q.newest = descending
	if tidings.TemplateOrder(order) == tidings.TemplatesByName || tidings.TemplateOrder(order) == tidings.TemplatesByUpdate {
		return s.sortedTemplates(ctx, org, q, tidings.TemplateOrder(order), p)
	}
	return list(ctx, s, q, p, s.byKey("template"), s.scanTemplate)
}

// sortedTemplates orders by a column in which several can be equal: those stand
// in the order of their keys. An organisation has few templates, so this sorts
// them each time.
func (s *Store) sortedTemplates(ctx context.Context, org int64, q listQuery, by tidings.TemplateOrder, p tidings.Page) (none tidings.List[tidings.Template], err error) {
	column := map[tidings.TemplateOrder]string{tidings.TemplatesByName: "t.sort_name", tidings.TemplatesByUpdate: "t.updated_at"}[by]
	var boundary any // what stands in the column of the boundary
	at, backwards, err := cursor(p, func(cursor string) (int64, error) {
		id, value, stands := strings.Cut(cursor, ".")
		key, ok := s.ids.key(id)
		if !ok {
			return 0, tidings.NotFound("template", id)
		}
		err := s.queryRow(ctx, "SELECT "+column+" FROM template t WHERE t.id = $1 AND t.organisation_id = $2", []any{key, org}, &boundary)
		if err == nil && stands {
			if boundary, ok = readBoundary(by, value); !ok {
				err = tidings.NotFound("template", cursor)
			}
		}
		return key, notFound(err, "template", id)
	})
	if err != nil {
		return none, err
	}
	op, direction := ">", " ASC"
	if q.newest != backwards {
		op, direction = "<", " DESC"
	}
	if at != 0 {
		q.args = append(q.args, boundary, at)
		q.where = append(q.where, fmt.Sprintf("(%[1]s %[2]s $%[3]d OR %[1]s = $%[3]d AND t.id %[2]s $%[4]d)", column, op, len(q.args)-1, len(q.args)))
	}
	text := "SELECT " + q.columns + " FROM " + q.table + " WHERE " + strings.Join(q.where, " AND ") +
		" ORDER BY " + column + direction + ", t.id" + direction + " LIMIT " + strconv.Itoa(p.Limit()+1)
	var items []tidings.Template
	err = s.query(ctx, text, q.args, func(r scanner) error {
		t, err := s.scanTemplate(r)
		items = append(items, t)
		return err
	})
	if err != nil {
		return none, err
	}
	return cut(items, at != 0, backwards, p.Limit()), nil
}

// readBoundary reads what stood in the column when the cursor was given out.
func readBoundary(by tidings.TemplateOrder, text string) (value any, ok bool) {
	if by == tidings.TemplatesByUpdate {
		at, err := strconv.ParseInt(text, 10, 64)
		return at, err == nil
	}
	name, err := base64.RawURLEncoding.DecodeString(text)
	return sortName(string(name)), err == nil && utf8.Valid(name) && !slices.Contains(name, 0) // else PostgreSQL fails
}
