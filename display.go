package tidings

import (
	"cmp"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Display says how wallets show a template's credentials in one language, as
// OID4VCI 1.0, section 12.2.4, carries it.
type Display struct {
	Name            string `json:"name"`
	Locale          string `json:"locale,omitempty"` // a language tag (RFC 5646); empty: [DefaultLocale]
	Description     string `json:"description,omitempty"`
	Logo            *Logo  `json:"logo,omitempty"`
	BackgroundColor string `json:"backgroundColor,omitempty"` // #rgb or #rrggbb
	TextColor       string `json:"textColor,omitempty"`
}

// Logo is a picture that wallets fetch.
type Logo struct {
	URI string `json:"uri"` // https
	Alt string `json:"alt,omitempty"`
}

// DefaultLocale is the language of what does not say its own.
const DefaultLocale = "en"

// MaxDisplays is in how many languages a template can be shown.
const MaxDisplays = 20

var (
	localePattern = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$`)
	colorPattern  = regexp.MustCompile(`^#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$`)
)

// Displays gives how the template is shown: where it does not say, by its name
// and description.
func (t Template) Displays() []Display {
	if len(t.Display) == 0 {
		return []Display{{Name: t.Name, Locale: DefaultLocale, Description: t.Description}}
	}
	out := make([]Display, len(t.Display))
	for k, d := range t.Display {
		d.Locale = cmp.Or(d.Locale, DefaultLocale)
		out[k] = d
	}
	return out
}

// checkDisplay wants one entry for a language.
func checkDisplay(list []Display) error {
	if len(list) > MaxDisplays {
		return Invalid("/display", "display holds at most %d languages.", MaxDisplays)
	}
	taken := map[string]bool{}
	for k, d := range list {
		at := "/display/" + strconv.Itoa(k)
		if err := d.check(at); err != nil {
			return err
		}
		locale := strings.ToLower(cmp.Or(d.Locale, DefaultLocale))
		if taken[locale] {
			return Invalid(at+"/locale", "Each language is there once; one without a locale counts as %q.", DefaultLocale)
		}
		taken[locale] = true
	}
	return nil
}

func (d Display) check(at string) error {
	if err := checkName(at, d.Name); err != nil {
		return err
	}
	switch {
	case d.Locale != "" && !localePattern.MatchString(d.Locale):
		return Invalid(at+"/locale", "locale is a language tag such as en or de-CH.")
	case utf8.RuneCountInString(d.Description) > maxDescription:
		return Invalid(at+"/description", "description holds at most 2,000 characters.")
	case d.BackgroundColor != "" && !colorPattern.MatchString(d.BackgroundColor):
		return Invalid(at+"/backgroundColor", "backgroundColor is #rgb or #rrggbb.")
	case d.TextColor != "" && !colorPattern.MatchString(d.TextColor):
		return Invalid(at+"/textColor", "textColor is #rgb or #rrggbb.")
	case d.Logo == nil:
		return nil
	case len(d.Logo.URI) > 2048 || !isHTTPS(d.Logo.URI):
		return Invalid(at+"/logo/uri", "uri is required: an https URL of at most 2,048 characters, without user info.")
	case utf8.RuneCountInString(d.Logo.Alt) > 200:
		return Invalid(at+"/logo/alt", "alt holds at most 200 characters.")
	}
	return nil
}

// isHTTPS tells whether a wallet can fetch what is there.
func isHTTPS(text string) bool {
	u, err := url.Parse(text)
	return err == nil && strings.EqualFold(u.Scheme, "https") && u.Hostname() != "" && u.User == nil
}
