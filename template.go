package tidings

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// FormatSDJWTVC is the credential format as the API names it in answers;
// requests may also say "sd-jwt". On the wire of OID4VCI it is "dc+sd-jwt".
const FormatSDJWTVC = "sd-jwt-vc"

// Template describes one type of credential of an organisation.
type Template struct {
	Key            int64
	ID             string
	OrganisationID int64
	Name           string
	Code           string // short type name, unique in its organisation
	Description    string
	Attributes     map[string]Attribute // by claim name
	Display        []Display            // how wallets show it; see [Template.Displays]
	ValidFor       time.Duration        // from issuance to the credential's end; 0: it has none
	Revocable      bool                 // its credentials carry a status
	CreatedAt      time.Time            // milliseconds, UTC
	UpdatedAt      time.Time
	ArchivedAt     *time.Time
}

// AttributeType is the type of a claim's value.
type AttributeType string

// The attribute types.
const (
	AttributeString  AttributeType = "string"
	AttributeNumber  AttributeType = "number"
	AttributeBoolean AttributeType = "boolean"
	AttributeDate    AttributeType = "date" // YYYY-MM-DD (RFC 3339 full-date)
)

// Attribute describes one claim of a template.
type Attribute struct {
	Type            AttributeType `json:"type"`
	Name            string        `json:"name,omitempty"`
	Description     string        `json:"description,omitempty"`
	Required        bool          `json:"required"`
	AlwaysDisclosed bool          `json:"alwaysDisclosed"` // the holder cannot withhold the claim
}

// NewTemplate is what a caller asks for.
type NewTemplate struct {
	Name, Code, Description, Format string
	Attributes                      map[string]Attribute
	Display                         []Display
	ValidFor                        time.Duration // 0: without end; else whole seconds
	Revocable                       bool
	Origin
}

// TemplatePatch changes how a template is shown; nil members leave things as
// they are. What was issued under it stays what it is, so nothing else changes.
type TemplatePatch struct {
	Name, Description *string
	Display           *[]Display
	Origin
}

// TemplateOrder is the order of a list of templates; "-" is descending.
type TemplateOrder string

// The orders. Names are compared without regard to case.
const (
	TemplatesOldest   TemplateOrder = "createdAt" // the zero value means this one, too
	TemplatesNewest   TemplateOrder = "-createdAt"
	TemplatesByName   TemplateOrder = "name"
	TemplatesFromZ    TemplateOrder = "-name"
	TemplatesByUpdate TemplateOrder = "updatedAt"
	TemplatesUpdated  TemplateOrder = "-updatedAt"
)

// TemplateFilter narrows and orders a list of templates; empty members do not.
type TemplateFilter struct {
	ID       string
	Type     string // the full vct or the code
	Format   string
	Archived *bool
	Search   string // part of the name
	Order    TemplateOrder
}

// Limits of a template and of the attributes of a credential.
const (
	MaxAttributes     = 100
	MaxAttributeBytes = 8 << 10   // of one string value
	MaxNumber         = 1<<53 - 1 // beyond it, readers of JSON lose digits (RFC 7493, section 2.2)

	MinValidFor = time.Minute
	MaxValidFor = 100 * 365 * 24 * time.Hour

	maxName, maxDescription = 200, 2000 // characters
)

