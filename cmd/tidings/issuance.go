package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tidings"
	"tidings/client"
)

type issuanceCommand struct {
	List    issuanceList    `cmd:"" help:"List the issuances, the newest first."`
	Get     issuanceGet     `cmd:"" help:"Show an issuance and what became of it."`
	Create  issuanceCreate  `cmd:"" help:"Offer a credential to a holder: prints the link to hand over."`
	Cancel  issuanceCancel  `cmd:"" help:"Take an offer back: the issuance fails."`
	Reissue issuanceReissue `cmd:"" help:"Offer again what an issuance that has ended offered."`
	Defer   issuanceDefer   `cmd:"" help:"Approve or deny a deferred issuance."`

	Simulate issuanceSimulate `cmd:"" help:"In a sandbox only (serve --sandbox): end an issuance as if a wallet had."`
}

type issuanceList struct {
	listFlags
	Status   string `placeholder:"STATUS" help:"Only offered, partiallyIssued, completed, failed or expired ones."`
	Template string `placeholder:"ID" help:"Only those of this template."`
}

// Run lists issuances.
func (c issuanceList) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		q := client.IssuanceQuery{Status: c.Status, CredentialTemplateID: c.Template, Page: c.page()}
		return collect(api.Issuances(ctx, q), c.Limit, []string{"ID", "STATUS", "CREATED", "EXPIRES"}, func(i client.Issuance) []string {
			return []string{i.ID, i.Status, stamp(i.CreatedAt), stamp(i.ExpiresAt)}
		})
	})
}

type issuanceGet struct {
	remoteFlags
	ID string `arg:"" help:"The issuance's id: what webhooks call openId4VcIssuanceId."`
}

// Run shows an issuance.
func (c issuanceGet) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		i, err := api.Issuance(ctx, c.ID)
		return issuanceView(i), err
	})
}

func issuanceView(i client.Issuance) view {
	v := view{ids: []string{i.ID}, head: []string{"CREDENTIAL", "STATUS", "TEMPLATE"}}
	v.add("id", i.ID)
	v.add("status", i.Status)
	if i.Error != nil {
		v.add("error", i.Error.Code+": "+i.Error.Message)
		v.add("details", i.Error.Details)
	}
	v.add("deferral", string(i.Deferral))
	v.add("accepted by", string(i.AcceptedBy))
	v.add("created", stamp(i.CreatedAt))
	v.add("retrieved", optionalStamp(i.RetrievedAt))
	v.add("expires", stamp(i.ExpiresAt))
	v.add("offer", i.OfferURI)
	if i.TxCode != nil {
		v.add("transaction code", cmp.Or(i.TxCode.Value, fmt.Sprintf("asked for: %d characters, %s", i.TxCode.Length, i.TxCode.InputMode)))
	}
	for _, c := range i.Credentials {
		v.rows = append(v.rows, []string{c.ID, string(c.Status), c.CredentialTemplateID})
	}
	return v
}

type issuanceCreate struct {
	remoteFlags
	Template       string        `arg:"" optional:"" help:"The id of the template to issue."`
	Attribute      []string      `sep:"none" placeholder:"NAME=TEXT" help:"What is certified; NAME:=JSON for numbers and booleans. Repeat for each."`
	File           string        `placeholder:"FILE" help:"The attributes as a JSON object; - is standard input."`
	Credentials    string        `placeholder:"FILE" help:"Several credentials at once, as a JSON array of {credentialTemplateId, attributes}; - is standard input."`
	TxCode         bool          `help:"The holder has to enter a code that you hand over by another way. It is printed once."`
	TxCodeLength   int           `placeholder:"6" help:"How many characters that code has, 4 to 16."`
	TxCodeMode     string        `placeholder:"MODE" help:"numeric or text. Default: numeric."`
	Deferred       bool          `help:"The wallet waits until you approve or deny ('tidings issuance defer')."`
	ExpiresIn      time.Duration `placeholder:"168h" help:"How long the offer can be accepted, in whole seconds. Default: the server's."`
	IdempotencyKey string        `placeholder:"KEY" help:"The same key again gives the first result, for 24 hours."`
}

// Help shows examples.
func (issuanceCreate) Help() string {
	return `For example:

  tidings issuance create TEMPLATE-ID \
      --attribute holder_name="Ada Example" --attribute age:=36

What stands on the command line can be seen by others on the machine; --file - reads the attributes from standard input.`
}

