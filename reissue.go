package tidings

import (
	"errors"
	"time"
)

// Again gives what to ask for in order to offer anew what an issuance that has
// ended offered: the same credentials, the same kind of transaction code, again
// to be decided where it was deferred. Its claims must still be kept.
func (i Issuance) Again(life time.Duration, o Origin) (w WantedIssuance, err error) {
	switch {
	case !i.State.Terminal():
		return w, Conflict("It has not ended: cancel it first.")
	case i.ClaimsDeleted():
		return w, Conflict("What it certified was deleted some time after its end: create a new issuance with its attributes.")
	}
	w = WantedIssuance{Life: life, Deferred: i.Deferral != "", Origin: o,
		TxCode: TxCode{Length: i.TxCode.Length, InputMode: i.TxCode.InputMode}}
	for _, c := range i.Credentials {
		w.Credentials = append(w.Credentials, WantedCredential{TemplateID: c.TemplateID, Claims: c.Claims})
	}
	return w, nil
}

// NotAgain explains why such an offer was not made. What was once right and is
// not any more, such as a template that was archived since, is a conflict: there
// is no request to mend.
func NotAgain(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == KindInvalid {
		return Conflict("It cannot be offered again: %s", e.Message)
	}
	return err
}