var (
	codePattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	claimPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`)

	// reservedClaims are set by the issuer (SD-JWT VC, section 3.2.2.2; RFC 9901, section 4).
	reservedClaims = []string{"iss", "iat", "nbf", "exp", "cnf", "vct", "status", "_sd", "_sd_alg", "aka_vcts"}
)

// IsCode tells whether a template can have this code. What comes from a path can
// be any bytes.
func IsCode(text string) bool { return codePattern.MatchString(text) }

// Check tells whether the template may be created.
func (t NewTemplate) Check() error {
	if err := checkName("", t.Name); err != nil {
		return err
	}
	switch {
	case t.Code == "":
		return Invalid("/code", "code is required: the short name of the credential's type.")
	case !IsCode(t.Code):
		return Invalid("/code", "code is 1 to 64 characters of A-Z a-z 0-9 _ . and -, the first a letter or digit.")
	case utf8.RuneCountInString(t.Description) > maxDescription:
		return Invalid("/description", "description holds at most 2,000 characters.")
	case t.ValidFor != 0 && (t.ValidFor < MinValidFor || t.ValidFor > MaxValidFor):
		return Invalid("/validFor", "validFor is %d to %d seconds (a hundred years), or left out.", int64(MinValidFor/time.Second), int64(MaxValidFor/time.Second))
	case t.Format != "" && t.Format != "sd-jwt" && t.Format != FormatSDJWTVC:
		return Invalid("/credentialFormat", "credentialFormat is \"sd-jwt\"; got %q.", t.Format)
	case len(t.Attributes) == 0:
		return Invalid("/attributes", "attributes is required: at least one attribute.")
	case len(t.Attributes) > MaxAttributes:
		return Invalid("/attributes", "A template holds at most %d attributes.", MaxAttributes)
	}
	for _, claim := range slices.Sorted(maps.Keys(t.Attributes)) {
		if err := checkAttribute(claim, t.Attributes[claim]); err != nil {
			return err
		}
	}
	return checkDisplay(t.Display)
}

// Check tells whether the patch may be applied to any template.
func (p TemplatePatch) Check() error {
	if p.Name != nil {
		if err := checkName("", *p.Name); err != nil {
			return err
		}
	}
	if p.Description != nil && utf8.RuneCountInString(*p.Description) > maxDescription {
		return Invalid("/description", "description holds at most 2,000 characters.")
	}
	if p.Display != nil {
		return checkDisplay(*p.Display)
	}
	return nil
}

// Apply gives the template as the patch leaves it, and the names of what is
// there in the patch.
func (p TemplatePatch) Apply(t Template) (Template, []string) {
	var changed []string
	if p.Name != nil {
		t.Name, changed = *p.Name, append(changed, "name")
	}
	if p.Description != nil {
		t.Description, changed = *p.Description, append(changed, "description")
	}
	if p.Display != nil {
		t.Display, changed = *p.Display, append(changed, "display")
	}
	return t, changed
}

// checkName checks the name below at.
func checkName(at, name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return Invalid(at+"/name", "name is required.")
	case utf8.RuneCountInString(name) > maxName:
		return Invalid(at+"/name", "name holds at most 200 characters.")
	}
	return nil
}

func checkAttribute(claim string, a Attribute) error {
	at := "/attributes/" + escapePointer(claim)
	switch {
	case !claimPattern.MatchString(claim):
		return Invalid(at, "An attribute is named by 1 to 128 characters of A-Z a-z 0-9 _ . : / and -.")
	case slices.Contains(reservedClaims, claim):
		return Invalid(at, "%q is set by the issuer and cannot be an attribute.", claim)
	case a.Type == "":
		return Invalid(at+"/type", "type is required: string, number, boolean or date.")
	case !slices.Contains([]AttributeType{AttributeString, AttributeNumber, AttributeBoolean, AttributeDate}, a.Type):
		return Invalid(at+"/type", "type is string, number, boolean or date; got %q.", a.Type)
	case utf8.RuneCountInString(a.Name) > maxName:
		return Invalid(at+"/name", "name holds at most 200 characters.")
	case utf8.RuneCountInString(a.Description) > maxDescription:
		return Invalid(at+"/description", "description holds at most 2,000 characters.")
	}
	return nil
}

// CheckClaims tells whether values can be issued under the template: every
// required attribute there, none unknown, each of its type. Errors point below
// at (such as "/attributes") and never repeat a value.
func (t Template) CheckClaims(at string, values map[string]any) error {
	for _, claim := range slices.Sorted(maps.Keys(t.Attributes)) {
		if t.Attributes[claim].Required && empty(values[claim]) {
			return Invalid(at+"/"+escapePointer(claim), "The template requires the attribute %q.", claim)
		}
	}
	for _, claim := range slices.Sorted(maps.Keys(values)) {
		a, ok := t.Attributes[claim]
		if !ok {
			return Invalid(at+"/"+escapePointer(claim), "The template has no attribute %q.", claim)
		}
		if !a.Type.accepts(values[claim]) {
			return Invalid(at+"/"+escapePointer(claim), "The attribute %q must be %s.", claim, a.Type.article())
		}
	}
	return nil
}

// empty tells whether a value certifies nothing.
func empty(v any) bool {
	text, ok := v.(string)
	return v == nil || ok && strings.TrimSpace(text) == ""
}

func (t AttributeType) accepts(v any) bool {
	switch t {
	case AttributeString:
		s, ok := v.(string)
		return ok && len(s) <= MaxAttributeBytes
	case AttributeNumber:
		f, ok := v.(float64)
		return ok && math.Abs(f) <= MaxNumber // false for NaN, too
	case AttributeBoolean:
		_, ok := v.(bool)
		return ok
	case AttributeDate:
		s, ok := v.(string)
		_, err := time.Parse(time.DateOnly, s)
		return ok && err == nil
	}
	return false
}

func (t AttributeType) article() string {
	switch t {
	case AttributeString:
		return "a string of at most 8 KiB"
	case AttributeNumber:
		return "a number from -(2^53-1) to 2^53-1: others would lose digits on their way; a string keeps them"
	case AttributeDate:
		return "a date as YYYY-MM-DD that the calendar has"
	}
	return "a " + string(t)
}

// escapePointer writes a token of a JSON pointer (RFC 6901, section 3).
func escapePointer(token string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
}
