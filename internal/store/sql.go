package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// scanner is a row to read from.
type scanner interface{ Scan(dest ...any) error }

func eachRow(rows *sql.Rows, scan func(scanner) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// queryRow reads one row outside the writer.
func (s *Store) queryRow(ctx context.Context, query string, args []any, dest ...any) error {
	return s.reads.row(ctx, query, args...).Scan(dest...)
}

// query reads rows outside the writer and hands each to scan.
func (s *Store) query(ctx context.Context, query string, args []any, scan func(scanner) error) error {
	return s.reads.each(ctx, query, args, scan)
}

// listQuery is a page of a table, ordered by one column. Cost does not depend
// on how far into the list the page lies: it starts at the boundary item.
type listQuery struct {
	table   string // FROM …, with joins
	columns string
	order   string // the column that orders, unique
	newest  bool   // descending
	from    int64  // the list's smallest value of that column; 0: any
	where   []string
	args    []any
	merge   *merge // the rows stand in several ranges of an index
}

// merge finds a list's rows by their keys first, as they stand in several ranges
// of an index. Each range is in order, so that no more of it is read than the
// page holds. The list's table then begins with what joins those keys, "found.id".
type merge struct {
	table  string
	ranges []string // a condition each
}

// add narrows the list; the condition's $ stands for the argument's number.
func (q *listQuery) add(condition string, arg any) {
	q.args = append(q.args, arg)
	q.where = append(q.where, strings.ReplaceAll(condition, "$", "$"+strconv.Itoa(len(q.args))))
}

// run reads limit+1 rows beyond boundary (0: from the list's start), so that
// the caller sees whether more follow. backwards reads what precedes.
func (q listQuery) text(boundary int64, backwards bool, limit int) (string, []any) {
	q.where = append([]string(nil), q.where...)
	q.args = append([]any(nil), q.args...)
	op, direction := ">", "ASC"
	if q.newest != backwards {
		op, direction = "<", "DESC"
	}
	if op == ">" && q.from > boundary {
		boundary, q.from = q.from-1, 0
	}
	if boundary != 0 {
		q.add(q.order+" "+op+" $", boundary)
	}
	if op == "<" && q.from != 0 {
		q.add(q.order+" >= $", q.from)
	}
	end := func(by string) string { return " ORDER BY " + by + " " + direction + " LIMIT " + strconv.Itoa(limit+1) }
	if q.merge == nil {
		return "SELECT " + q.columns + " FROM " + q.table + condition(q.where) + end(q.order), q.args
	}
	parts := make([]string, len(q.merge.ranges))
	for i, r := range q.merge.ranges {
		parts[i] = "SELECT id FROM (SELECT " + q.order + " AS id FROM " + q.merge.table + condition(append([]string{r}, q.where...)) + end(q.order) + ") AS part"
	}
	return "SELECT " + q.columns + " FROM (" + strings.Join(parts, " UNION ALL ") + end("id") + ") AS found CROSS JOIN " + q.table +
		" ORDER BY found.id " + direction, q.args
}

func condition(where []string) string {
	if len(where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(where, " AND ")
}

// list reads one page. boundary turns a cursor into a value of the ordering
// column.
func list[T any](ctx context.Context, s *Store, q listQuery, p tidings.Page, boundary func(id string) (int64, error), scan func(scanner) (T, error)) (tidings.List[T], error) {
	at, backwards, err := cursor(p, boundary)
	if err != nil {
		return tidings.List[T]{}, err
	}
	text, args := q.text(at, backwards, p.Limit())
	var items []T
	err = s.query(ctx, text, args, func(r scanner) error {
		item, err := scan(r)
		items = append(items, item)
		return err
	})
	if err != nil {
		return tidings.List[T]{}, err
	}
	return cut(items, at != 0, backwards, p.Limit()), nil
}

// cursor reads a page's boundary; 0 means none.
func cursor(p tidings.Page, boundary func(id string) (int64, error)) (at int64, backwards bool, err error) {
	id, name := p.After, "page[after]"
	if p.Before != "" {
		if p.After != "" {
			return 0, false, tidings.InvalidParameter("page[before]", "page[after] and page[before] cannot stand together.")
		}
		id, name, backwards = p.Before, "page[before]", true
	}
	if id == "" {
		return 0, false, nil
	}
	if at, err = boundary(id); err != nil {
		if tidings.KindOf(err) == tidings.KindNotFound {
			return 0, false, tidings.InvalidParameter(name, "There is no item %q to go on from.", id)
		}
		return 0, false, err
	}
	return at, backwards, nil
}

// cut makes a page of up to limit+1 items read beyond a boundary.
func cut[T any](items []T, bounded, backwards bool, limit int) tidings.List[T] {
	more := len(items) > limit
	if more {
		items = items[:limit]
	}
	if !backwards {
		return tidings.List[T]{Items: items, HasNext: more, HasPrev: bounded}
	}
	for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
		items[i], items[j] = items[j], items[i]
	}
	return tidings.List[T]{Items: items, HasNext: bounded, HasPrev: more}
}

// byKey is the boundary of lists that are ordered by key.
func (s *Store) byKey(sort string) func(string) (int64, error) {
	return func(id string) (int64, error) {
		key, ok := s.ids.key(id)
		if !ok {
			return 0, tidings.NotFound(sort, id)
		}
		return key, nil
	}
}

// notFound turns "no rows" into the product's own error.
func notFound(err error, sort, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return tidings.NotFound(sort, id)
	}
	return err
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func fromMicros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

// null gives NULL for the zero time, else its milliseconds.
func null(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// nullable reads a time that may be NULL.
type nullable struct{ sql.NullInt64 }

func (n nullable) pointer() *time.Time {
	if !n.Valid {
		return nil
	}
	t := fromMillis(n.Int64)
	return &t
}

func (n nullable) time() time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return fromMillis(n.Int64)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
