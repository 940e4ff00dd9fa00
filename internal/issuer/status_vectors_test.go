package issuer

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"io"
	"testing"

	"tidings"
)

func inflate(t testing.TB, lst string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(lst)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The two-bit examples of the Token Status List draft, sections 4.1 and 4.2, and
// appendix C. Compressors differ, so what they inflate to is compared.
func TestStatusListVectors(t *testing.T) {
	few := map[int]tidings.StatusValue{}
	for index, value := range []tidings.StatusValue{1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3} {
		few[index] = value
	}
	many := map[int]tidings.StatusValue{0: 1, 1993: 2, 25460: 1, 159495: 3, 495669: 1, 554353: 1, 645645: 2, 723232: 1, 854545: 1, 934534: 2, 1000345: 3}
	for _, v := range []struct {
		values map[int]tidings.StatusValue
		size   int
		lst    string
	}{
		{few, 12, "eNo76fITAAPfAgc"},
		{many, 1 << 20, "eNrt2zENACEQAEEuoaBABP5VIO01fCjIHTMStt9ovGVIAAAAAABAbiEBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEB5WwIAAAAAAAAAAAAAAAAA" +
			"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAID0ugQAAAAAAAAAAAAAAAAAQG12SgAA" +
			"AAAAAAAAAAAAAAAAAAAAAAAAAOCSIQEAAAAAAAAAAAAAAAAAAAAAAAD8ExIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwJEuAQAAAAAAAAAAAAAA" +
			"AAAAAAAAAMB9SwIAAAAAAAAAAAAAAAAAAACoYUoAAAAAAAAAAAAAAEBqH81gAQw"},
	} {
		if got := inflate(t, packStatuses(v.values, v.size)); !bytes.Equal(got, inflate(t, v.lst)) {
			t.Errorf("a list of %d entries has other bits than the draft's", v.size)
		}
	}
}

// Packing a list of which very many entries are set.
func BenchmarkPackStatuses(b *testing.B) {
	values := map[int]tidings.StatusValue{}
	for index := range tidings.StatusListSize {
		if index*2654435761>>7%13 == 0 {
			values[index] = tidings.StatusInvalid
		}
	}
	for b.Loop() {
		packStatuses(values, tidings.StatusListSize)
	}
}
