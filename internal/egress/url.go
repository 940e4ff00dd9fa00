package egress

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// MaxURLLength is how many characters an endpoint's URL has at most.
const MaxURLLength = 2048

// URLError comes when a URL cannot be an endpoint's. Where that is because of
// its address it wraps [ErrBlocked].
type URLError struct {
	Sentence string // for the developer who wrote the URL; it does not repeat it
	cause    error
}

// Error gives the sentence.
func (e *URLError) Error() string { return e.Sentence }

// Unwrap gives the [*BlockedError], if that is the reason.
func (e *URLError) Unwrap() error { return e.cause }

func badURL(format string, args ...any) error {
	return &URLError{Sentence: fmt.Sprintf(format, args...)}
}

// CheckURL tells whether raw can be an endpoint's URL: nil if so, else a
// [*URLError]. It must be https, with a host and without user info and
// fragment, of at most MaxURLLength visible ASCII characters (an international
// name in punycode). An address in it must be one that Check lets pass, in its
// usual spelling; localhost needs an allowed loopback. Names are not looked
// up: what they resolve to is judged when they are dialled.
func (g *Guard) CheckURL(raw string) error {
	_, err := g.parseURL(raw)
	return err
}

func (g *Guard) parseURL(raw string) (*url.URL, error) {
	if err := checkCharacters(raw); err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	if err != nil { // its text repeats the URL
		return nil, badURL("This is not a URL: its syntax is wrong.")
	}
	switch {
	case u.Scheme == "http":
		return nil, badURL("An endpoint's URL starts with https://, because webhooks are only sent encrypted; this one starts with http://. For a receiver on your own machine, tidings listen needs no endpoint.")
	case u.Scheme != "https":
		return nil, badURL("An endpoint's URL starts with https://.")
	case u.Opaque != "" || u.Host == "" || u.Hostname() == "":
		return nil, badURL("The URL has no host: it looks like https://example.com/webhooks.")
	case u.User != nil:
		return nil, badURL("The URL holds a user name or password; put what authenticates the call into the endpoint's headers instead.")
	case strings.Contains(raw, "#"):
		return nil, badURL("The URL holds a fragment (the part from #), which is never sent; leave it out.")
	}
	if err := g.checkPort(u); err != nil {
		return nil, err
	}
	return u, g.checkHost(u)
}

// checkCharacters keeps out what parsers read differently.
func checkCharacters(raw string) error {
	if raw == "" {
		return badURL("The URL is empty.")
	}
	if len(raw) > MaxURLLength {
		return badURL("The URL is longer than %d characters.", MaxURLLength)
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c == 0x7f:
			return badURL("The URL holds white space or a control character at position %d.", i+1)
		case c > 0x7f:
			return badURL("The URL holds a character outside of ASCII at position %d: write an international host name in punycode (xn--…) and percent-encode the rest.", i+1)
		case c == '\\':
			return badURL("The URL holds a backslash at position %d; write / or %%5C.", i+1)
		}
	}
	return nil
}

func (g *Guard) checkPort(u *url.URL) error {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return badURL("The URL's port is missing after the colon.")
		}
		text = "443"
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return badURL("The URL's port is not a number from 1 to 65535.")
	}
	if !g.portAllowed(uint16(port)) {
		return badURL("Port %d is not allowed here; allowed are %s.", port, joinPorts(g.ports))
	}
	return nil
}

func (g *Guard) checkHost(u *url.URL) error {
	host := u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		a, err := netip.ParseAddr(host)
		if err != nil || !a.Is6() {
			return badURL("What stands in the URL's brackets is not an IPv6 address.")
		}
		return g.checkLiteral(a)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return g.checkLiteral(a)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	if isNumber(last) {
		// 127.1, 0x7f.1, 2130706433, 0177.0.0.1, 127.0.0.1. and the like: some
		// resolvers read them as an address, and no top-level domain is a number.
		return badURL("The URL's host is neither a name nor an IPv4 address in its usual form, four decimal numbers.")
	}
	if last == "localhost" && !g.loopback {
		return &URLError{
			Sentence: "localhost is not on the public internet: webhooks do not go there, unless whoever runs this server allows its loopback address (--egress-allow). tidings listen brings them to your own machine without.",
			cause:    ErrBlocked,
		}
	}
	if len(name) > 253 {
		return badURL("The URL's host name is longer than 253 characters.")
	}
	for _, label := range labels {
		if !validLabel(label) {
			return badURL("The URL's host name is not valid: its parts have 1 to 63 letters, digits, - and _, and do not start or end with -.")
		}
	}
	return nil
}

func (g *Guard) checkLiteral(a netip.Addr) error {
	err := g.Check(a)
	if err == nil {
		return nil
	}
	return &URLError{
		Sentence: "The URL's address is not on the public internet: webhooks do not go there, unless whoever runs this server allows its network (--egress-allow). tidings listen brings them to your own machine without.",
		cause:    err,
	}
}

// isNumber follows the URL standard's "ends in a number" rule
// (https://url.spec.whatwg.org/#ends-in-a-number-checker).
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		c := label[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func joinPorts(ports []uint16) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = strconv.Itoa(int(p))
	}
	return strings.Join(texts, ", ")
}
