package issuer

import (
	"crypto/rand"
	"math/big"

	"tidings"
)

// txCode tells a wallet what transaction code to ask its user for (section
// 4.1.1).
type txCode struct {
	InputMode   tidings.InputMode `json:"input_mode"`
	Length      int               `json:"length"`
	Description string            `json:"description"`
}

func describeTxCode(c tidings.TxCode) *txCode {
	if !c.Asked() {
		return nil
	}
	return &txCode{c.InputMode, c.Length, "Enter the code that the issuer gave you beside this offer."}
}

// The characters of transaction codes. Letters that are easily taken for a digit
// or for one another are left out.
var txAlphabets = map[tidings.InputMode]string{
	tidings.InputNumeric: "0123456789",
	tidings.InputText:    "23456789ABCDEFGHJKMNPQRSTUVWXYZ",
}

// newTxCode draws a transaction code of the length and input mode of c.
func (s *Issuer) newTxCode(org tidings.Organisation, c tidings.TxCode) tidings.TxCode {
	alphabet := txAlphabets[c.InputMode]
	size := big.NewInt(int64(len(alphabet)))
	value := make([]byte, c.Length)
	for k := range value {
		n, err := rand.Int(rand.Reader, size)
		if err != nil {
			panic(err) // the system's source of randomness does not fail
		}
		value[k] = alphabet[n.Int64()]
	}
	c.Value = string(value)
	c.Hash = s.hashTxCode(org, appendRandom(nil), c.Value)
	return c
}

// hashTxCode gives what is kept of a code: a salt and a tag under the key that
// authenticates all the rest. Such a code is short enough to be found by trying,
// so without the key the hash must be of no use; a slow one would add nothing.
func (s *Issuer) hashTxCode(org tidings.Organisation, salt []byte, code string) []byte {
	return append(salt, s.mac.tag(forTxCode, []byte(code), []string{org.Slug, string(salt)})...)
}

// checkedTxCode judges whether the request brings a transaction code where the
// offer asks for one (section 6.3), and gives its hash. Whether it is right is
// for the redemption to say, which counts.
func (s *Issuer) checkedTxCode(org tidings.Organisation, c tidings.TxCode, sent string) ([]byte, error) {
	switch {
	case !c.Asked() && sent != "":
		return nil, refuse("invalid_request", "No transaction code is expected.")
	case !c.Asked():
		return nil, nil
	case sent == "":
		return nil, refuse("invalid_request", "The offer asks for a transaction code.")
	}
	salt := append([]byte(nil), c.Hash[:randomSize]...)
	return s.hashTxCode(org, salt, sent), nil
}
