package main

import (
	"context"

	"tidings/client"
)

type auditCommand struct {
	List auditList `cmd:"" help:"List who changed which endpoint, secret or client, the newest first."`
}

type auditList struct{ listFlags }

// Run lists the audit log.
func (c auditList) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		head := []string{"ID", "AT", "BY", "ACTION", "OBJECT", "DETAIL"}
		return collect(api.Audit(ctx, client.AuditQuery{Page: c.page()}), c.Limit, head, func(e client.AuditEntry) []string {
			return []string{e.ID, stamp(e.At), e.By, e.Action, e.Object, e.Detail}
		})
	})
}
