package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tidings"
)

// maxAppended bounds what is kept of an issuance's steps, in characters; some 200
// of them: a wallet may repeat some as often as it likes.
const maxAppended = 10_000

// describe gives the line that is kept of a step: when it was taken, what it was and
// its detail. It is empty for a step that no wallet and no person takes, or that
// changed nothing. It stands in the issuance's own row, which the step writes anyway.
func describe(before, next tidings.Issuance, step tidings.Step, now int64) string {
	taken, ok := tidings.DescribeStep(before, next, step)
	if !ok {
		return ""
	}
	return strconv.FormatInt(now, 10) + " " + taken.Name + " " + taken.Detail + "\n"
}

// readSteps undoes describe, for any number of lines.
func readSteps(text string) (out []tidings.IssuanceStep, err error) {
	for line := range strings.Lines(text) {
		at, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading the steps of an issuance: %w", err)
		}
		step := tidings.IssuanceStep{At: fromMillis(ms)}
		step.Name, step.Detail, _ = strings.Cut(rest, " ")
		out = append(out, step)
	}
	return out, nil
}

// IssuanceSteps gives what was done with an issuance of the organisation, the
// first step first.
func (s *Store) IssuanceSteps(ctx context.Context, org int64, id string) (out []tidings.IssuanceStep, err error) {
	key, ok := s.ids.key(id)
	if !ok {
		return nil, tidings.NotFound("issuance", id)
	}
	// Steps of before they stood in the issuance's row have rows of their own; servers
	// of the version before still write such ones.
	err = s.query(ctx, `SELECT s.step, s.detail, s.created_at FROM issuance i JOIN issuance_step s ON s.issuance_id = i.id
		WHERE i.id = $1 AND i.organisation_id = $2 ORDER BY s.id`, []any{key, org}, func(r scanner) error {
		var step tidings.IssuanceStep
		var at int64
		err := r.Scan(&step.Name, &step.Detail, &at)
		step.At = fromMillis(at)
		out = append(out, step)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = s.query(ctx, "SELECT steps FROM issuance WHERE id = $1 AND organisation_id = $2", []any{key, org}, func(r scanner) error {
		var text string
		if err := r.Scan(&text); err != nil {
			return err
		}
		steps, err := readSteps(text)
		if out = append(out, steps...); len(steps) > 0 && len(steps) < len(out) {
			slices.SortStableFunc(out, func(a, b tidings.IssuanceStep) int { return a.At.Compare(b.At) })
		}
		return err
	})
	return out, err
}
