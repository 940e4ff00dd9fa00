package main

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"tidings/client"
)

// view is what a command shows to people: a table of a list, or the members of
// one thing and perhaps a table below.
type view struct {
	ids     []string
	list    bool
	members [][2]string
	head    []string
	rows    [][]string
	note    string // where there is nothing else to show
}

// add adds a member, unless it has no value.
func (v *view) add(name, value string) {
	if value != "" {
		v.members = append(v.members, [2]string{name, value})
	}
}

// write writes what there is, in columns.
func (v view) write(w io.Writer) error {
	var text bytes.Buffer
	columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, m := range v.members {
		fmt.Fprintf(columns, "%s\t%s\n", m[0], printable(m[1]))
	}
	if len(v.members) > 0 && len(v.rows) > 0 {
		fmt.Fprintln(columns)
	}
	if v.list || len(v.rows) > 0 {
		fmt.Fprintln(columns, strings.Join(v.head, "\t"))
	}
	for _, row := range v.rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	if v.note != "" {
		fmt.Fprintln(columns, v.note)
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// printable keeps a stranger's text from steering the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

// collect takes items up to the limit and makes a row of each; the first
// column is the id.
func collect[T any](items iter.Seq2[T, error], limit int, head []string, row func(T) []string) (view, error) {
	v := view{list: true, head: head}
	for item, err := range items {
		if err != nil {
			return v, err
		}
		columns := row(item)
		v.rows, v.ids = append(v.rows, columns), append(v.ids, columns[0])
		if len(v.rows) == limit {
			break
		}
	}
	return v, nil
}

// page asks for no more at once than is wanted.
func (f listFlags) page() client.Page {
	if f.Limit <= 0 || f.Limit > 100 {
		return client.Page{Size: 100}
	}
	return client.Page{Size: f.Limit}
}

// stamp writes a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func optionalStamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return stamp(*t)
}

// joined writes names in one column.
func joined[S ~string](names []S) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ",")
}
