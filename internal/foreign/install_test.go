package foreign

import (
	"bytes"
	"os"
	"testing"
)

// The lock file must not say where packages come from: whoever installs them may
// have a registry of their own. Their hashes hold, from wherever they are.
func TestTheLockFileNamesNoAddresses(t *testing.T) {
	text, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{`"resolved"`, "://", "hasInstallScript"} {
		if bytes.Contains(text, []byte(address)) {
			t.Errorf("package-lock.json holds %s", address)
		}
	}
	if packages, hashes := bytes.Count(text, []byte(`"node_modules/`)), bytes.Count(text, []byte(`"integrity": "sha512-`)); packages == 0 || packages != hashes {
		t.Errorf("package-lock.json holds %d hashes of %d packages", hashes, packages)
	}
}
