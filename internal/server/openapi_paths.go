package server

import (
	"bytes"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"tidings"
)

var problemsType = reflect.TypeFor[Problems]()

var pathParameter = regexp.MustCompile(`\{([^}]+)\}`)

var pathWords = map[string]string{"id": "The id of the object.", "sub": "The id of what belongs to it."}

// pathItem holds what the methods of a path share.
func pathItem(pattern string) object {
	var parameters []object
	for _, found := range pathParameter.FindAllStringSubmatch(pattern, -1) {
		parameters = append(parameters, object{"name": found[1], "in": "path", "required": true,
			"description": pathWords[found[1]], "schema": object{"type": "string", "pattern": idPattern}})
	}
	if parameters == nil {
		return object{}
	}
	return object{"parameters": parameters}
}

// describeRoute makes the Operation Object of a route.
func describeRoute(s *schemas, route *Route) object {
	op := operationOf(route)
	scope := []string{string(route.Scope)}
	out := object{
		"operationId": op.id, "summary": route.Summary,
		"security":  []object{{"oauth2": scope}, {"bearer": scope}},
		"responses": describeAnswers(s, route, op),
	}
	if op.tag != "" {
		out["tags"] = []string{op.tag}
	}
	out["description"] = strings.TrimSpace(op.text + " Takes the scope " + string(route.Scope) + ".")
	if parameters := describeParameters(route); parameters != nil {
		out["parameters"] = parameters
	}
	if route.Request != nil {
		content := object{"schema": s.of(route.Request, asked)}
		if op.request != nil {
			content["example"] = op.request
		}
		out["requestBody"] = object{"required": !route.OptionalBody, "content": object{"application/json": content}}
	}
	return out
}

func describeParameters(route *Route) (out []object) {
	if route.List {
		for _, name := range []string{"pageSize", "pageAfter", "pageBefore"} {
			out = append(out, object{"$ref": "#/components/parameters/" + name})
		}
		out = append(out, inQuery("sort", "The order, - for descending; left out, it is "+route.Sort+".", object{"type": "string", "enum": route.orders()}))
	}
	if route.Search {
		out = append(out, inQuery("search[name]", "A part of the name.", anyText))
	}
	for _, f := range route.Filters {
		schema := anyText
		if f.Values != nil {
			schema = object{"type": "string", "enum": f.Values}
		}
		out = append(out, inQuery("filter["+f.Name+"]", "Only what has this "+f.Name+".", schema))
	}
	if route.Stream {
		out = append(out, object{"name": "Last-Event-ID", "in": "header", "description": "The id of the last event that was received.",
			"schema": object{"type": "string", "pattern": idPattern}})
	}
	if route.Idempotency {
		out = append(out, object{"name": "Idempotency-Key", "in": "header",
			"description": "For 24 hours, the same key and body again gives the first answer; with another body it is a conflict.",
			"schema":      object{"type": "string", "pattern": idempotencyKeyPattern}})
	}
	return out
}

// anyText bounds a query parameter as parseQuery does, but in characters.
var anyText = object{"type": "string", "minLength": 1, "maxLength": maxValue}

func inQuery(name, text string, schema object) object {
	return object{"name": name, "in": "query", "description": text, "schema": schema}
}

var pageParameters = object{
	"pageSize": inQuery("page[size]", "How many items a page holds at most.",
		object{"type": "integer", "minimum": 1, "maximum": tidings.MaxPageSize, "default": tidings.DefaultPageSize}),
	"pageAfter":  inQuery("page[after]", "The id of an item: the page begins behind it.", object{"type": "string", "pattern": idPattern}),
	"pageBefore": inQuery("page[before]", "The id of an item: the page ends before it. Not together with page[after].", object{"type": "string", "pattern": idPattern}),
}

// describeAnswers lists every status that the route can answer.
func describeAnswers(s *schemas, route *Route, op operation) object {
	out := object{strconv.Itoa(route.Status): describeSuccess(s, route, op)}
	for _, r := range refusalTable {
		if !r.when(route, op) {
			continue
		}
		answer := object{"$ref": "#/components/responses/" + r.name}
		if r.status == http.StatusConflict {
			answer["description"] = strings.TrimSpace(op.conflict + " " + conflictKey(route))
		}
		out[strconv.Itoa(r.status)] = answer
	}
	return out
}

func conflictKey(route *Route) string {
	if route.Idempotency && route.Request != nil {
		return "Or the Idempotency-Key was used before with another body."
	}
	return ""
}

