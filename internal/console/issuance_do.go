package console

import (
	"context"
	"errors"
	"strings"

	"tidings"
)

// takeStep takes a step of the issuance of the path, and leads back to its page,
// which says what was done, or why it could not be.
func (c *Console) takeStep(ctx context.Context, r *request, step tidings.Step, done string) (answer, error) {
	i, err := c.issuance(ctx, r)
	if err != nil {
		return answer{}, err
	}
	_, err = c.cfg.Issuances.Transition(ctx, r.org(), i.ID, step)
	if refusal, ok := errors.AsType[tidings.Refusal](err); ok {
		return c.notDone(ctx, r, "That cannot be done any more: "+refusal.Error()+".")
	}
	return answer{redirect: link("/issuances/"+i.ID, "done", done)}, err
}

// notDone shows the issuance as it is now, with why something was not done to it.
func (c *Console) notDone(ctx context.Context, r *request, why string) (answer, error) {
	i, err := c.issuance(ctx, r)
	if err != nil {
		return answer{}, err
	}
	return c.issuanceAnswer(ctx, r, i, why)
}

func (c *Console) cancelIssuance(ctx context.Context, r *request) (answer, error) {
	return c.takeStep(ctx, r, tidings.Cancel{}, "canceled")
}

// decideIssuance approves or denies a deferred issuance.
func (c *Console) decideIssuance(ctx context.Context, r *request) (answer, error) {
	step := tidings.Decide{Decision: tidings.Decision(r.form.Get("decision"))}
	done := "approved"
	if step.Decision == tidings.Deny {
		done, step.Reason = "denied", strings.Map(printable, strings.TrimSpace(r.form.Get("reason")))
	}
	if err := step.Check(); err != nil {
		return answer{}, err
	}
	return c.takeStep(ctx, r, step, done)
}

// reissueIssuance offers anew what an issuance that has ended offered.
func (c *Console) reissueIssuance(ctx context.Context, r *request) (answer, error) {
	old, err := c.issuance(ctx, r)
	if err != nil {
		return answer{}, err
	}
	wanted, err := old.Again(c.cfg.OfferLife, r.once("reissue "+old.ID))
	var i tidings.Issuance
	if err == nil {
		i, err = c.cfg.Issuer.Offer(ctx, r.Organisation, wanted)
		err = tidings.NotAgain(err)
	}
	if err != nil && tidings.KindOf(err) == tidings.KindConflict {
		return c.notDone(ctx, r, sentence(err))
	}
	if err != nil {
		return answer{}, err
	}
	return c.offered(i), nil
}

// changeCredential suspends, resumes or revokes a credential of the issuance.
func (c *Console) changeCredential(ctx context.Context, r *request) (answer, error) {
	i, err := c.issuance(ctx, r)
	if err != nil {
		return answer{}, err
	}
	change := tidings.StatusChange(r.form.Get("change"))
	done := map[tidings.StatusChange]string{tidings.Revoke: "revoked", tidings.Suspend: "suspended", tidings.Resume: "resumed"}[change]
	credential := i.Credential(r.form.Get("credential"))
	if done == "" || credential == nil {
		return answer{}, tidings.Invalid("", "There is no such credential, or nothing like that can be done to it.")
	}
	err = c.cfg.Issuances.ChangeCredentials(ctx, r.org(), []string{credential.ID}, change, r.origin())
	if err != nil && tidings.KindOf(err) == tidings.KindConflict {
		return c.notDone(ctx, r, sentence(err))
	}
	return answer{redirect: link("/issuances/"+i.ID, "done", done)}, err
}
