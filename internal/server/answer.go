package server

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// envelope is around every successful answer.
type envelope[T any] struct {
	Data  T      `json:"data"`
	Links *Links `json:"links,omitzero"`
	Meta  *Meta  `json:"meta,omitzero"`
}

// Links tell where a list goes on: absolute paths with their query.
type Links struct {
	Self string `json:"self"`
	Next string `json:"next,omitempty"`
	Prev string `json:"prev,omitempty"`
}

// Meta describes a list.
type Meta struct {
	Page PageMeta `json:"page"`
}

// PageMeta describes the page: its largest size, and whether there is more on
// either side.
type PageMeta struct {
	Size    int  `json:"size"`
	HasNext bool `json:"hasNext"`
	HasPrev bool `json:"hasPrev"`
}

// Time is written in UTC with milliseconds, as 2006-01-02T15:04:05.000Z.
type Time time.Time

// TimeLayout is how a [Time] is written.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSONTo writes the time.
func (t Time) MarshalJSONTo(enc *jsontext.Encoder) error {
	b := append(enc.AvailableBuffer(), '"')
	b = append(time.Time(t).UTC().AppendFormat(b, TimeLayout), '"')
	return enc.WriteValue(b)
}

// optionalTime shows a time that may not be there.
func optionalTime(t *time.Time) *Time { return (*Time)(t) }

// optional shows a text that may not be there: empty is null.
func optional[S ~string](text S) *string {
	if text == "" {
		return nil
	}
	s := string(text)
	return &s
}

// encoding is how answers are written: maps in the order of their keys, so
// that the same answer has the same bytes.
var encoding = json.JoinOptions(json.Deterministic(true))

func encode(out *bytes.Buffer, v any) error { return json.MarshalWrite(out, v, encoding) }

// Header values that every answer shares; net/http only reads them.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
	noSniff  = []string{"nosniff"}
)

// respond writes the answer. All of them are for one caller only and some
// hold secrets, so none may be stored (RFC 9111, section 5.2.2.5).
func respond(w http.ResponseWriter, status int, id string, body []byte) {
	h := w.Header()
	h["X-Request-Id"] = []string{id}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	if len(body) > 0 {
		h["Content-Type"] = jsonType
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	w.Write(body)
}
