package egress

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode"
)

// longestURL has as many characters as a URL may have.
var longestURL = "https://example.com/" + strings.Repeat("a", MaxURLLength-len("https://example.com/"))

// urls is the table of what may be registered with nothing allowed.
var urls = []struct {
	url  string
	says string // what the sentence holds; empty: the URL passes
}{
	{"https://example.com", ""},
	{"https://example.com/", ""},
	{"https://your-domain.com/webhooks/credentials", ""},
	{"HTTPS://Example.COM/a?b=c&d=%20", ""},
	{"https://example.com:8443/x", ""},
	{"https://example.com:22/x", ""},
	{"https://example.com./x", ""},
	{"https://a_b.example.com/", ""},
	{"https://xn--bcher-kva.example/", ""},
	{"https://intranet/", ""},
	{"https://8.8.8.8/", ""},
	{"https://[2606:4700:4700::1111]:444/", ""},
	{"https://localhost.example.com/", ""},
	{"https://1password.com/", ""},
	{"https://0xdead.example/", ""},
	{longestURL, ""},

	{"", "empty"},
	{longestURL + "a", "longer than 2048"},
	{"http://example.com/", "starts with http://"},
	{"HTTP://example.com/", "starts with http://"},
	{"ftp://example.com/", "starts with https://"},
	{"//example.com/", "starts with https://"},
	{"example.com/hook", "starts with https://"},
	{"example.com:443/hook", "starts with https://"},
	{"javascript:alert(1)", "starts with https://"},
	{"https:", "no host"},
	{"https:///path", "no host"},
	{"https:example.com", "no host"},
	{"https://:443/", "no host"},
	{"https://user@example.com/", "user name"},
	{"https://user:pass@example.com/", "user name"},
	{"https://@example.com/", "user name"},
	{"https://example.com/#f", "fragment"},
	{"https://example.com/#", "fragment"},
	{"https://example.com:/", "port"},
	{"https://example.com:0/", "port"},
	{"https://example.com:65536/", "port"},
	{"https://example.com:99999999999999999999/", "port"},
	{"https://example.com:-1/", "syntax"},
	{"https://example.com:https/", "syntax"},
	{"https://exa mple.com/", "white space"},
	{" https://example.com/", "white space"},
	{"https://example.com/\n", "white space"},
	{"https://example.com/\x00", "control character"},
	{"https://example.com/\x7f", "control character"},
	{"https://bücher.example/", "punycode"},
	{"https://１２７.0.0.1/", "punycode"},
	{"https://example.com\\@127.0.0.1/", "backslash"},
	{"https://%31%32%37.0.0.1/", "syntax"},
	{"https://example.com/%zz", "syntax"},
	{"https://exa%25mple.com/", "host name"},
	{"https://a..b/", "host name"},
	{"https://example.com../", "host name"},
	{"https://./", "host name"},
	{"https://-a.example/", "host name"},
	{"https://a!b.example/", "host name"},
	{"https://a,b.example/", "host name"},
	{"https://" + strings.Repeat("a", 64) + ".example/", "host name"},
	{"https://" + strings.Repeat("a.", 130) + "example/", "253"},

	{"https://127.0.0.1/", "public internet"},
	{"https://10.0.0.1:8443/", "public internet"},
	{"https://169.254.169.254/latest/meta-data", "public internet"},
	{"https://0.0.0.0/", "public internet"},
	{"https://[::1]/", "public internet"},
	{"https://[::]/", "public internet"},
	{"https://[::ffff:127.0.0.1]/", "public internet"},
	{"https://[::ffff:7f00:1]/", "public internet"},
	{"https://[0:0:0:0:0:ffff:127.0.0.1]/", "public internet"},
	{"https://[64:ff9b::7f00:1]/", "public internet"},
	{"https://[fe80::1%25eth0]/", "public internet"},
	{"https://[2606:4700:4700::1111%25eth0]/", "public internet"},
	{"https://[127.0.0.1]/", "syntax"},
	{"https://[v1.a]/", "syntax"},
	{"https://[]/", "syntax"},
	{"https://0x7f.1/", "usual form"},
	{"https://0X7F.1/", "usual form"},
	{"https://0x7f000001/", "usual form"},
	{"https://example.0x/", "usual form"},
	{"https://2130706433/", "usual form"},
	{"https://017700000001/", "usual form"},
	{"https://0177.0.0.1/", "usual form"},
	{"https://127.1/", "usual form"},
	{"https://127.0.1/", "usual form"},
	{"https://127.0.0.1./", "usual form"},
	{"https://8.8.8.8./", "usual form"},
	{"https://127.0.0.01/", "usual form"},
	{"https://256.0.0.1/", "usual form"},
	{"https://1.2.3.4.5/", "usual form"},
	{"https://0/", "usual form"},
	{"https://localhost/", "localhost"},
	{"https://LOCALHOST/", "localhost"},
	{"https://localhost./", "localhost"},
	{"https://a.b.LocalHost:8443/", "localhost"},
	{"https://a.localhost./", "localhost"},
}

