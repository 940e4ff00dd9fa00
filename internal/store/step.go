package store

import (
	"context"

	"tidings"
)

// maxSteps bounds what is kept of an issuance's steps: a wallet may repeat some
// of them as often as it likes.
const maxSteps = 200

// step keeps that a step was taken, if it is one that a wallet or a person takes
// and it changed something.
func (t *tx) step(before, next tidings.Issuance, step tidings.Step) error {
	taken, ok := tidings.DescribeStep(before, next, step)
	if !ok {
		return nil
	}
	return t.put(insertSteps, &t.w.bulk.issuances.steps, before.Key, t.key(), taken.Name, taken.Detail, t.now)
}

// IssuanceSteps gives what was done with an issuance of the organisation, the
// first step first.
func (s *Store) IssuanceSteps(ctx context.Context, org int64, id string) (out []tidings.IssuanceStep, err error) {
	key, ok := s.ids.key(id)
	if !ok {
		return nil, tidings.NotFound("issuance", id)
	}
	err = s.query(ctx, `SELECT s.step, s.detail, s.created_at FROM issuance i JOIN issuance_step s ON s.issuance_id = i.id
		WHERE i.id = $1 AND i.organisation_id = $2 ORDER BY s.id`, []any{key, org}, func(r scanner) error {
		var step tidings.IssuanceStep
		var at int64
		err := r.Scan(&step.Name, &step.Detail, &at)
		step.At = fromMillis(at)
		out = append(out, step)
		return err
	})
	return out, err
}
