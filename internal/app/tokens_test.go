package app

import (
	"crypto/x509"
	"strings"
	"testing"
)

func TestSettingsOfTheTokenIssuer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // empty: no mistake
	}{
		"none":                    {func(*Config) {}, ""},
		"an issuer":               {func(c *Config) { c.AuthIssuer = "https://login.example/realms/main" }, ""},
		"an issuer over http":     {func(c *Config) { c.AuthIssuer = "http://login.example" }, "auth-issuer must be https"},
		"a claim without a name":  {func(c *Config) { c.AuthIssuer, c.AuthScopeClaim = "https://login.example", "a." }, "auth-scope-claim"},
		"an audience for nothing": {func(c *Config) { c.AuthAudience = "a" }, "set auth-issuer too"},
		"a prefix for nothing":    {func(c *Config) { c.AuthScopePrefix = "a:" }, "set auth-issuer too"},
		"roots for nothing":       {func(c *Config) { c.AuthRoots = x509.NewCertPool() }, "set auth-issuer too"},
	} {
		cfg := Default()
		c.change(&cfg)
		err := cfg.check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	cfg := Default()
	cfg.AuthIssuer = "https://login.example"
	if got := cfg.outside("https://tidings.example").Audience; got != "https://tidings.example/me-creds/api" {
		t.Errorf("the audience is %s", got)
	}
}