func TestCheckURL(t *testing.T) {
	g := mustGuard(t)
	for _, row := range urls {
		err := g.CheckURL(row.url)
		if row.says == "" {
			if err != nil {
				t.Errorf("%s: %v", row.url, err)
			}
			continue
		}
		var urlError *URLError
		if !errors.As(err, &urlError) || !strings.Contains(urlError.Sentence, row.says) {
			t.Errorf("%s: %v, want %q", row.url, err, row.says)
			continue
		}
		if s := err.Error(); !strings.HasSuffix(s, ".") || !unicode.IsUpper(rune(s[0])) && !strings.HasPrefix(s, "localhost") {
			t.Errorf("%s: not a sentence: %s", row.url, s)
		}
		wantBlocked := row.says == "public internet" || row.says == "localhost"
		if errors.Is(err, ErrBlocked) != wantBlocked {
			t.Errorf("%s: wraps ErrBlocked: %v", row.url, !wantBlocked)
		}
	}
}

func TestCheckURLWithAllowed(t *testing.T) {
	for _, row := range []struct {
		allow, url string
		pass       bool
	}{
		{"127.0.0.1/32", "https://127.0.0.1:8443/", true},
		{"127.0.0.1/32", "https://[::ffff:127.0.0.1]/", true},
		{"127.0.0.1/32", "https://localhost:8443/", true},
		{"127.0.0.0/8", "https://a.localhost/", true},
		{"::1/128", "https://localhost/", true},
		{"::1/128", "https://[::1]/", true},
		{"::1/128", "https://127.0.0.1/", false},
		{"127.0.0.2/32", "https://localhost/", false},
		{"10.0.0.0/8", "https://10.1.2.3/", true},
		{"10.0.0.0/8", "https://localhost/", false},
		{"127.0.0.0/8", "https://127.1/", false},
		{"127.0.0.0/8", "http://127.0.0.1/", false},
	} {
		if err := mustGuard(t, row.allow).CheckURL(row.url); (err == nil) != row.pass {
			t.Errorf("%s with %s allowed: %v", row.url, row.allow, err)
		}
	}
}

func TestCheckURLPorts(t *testing.T) {
	g, err := NewGuard(nil, []uint16{443, 8443})
	if err != nil {
		t.Fatal(err)
	}
	for raw, pass := range map[string]bool{
		"https://example.com/": true, "https://example.com:443/": true, "https://example.com:8443/": true,
		"https://example.com:0443/": true, "https://example.com:80/": false, "https://example.com:22/": false,
	} {
		if err := g.CheckURL(raw); (err == nil) != pass || err != nil && !strings.Contains(err.Error(), "443, 8443") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// FuzzValidateURL: no URL passes whose host is a blocked address, in net/url's
// reading or in that of inet_aton, which some resolvers have.
func FuzzValidateURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/", "https://127.0.0.1/", "https://0x7f.1/", "https://2130706433/", "https://0177.0.0.1/",
		"https://[::ffff:127.0.0.1]/", "https://[fe80::1%25lo]/", "https://localhost./", "https://127.0.0.1.:443/",
		"https://user@[::1]:443/#x", "https://a\\@127.1/", "https://%6c/", "https://[::1]x/", "https://1.2.3.4:5/?q",
	} {
		f.Add(seed)
	}
	g := mustGuard(f)
	f.Fuzz(func(t *testing.T, raw string) {
		err := g.CheckURL(raw)
		if err != nil {
			if len(raw) > 12 && strings.Contains(err.Error(), raw) {
				t.Fatalf("the sentence repeats the URL: %v", err)
			}
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || len(raw) > MaxURLLength {
			t.Fatalf("%q passes", raw)
		}
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if host == "localhost" || strings.HasSuffix(host, ".localhost") {
			t.Fatalf("%q passes", raw)
		}
		if a, err := netip.ParseAddr(host); err == nil && !slowPublic(a) {
			t.Fatalf("%q passes", raw)
		}
		if v4, ok := inetAton(host); ok && !slowPublic(v4) {
			t.Fatalf("%q passes and is read as %s", raw, v4)
		}
	})
}