func describeSuccess(s *schemas, route *Route, op operation) object {
	out := object{"description": successText[route.Status], "headers": headers("X-Request-Id")}
	if route.Stream {
		out["content"] = object{"text/event-stream": object{"schema": object{"type": "string"}, "example": exampleStream()}}
		return out
	}
	if route.Response == nil {
		return out
	}
	data := s.of(route.Response, answered)
	envelope := object{"type": "object", "required": []string{"data"}, "properties": object{"data": data}}
	example := object{"data": op.response}
	if route.List {
		envelope["required"] = []string{"data", "links", "meta"}
		envelope["properties"] = object{"data": object{"type": "array", "items": data},
			"links": s.of(reflect.TypeFor[Links](), answered), "meta": s.of(reflect.TypeFor[Meta](), answered)}
		path := Prefix + strings.ReplaceAll(route.Pattern, "{id}", exampleAccepted.ID)
		example = object{"data": []any{op.response}, "links": Links{Self: path}, "meta": Meta{PageMeta{Size: tidings.DefaultPageSize}}}
	}
	content := object{"schema": envelope}
	if op.response != nil {
		content["example"] = example
	}
	out["content"] = object{"application/json": content}
	return out
}

// exampleStream is an event as it stands in a stream.
func exampleStream() string {
	var data bytes.Buffer
	if err := encode(&data, exampleAccepted); err != nil {
		panic(err) // of plain strings
	}
	return "id: " + exampleAccepted.ID + "\nevent: " + string(exampleAccepted.EventType) + "\ndata: " + data.String() + "\n\n"
}

var successText = map[int]string{
	http.StatusOK:        "It is in data.",
	http.StatusCreated:   "It was made and is in data.",
	http.StatusAccepted:  "It was accepted and is durable; it is in data.",
	http.StatusNoContent: "It is done.",
}

// refusalAnswer is a status other than success.
type refusalAnswer struct {
	status  int
	name    string
	sort    sort
	text    string
	headers []string
	when    func(*Route, operation) bool
}

func always(*Route, operation) bool          { return true }
func hasBody(route *Route, _ operation) bool { return route.Request != nil }

var refusalTable = []refusalAnswer{
	{400, "Invalid", sorts[tidings.KindInvalid], "It is malformed or breaks a rule; source says where.", nil,
		func(route *Route, _ operation) bool {
			return route.Request != nil || route.List || route.Stream || route.Idempotency
		}},
	{401, "Unauthorized", sorts[tidings.KindUnauthorized], "The access token is missing, has run out, or its client was revoked.", []string{"WWW-Authenticate"}, always},
	{403, "Forbidden", sorts[tidings.KindForbidden], "The access token lacks the scope.", []string{"WWW-Authenticate"}, always},
	{404, "NotFound", sorts[tidings.KindNotFound], "The organisation has nothing with this id.", nil,
		func(route *Route, _ operation) bool { return strings.Contains(route.Pattern, "{") }},
	{405, "WrongMethod", wrongMethod, "To any other method of this path; Allow lists those that it takes.", []string{"Allow"}, always},
	{409, "Conflict", sorts[tidings.KindConflict], "It conflicts with what is there.", nil,
		func(route *Route, op operation) bool { return op.conflict != "" || conflictKey(route) != "" }},
	{413, "TooLarge", sorts[tidings.KindTooLarge], "The body is too large.", nil, hasBody},
	{415, "WrongType", wrongMedia, "The body is not application/json in UTF-8, or it is compressed.", []string{"Accept-Post"}, hasBody},
	{429, "Limited", sorts[tidings.KindLimited], "A limit of the organisation is reached. Nothing was done.", []string{"Retry-After"}, always},
	{500, "Internal", internal, "The server failed; its log tells more under the X-Request-Id.", nil, always},
	{503, "Unavailable", sorts[tidings.KindUnavailable], "Overload or storage trouble; try again after Retry-After.", []string{"Retry-After"}, always},
}

// refusals makes the components that the routes' answers refer to.
func refusals(problems object) object {
	out := object{}
	for _, r := range refusalTable {
		example := Problems{[]Problem{{ID: "812be926cfd4bd6b0032147c", Status: strconv.Itoa(r.status), Code: r.sort.code, Title: r.sort.title, Detail: r.text}}}
		out[r.name] = object{
			"description": r.text,
			"headers":     headers(append([]string{"X-Request-Id"}, r.headers...)...),
			"content":     object{"application/json": object{"schema": problems, "example": example}},
		}
	}
	return out
}

// answerHeaders are the headers of answers.
var answerHeaders = object{
	"X-Request-Id":     answerHeader("Names the request in the server's log.", true, object{"type": "string", "pattern": "^[0-9a-f]{24}$"}),
	"Retry-After":      answerHeader("After how many seconds to try again; on every 503, on a 429 where it is known.", false, object{"type": "integer", "minimum": 1}),
	"WWW-Authenticate": answerHeader("The challenge of RFC 6750.", true, object{"type": "string", "pattern": "^Bearer "}),
	"Allow":            answerHeader("The methods of this path.", true, object{"type": "string"}),
	"Accept-Post":      answerHeader("The content type to send.", true, object{"type": "string"}),
}

func answerHeader(text string, required bool, schema object) object {
	return object{"description": text, "required": required, "schema": schema}
}

func headers(names ...string) object {
	out := object{}
	for _, name := range names {
		out[name] = object{"$ref": "#/components/headers/" + name}
	}
	return out
}
