package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"tidings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// readBody reads the body to its end, or refuses its type or its size.
func readBody(route *Route, w http.ResponseWriter, r *http.Request, body *bytes.Buffer) error {
	if err := checkMediaType(r.Header); err != nil {
		return err
	}
	limit := cmp.Or(route.MaxBody, MaxBody)
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if r.ContentLength > 0 {
		body.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return tooLarge(limit)
	}
	if err != nil {
		return &tidings.Error{Kind: tidings.KindInvalid, Message: "The body could not be read to its end.", Err: err}
	}
	return nil
}

// checkMediaType wants JSON (RFC 8259, RFC 6839 section 3.1). A request that
// names no type is taken at its word once its body has been read as JSON.
func checkMediaType(h http.Header) error {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return unsupportedMediaType("A compressed body is not accepted; send it without Content-Encoding.")
	}
	text := h.Get("Content-Type")
	if text == "" || text == "application/json" {
		return nil
	}
	media, params, err := mime.ParseMediaType(text)
	if err != nil || media != "application/json" && !(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) {
		return unsupportedMediaType("The content type must be application/json.")
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return unsupportedMediaType("The charset must be utf-8 (RFC 8259, section 8.1).")
	}
	return nil
}

// idempotency reads the header Idempotency-Key. A key belongs to the route and
// to what the path names.
func idempotency(route *Route, id string, r *http.Request, body []byte) (*tidings.Idempotency, error) {
	keys := r.Header["Idempotency-Key"]
	if len(keys) == 0 {
		return nil, nil
	}
	if len(keys) > 1 {
		return nil, tidings.Invalid("", "The header Idempotency-Key is there more than once.")
	}
	if err := tidings.CheckIdempotencyKey("", keys[0]); err != nil {
		return nil, err
	}
	return &tidings.Idempotency{Route: strings.TrimRight(route.Method+" "+route.Pattern+" "+id, " "), Key: keys[0], Hash: sha256.Sum256(body)}, nil
}

// strict refuses members that the type does not have. Duplicate members,
// invalid UTF-8 and trailing data are refused by the package itself.
var strict = json.JoinOptions(json.RejectUnknownMembers(true))

// readPatch reads a body into in, a patch, and hands what is null in it to
// reset, which tells whether the member has a default to go back to.
func readPatch(dec *jsontext.Decoder, in any, reset func(name string) bool) error {
	body, err := dec.ReadValue()
	if err != nil {
		return err
	}
	body = body.Clone()
	if err := json.Unmarshal(body, in, dec.Options()); err != nil {
		return err
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil {
		return err
	}
	for name, value := range members {
		if value.Kind() == jsontext.KindNull && !reset(name) {
			return tidings.Invalid("/"+name, "%s cannot be null.", name)
		}
	}
	return nil
}

// lister is a body that may also be an array.
type lister interface{ mayBeArray() }

// decode reads a body into in, or says what is wrong with it and where.
func decode(body []byte, in any) error {
	want := "a JSON object"
	_, array := in.(lister)
	if array {
		want = "a JSON object or an array of objects"
	}
	text := bytes.TrimLeft(body, " \t\r\n")
	if len(text) == 0 {
		return tidings.Invalid("", "The body is empty; send %s.", want)
	}
	kind := jsontext.Value(text[:1]).Kind()
	if got := kindName(kind); got != "" && kind != jsontext.KindBeginObject && !(array && kind == jsontext.KindBeginArray) && jsontext.Value(text).IsValid() {
		return tidings.Invalid("", "The body must be %s; got %s.", want, got)
	}
	if err := json.Unmarshal(body, in, strict); err != nil {
		return bodyError(body, err)
	}
	if bytes.Contains(body, []byte(`\u0000`)) {
		return refuseNUL(body)
	}
	return nil
}

// bodyError puts the JSON package's error in our words.
func bodyError(body []byte, err error) error {
	if e, ok := errors.AsType[*tidings.Error](err); ok { // a type's own rule
		return e
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if e.Err == jsontext.ErrDuplicateName {
			return tidings.Invalid(string(e.JSONPointer), "The member %q is there more than once.", short(e.JSONPointer.LastToken()))
		}
		reason := "it ends too early"
		if e.Err != nil && !errors.Is(e.Err, io.ErrUnexpectedEOF) {
			reason = e.Err.Error()
		}
		line, column := position(body, e.ByteOffset)
		return tidings.Invalid(string(e.JSONPointer), "The body is not valid JSON: %s, at line %d, column %d (offset %d).",
			reason, line, column, e.ByteOffset)
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		at := string(e.JSONPointer)
		if e.Err == json.ErrUnknownName {
			return tidings.Invalid(at, "There is no member %q here; the members are %s.", short(e.JSONPointer.LastToken()), members(e.GoType))
		}
		want, got := typeName(e.GoType), cmp.Or(kindName(e.JSONKind), "something else")
		if want == "an integer" && e.JSONKind == jsontext.KindNumber {
			got = "another number"
		}
		return tidings.Invalid(at, "This must be %s; got %s.", want, got)
	}
	return fmt.Errorf("decoding a body: %w", err)
}

// position turns an offset into a line and a column, both from 1, the column
// in bytes.
func position(body []byte, offset int64) (line, column int) {
	before := body[:min(int(offset), len(body))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// refuseNUL points to the string that holds U+0000, which PostgreSQL cannot
// keep. The body is known to be valid.
func refuseNUL(body []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.ReadToken()
		if err != nil { // its end: the escape was itself escaped
			return nil
		}
		if token.Kind() == jsontext.KindString && strings.ContainsRune(token.String(), 0) {
			return tidings.Invalid(string(d.StackPointer()), "The character U+0000 is not accepted.")
		}
	}
}

// kindName names a sort of JSON value, "" if k is none.
func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject, jsontext.KindEndObject:
		return "an object"
	case jsontext.KindBeginArray, jsontext.KindEndArray:
		return "an array"
	}
	return ""
}

// typeName says what JSON a Go type is read from.
func typeName(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "of another type"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number in the range of a 64-bit float"
	}
	return "of another type"
}

// members lists the members of a struct's JSON object.
func members(t reflect.Type) string {
	if t == nil || t.Kind() != reflect.Struct {
		return "in the API's reference"
	}
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// short keeps a stranger's text in an error to a length that can be read.
func short(text string) string {
	const limit = 64
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
