package main

import (
	"context"

	"tidings/client"
)

type credentialCommand struct {
	Revoke  credentialRevoke  `cmd:"" help:"Revoke credentials for good: all or none."`
	Suspend credentialSuspend `cmd:"" help:"Suspend credentials until they are resumed: all or none."`
	Resume  credentialResume  `cmd:"" help:"Make suspended credentials valid again: all or none."`
}

// credentialIDs names credentials; issuances show them.
type credentialIDs struct {
	remoteFlags
	IDs []string `arg:"" name:"id" help:"The credentials' ids, as tidings issuance get shows them."`
}

func (c credentialIDs) change(env *environment, done string, do func(*client.Client) error) error {
	return c.show(env, func(api *client.Client) (view, error) {
		if err := do(api); err != nil {
			return view{}, err
		}
		v := view{head: []string{"CREDENTIAL", "STATUS"}}
		for _, id := range c.IDs {
			v.ids, v.rows = append(v.ids, id), append(v.rows, []string{id, done})
		}
		return v, nil
	})
}

type credentialRevoke struct{ credentialIDs }

// Run revokes credentials.
func (c credentialRevoke) Run(ctx context.Context, env *environment) error {
	return c.change(env, "revoked", func(api *client.Client) error { return api.RevokeCredentials(ctx, client.CredentialIDs{IDs: c.IDs}) })
}

type credentialSuspend struct{ credentialIDs }

// Run suspends credentials.
func (c credentialSuspend) Run(ctx context.Context, env *environment) error {
	return c.change(env, "suspended", func(api *client.Client) error { return api.SuspendCredentials(ctx, client.CredentialIDs{IDs: c.IDs}) })
}

type credentialResume struct{ credentialIDs }

// Run resumes credentials.
func (c credentialResume) Run(ctx context.Context, env *environment) error {
	return c.change(env, "issued", func(api *client.Client) error { return api.ResumeCredentials(ctx, client.CredentialIDs{IDs: c.IDs}) })
}
