package server

import (
	"context"

	"tidings"
)

// CredentialStore takes credentials back and gives them back.
type CredentialStore interface {
	// ChangeCredentials changes all or none; errors point to "/ids/N".
	ChangeCredentials(ctx context.Context, org int64, ids []string, change tidings.StatusChange, o tidings.Origin) error
	// RevokeByID takes the id of a credential, or of an issuance for all of its.
	RevokeByID(ctx context.Context, org int64, id string, o tidings.Origin) error
}

// CredentialIDs names credentials.
type CredentialIDs struct {
	IDs []string `json:"ids"` // 1 to 1,000
}

// changeCredentials gives the handler of a change.
func (s *Server) changeCredentials(change tidings.StatusChange) func(context.Context, *call, CredentialIDs) (none, error) {
	return func(ctx context.Context, c *call, in CredentialIDs) (none, error) {
		if err := tidings.CheckStatusIDs(in.IDs); err != nil {
			return none{}, err
		}
		return none{}, s.cfg.Credentials.ChangeCredentials(ctx, c.Organisation.Key, in.IDs, change, c.origin())
	}
}

func (s *Server) revokeByID(ctx context.Context, c *call, _ none) (none, error) {
	return none{}, s.cfg.Credentials.RevokeByID(ctx, c.Organisation.Key, c.id, c.origin())
}
