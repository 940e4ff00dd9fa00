package tidings

import (
	"crypto/subtle"
	"time"
)

// TxCode describes the transaction code of an offer (OID4VCI 1.0, section
// 4.1.1): a short code that the holder is told by another way than the offer,
// so that whoever finds the offer alone cannot accept it. The zero TxCode means
// that an offer has none.
type TxCode struct {
	Length    int       // in characters
	InputMode InputMode // what the characters are
	Hash      []byte    // what is kept of the code; never the code
	Wrong     int       // how many wrong ones were tried

	// Value is the code itself, in the one answer that makes the offer.
	Value string
}

// InputMode says what characters a transaction code is made of.
type InputMode string

// The input modes: digits, or letters and digits.
const (
	InputNumeric InputMode = "numeric"
	InputText    InputMode = "text"
)

// Bounds of a transaction code. Five wrong ones of a million leave a guesser
// one chance in 200,000.
const (
	DefaultTxCodeLength = 6
	MinTxCodeLength     = 4
	MaxTxCodeLength     = 16
	MaxWrongTxCodes     = 5
)

// Asked tells whether the offer has a transaction code.
func (c TxCode) Asked() bool { return c.Length > 0 }

// Check tells whether such a code can be made. Errors point below at.
func (c TxCode) Check(at string) error {
	switch {
	case c.Length < MinTxCodeLength || c.Length > MaxTxCodeLength:
		return Invalid(at+"/length", "length is %d to %d characters.", MinTxCodeLength, MaxTxCodeLength)
	case c.InputMode != InputNumeric && c.InputMode != InputText:
		return Invalid(at+"/inputMode", "inputMode is numeric or text; got %q.", string(c.InputMode))
	}
	return nil
}

// is compares without telling by its time how much is right.
func (c TxCode) is(hash []byte) bool { return subtle.ConstantTimeCompare(c.Hash, hash) == 1 }

// Cancel: the issuer takes an offer back. What a wallet has received already
// cannot be taken back, only revoked.
type Cancel struct{}

func (Cancel) apply(i *Issuance, now time.Time) ([]EventType, error) {
	switch {
	case i.State.Terminal():
		return nil, RefusedEnded
	case i.State == StateDelivered:
		return nil, RefusedDelivered
	}
	return i.fail(IssuanceError{Code: FailedCanceled, Message: "The issuer canceled the offer."}, now), nil
}
