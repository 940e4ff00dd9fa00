package server

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"tidings"
)

// OpenAPIPath is where the document of the API stands.
const OpenAPIPath = "/openapi.json"

// tokenPath is where access tokens are given out.
const tokenPath = "/iam/realms/product-hub/protocol/openid-connect/token"

// document is the description of the API, made once at the start.
type document struct {
	body []byte
	etag string
}

const documentText = `The API of Tidings: it issues credentials over OpenID for Verifiable Credential Issuance 1.0 and tells of each issuance by signed webhooks.

Every call needs an access token (OAuth 2.0 client credentials) and sees one organisation only: that of the token. The scope admin covers the other two.

Bodies are one JSON value in UTF-8 of at most 64 KiB (POST /events: 1 MiB). Unknown and repeated members are refused; one that is null, and an optional text that is empty, count as left out. Every answer has the header X-Request-Id, which the server's log has, too. HEAD is answered as GET without the body.`

// Table gives the routes that a server can have, for what is made from them.
func Table() []Route { return (&Server{cfg: Config{Sandbox: true}}).routes() }

// newDocument describes the table.
func newDocument(cfg *Config, table []Route) (*document, error) {
	s := &schemas{components: object{}, types: map[string]reflect.Type{}}
	paths := map[string]object{}
	for i := range table {
		route := &table[i]
		if paths[route.Pattern] == nil {
			paths[route.Pattern] = pathItem(route.Pattern)
		}
		paths[route.Pattern][strings.ToLower(route.Method)] = describeRoute(s, route)
	}
	base := strings.TrimRight(cfg.PublicURL, "/")
	problems := s.of(problemsType, answered)
	doc := object{
		"openapi":           "3.1.0",
		"jsonSchemaDialect": schemaDialect,
		"info":              object{"title": "Tidings", "version": cmp.Or(cfg.Version, "0"), "summary": "Credentials over OpenID4VCI 1.0, and signed webhooks that tell of them", "description": documentText},
		"servers":           []object{{"url": base + Prefix}},
		"tags":              tags,
		"paths":             paths,
		"webhooks":          webhooks(),
		"components": object{
			"securitySchemes": securitySchemes(base + tokenPath),
			"schemas":         s.components,
			"responses":       refusals(problems),
			"headers":         answerHeaders,
			"parameters":      pageParameters,
		},
	}
	if s.clash != nil {
		return nil, s.clash
	}
	var out bytes.Buffer
	if err := encode(&out, doc); err != nil {
		return nil, fmt.Errorf("writing the OpenAPI document: %w", err)
	}
	sum := sha256.Sum256(out.Bytes())
	return &document{out.Bytes(), `"` + hex.EncodeToString(sum[:16]) + `"`}, nil
}

func securitySchemes(tokenURL string) object {
	scopes := object{
		string(tidings.ScopeRead):    "Everything that is read and is no secret.",
		string(tidings.ScopePublish): "Publish events and issue credentials.",
		string(tidings.ScopeAdmin):   "Endpoints, secrets and templates, and all that the other two allow.",
	}
	return object{
		"oauth2": object{"type": "oauth2", "description": "A token lives for five minutes unless the installation says otherwise; expires_in tells.",
			"flows": object{"clientCredentials": object{"tokenUrl": tokenURL, "scopes": scopes}}},
		"bearer": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token that was got before."},
	}
}

// openAPI serves the document to everyone: browsers of other origins too, as
// viewers run there.
func (s *Server) openAPI(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.refuse(OpenAPIPath, methodNotAllowed("GET, HEAD"))(w, r)
		return
	}
	start, id := time.Now(), newRequestID()
	h, status := w.Header(), http.StatusOK
	h["X-Request-Id"] = []string{id}
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-cache") // may be kept, but is asked about each time
	h.Set("Etag", s.document.etag)
	h["X-Content-Type-Options"] = noSniff
	if matches(r.Header.Values("If-None-Match"), s.document.etag) {
		status = http.StatusNotModified
		w.WriteHeader(status)
	} else {
		h["Content-Type"] = jsonType
		w.Write(s.document.body)
	}
	s.finish(r, OpenAPIPath, status, id, start, &call{}, nil)
}

// matches compares weakly (RFC 9110, section 13.1.2).
func matches(wanted []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(wanted, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}