// Run offers a credential.
func (c issuanceCreate) Run(ctx context.Context, env *environment) error {
	attributes, err := c.attributes()
	if err != nil {
		return usageError{err}
	}
	if c.ExpiresIn < 0 || c.ExpiresIn%time.Second != 0 {
		return usageError{fmt.Errorf("--expires-in %v: it is whole seconds, such as 90s or 24h", c.ExpiresIn)}
	}
	wanted := client.NewIssuance{CredentialTemplateID: c.Template, Attributes: attributes, Deferred: c.Deferred, ExpiresIn: int64(c.ExpiresIn / time.Second)}
	if err := c.several(&wanted); err != nil {
		return usageError{err}
	}
	if c.TxCode || c.TxCodeLength != 0 || c.TxCodeMode != "" {
		wanted.TxCode = &client.NewTxCode{Length: c.TxCodeLength, InputMode: tidings.InputMode(c.TxCodeMode)}
	}
	return c.show(env, func(api *client.Client) (view, error) {
		i, err := api.CreateIssuance(ctx, wanted, keyed(c.IdempotencyKey)...)
		return issuanceView(i), err
	})
}

// several reads several credentials, which take the place of one.
func (c issuanceCreate) several(wanted *client.NewIssuance) error {
	switch {
	case c.Credentials == "" && c.Template == "":
		return errors.New("name the template's id, or give --credentials")
	case c.Credentials == "":
		return nil
	case c.Template != "" || len(wanted.Attributes) > 0:
		return errors.New("--credentials and a template with its attributes exclude each other")
	}
	wanted.Attributes = nil
	return readJSON(c.Credentials, &wanted.Credentials)
}

type issuanceCancel struct {
	remoteFlags
	ID string `arg:"" help:"The issuance's id."`
}

// Run cancels an issuance.
func (c issuanceCancel) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		return view{ids: []string{c.ID}, note: "canceled " + c.ID}, api.CancelIssuance(ctx, c.ID)
	})
}

type issuanceReissue struct {
	remoteFlags
	ID             string `arg:"" help:"The issuance's id."`
	IdempotencyKey string `placeholder:"KEY" help:"The same key again gives the first result, for 24 hours."`
}

// Run offers again.
func (c issuanceReissue) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		i, err := api.ReissueIssuance(ctx, c.ID, keyed(c.IdempotencyKey)...)
		return issuanceView(i), err
	})
}

type issuanceDefer struct {
	remoteFlags
	Decision string `arg:"" enum:"approve,deny" help:"approve or deny."`
	ID       string `arg:"" help:"The issuance's id."`
	Reason   string `placeholder:"TEXT" help:"Why it is denied; told to no wallet."`
}

// Run decides about a deferred issuance.
func (c issuanceDefer) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		i, err := api.DecideDeferral(ctx, c.ID, client.DeferralDecision{Decision: tidings.Decision(c.Decision), Reason: c.Reason})
		return issuanceView(i), err
	})
}

// attributes gives numbers as they were written, be they ever so long.
func (c issuanceCreate) attributes() (map[string]any, error) {
	out := map[string]any{}
	if c.File != "" {
		if len(c.Attribute) > 0 {
			return nil, errors.New("--file and --attribute exclude each other")
		}
		var read map[string]json.RawMessage
		err := readJSON(c.File, &read)
		for name, v := range read {
			out[name] = v
		}
		return out, err
	}
	for _, text := range c.Attribute {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || name == ":" {
			return nil, fmt.Errorf("--attribute %q: it is NAME=TEXT or NAME:=JSON", text)
		}
		bare, isJSON := strings.CutSuffix(name, ":")
		if !isJSON {
			out[name] = value
			continue
		}
		if !json.Valid([]byte(value)) {
			return nil, fmt.Errorf("--attribute %q: behind := stands JSON, such as 36 or true", text)
		}
		out[bare] = json.RawMessage(value)
	}
	return out, nil
}

type issuanceSimulate struct {
	remoteFlags
	ID      string `arg:"" help:"The issuance's id."`
	Outcome string `arg:"" enum:"completed,failed,expired" help:"completed, failed or expired."`
}

// Run ends an issuance without a wallet.
func (c issuanceSimulate) Run(ctx context.Context, env *environment) error {
	return c.show(env, func(api *client.Client) (view, error) {
		i, err := api.SimulateIssuance(ctx, c.ID, client.Simulation{Outcome: tidings.IssuanceState(c.Outcome)})
		return issuanceView(i), err
	})
}
