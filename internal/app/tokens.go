package app

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"tidings/internal/auth"
	"tidings/internal/server"
)

// tokenService gives out tokens, or says who does, and checks them.
type tokenService interface {
	server.Checker
	Token(http.ResponseWriter, *http.Request)
	Certs(http.ResponseWriter, *http.Request)
}

// outside says whose tokens count where that is not this server.
func (c Config) outside(base string) auth.OutsideConfig {
	return auth.OutsideConfig{
		Issuer:            c.AuthIssuer,
		Audience:          cmp.Or(c.AuthAudience, base+server.Prefix),
		OrganisationClaim: c.AuthOrganisationClaim,
		ScopeClaim:        c.AuthScopeClaim,
		ScopePrefix:       c.AuthScopePrefix,
		Roots:             c.AuthRoots,
		Now:               c.Now,
		Log:               c.Log,
	}
}

// checkAuth reports the mistakes in the settings of the token issuer.
func (c Config) checkAuth() error {
	if c.AuthIssuer != "" {
		return c.outside(c.PublicURL).Check()
	}
	if c.AuthAudience != "" || c.AuthScopePrefix != "" || c.AuthRoots != nil {
		return errors.New("auth-audience, auth-scope-prefix and auth-ca belong to an outside token issuer: set auth-issuer too")
	}
	return nil
}

// tokens gives the built-in token service or, where an issuer is set, the
// checker of its tokens.
func (a *App) tokens(ctx context.Context) (tokenService, error) {
	if a.cfg.AuthIssuer == "" {
		return auth.New(ctx, auth.Config{PublicURL: a.URL, Now: a.cfg.Now, Log: a.cfg.Log}, a.Store)
	}
	var err error
	a.outside, err = auth.NewOutside(a.cfg.outside(a.URL), a.Store)
	return a.outside, err
}

// ready tells whether requests can be served.
func (a *App) ready(ctx context.Context) error {
	if err := a.Store.Ready(ctx); err != nil || a.outside == nil {
		return err
	}
	return a.outside.Ready(ctx)
}
