package tidings_test

import (
	"maps"
	"testing"

	"tidings"
)

// Whoever reads an endpoint, changes it and sends it back sends hidden values.
func TestAHiddenHeaderValueKeepsWhatThereIs(t *testing.T) {
	before := tidings.Settings{URL: "https://a.example/x", Headers: map[string]string{"X-Key": "secret", "X-Old": "o"}}
	sent := map[string]string{"X-Key": tidings.HiddenValue, "X-New": "n"}
	patch := tidings.EndpointPatch{Headers: &sent}
	if err := patch.Check(before); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"X-Key": "secret", "X-New": "n"}
	if got := patch.Apply(before).Headers; !maps.Equal(got, want) {
		t.Errorf("headers %v, want %v", got, want)
	}
	elsewhere := "https://b.example/x"
	patch.URL = &elsewhere
	if err := patch.Check(before); tidings.KindOf(err) != tidings.KindInvalid {
		t.Errorf("a hidden value for another host gives %v: the old one must not go there, nor its stand-in", err)
	}
}
