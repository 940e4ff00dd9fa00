package server

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	"tidings"
)

// object is a JSON object of a document.
type object = map[string]any

// side is which way a type travels. What a caller may leave out of a request
// always stands in an answer.
type side bool

const (
	asked    side = true
	answered side = false
)

// schemas describes Go types as they stand in JSON. A struct becomes a
// component, which others refer to.
type schemas struct {
	components object
	types      map[string]reflect.Type // of each component
	clash      error
}

var (
	timeType   = reflect.TypeFor[Time]()
	txCodeType = reflect.TypeFor[TxCodeRequest]()
	listerType = reflect.TypeFor[lister]()
	nounsPath  = reflect.TypeFor[tidings.Attribute]().PkgPath()
)

// of gives the schema of a type.
func (s *schemas) of(t reflect.Type, way side) object {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem(), way)
	}
	if t == timeType {
		return object{"type": "string", "format": "date-time", "pattern": timePattern}
	}
	if values, ok := enums[t]; ok {
		return object{"type": "string", "enum": values}
	}
	if t == txCodeType {
		return object{"anyOf": []object{{"type": "boolean"}, s.of(reflect.TypeFor[TxCodeShape](), way)}}
	}
	switch t.Kind() {
	case reflect.Struct:
		if reflect.PointerTo(t).Implements(listerType) {
			field, _ := t.FieldByName("Items")
			item := s.of(field.Type.Elem(), way)
			return object{"oneOf": []object{item, {"type": "array", "items": item, "minItems": 1, "maxItems": tidings.MaxPublishBatch}}}
		}
		return s.component(t, way)
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem(), way)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem(), way)}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	}
	return object{} // any value
}

// component describes a struct once and gives a reference to it.
func (s *schemas) component(t reflect.Type, way side) object {
	name := t.Name()
	if way == asked && t.PkgPath() == nounsPath {
		name += "Input" // a noun goes both ways
	}
	reference := object{"$ref": "#/components/schemas/" + name}
	if known, ok := s.types[name]; ok {
		if known != t {
			s.clash = fmt.Errorf("server: two types of the API are named %s: %v and %v", name, known, t)
		}
		return reference
	}
	s.types[name] = t
	properties, required := object{}, []string{}
	s.members(t, name, func(owner string, field reflect.StructField, member string, optional bool) {
		property := s.of(field.Type, way)
		words := wordsOf(owner, member)
		if way == answered && field.Type.Kind() == reflect.Pointer && !optional {
			property = nullable(property)
		}
		if words.text != "" {
			property["description"] = words.text
		}
		maps.Copy(property, words.schema)
		properties[member] = property
		if way == answered && !optional || way == asked && words.required {
			required = append(required, member)
		}
	})
	schema := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	if way == asked {
		schema["additionalProperties"] = false // strict refuses them
	}
	words := wordsOf(name, "")
	if words.text != "" {
		schema["description"] = words.text
	}
	maps.Copy(schema, words.schema)
	s.components[name] = schema
	return reference
}

// members visits the members of a struct's JSON object, those of embedded
// structs among them, each with the component that has the words for it.
func (s *schemas) members(t reflect.Type, owner string, visit func(owner string, field reflect.StructField, member string, optional bool)) {
	for field := range t.Fields() {
		tag, ok := field.Tag.Lookup("json")
		if !ok && field.Anonymous {
			s.members(field.Type, field.Type.Name(), visit)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		visit(owner, field, name, strings.Contains(options, "omit"))
	}
}

// nullable lets null stand in place of what the schema describes.
func nullable(schema object) object {
	text, plain := schema["type"].(string)
	if !plain {
		return object{"anyOf": []object{schema, {"type": "null"}}}
	}
	schema["type"] = []string{text, "null"}
	if values, ok := schema["enum"].([]string); ok {
		schema["enum"] = withNull(values)
	}
	return schema
}

// withNull gives the values and null.
func withNull[S ~string](values []S) []any {
	out := make([]any, 0, len(values)+1)
	for _, v := range values {
		out = append(out, v)
	}
	return append(out, nil)
}
