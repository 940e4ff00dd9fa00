package qrcode

import (
	"fmt"
	"strings"
	"testing"

	"rsc.io/qr"
)

// The picture holds exactly the code's black cells.
func TestQR(t *testing.T) {
	const text = "openid-credential-offer://?credential_offer_uri=https%3A%2F%2Fissuer.example%2Fo%2Facme%2Foffers%2Fabc"
	svg, err := SVG(text, "a label & more")
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				want++
			}
		}
	}
	_, path, _ := strings.Cut(svg, ` d="`)
	path, _, _ = strings.Cut(path, `"`)
	got := 0
	for _, run := range strings.Split(path, "M")[1:] {
		var x, y, n, m int
		if _, err := fmt.Sscanf(run, "%d %dh%dv1h-%dz", &x, &y, &n, &m); err != nil || n != m {
			t.Fatalf("run %q: %v", run, err)
		}
		for k := range n {
			if !code.Black(x-quietZone+k, y-quietZone) {
				t.Errorf("cell %d,%d is black", x+k, y)
			}
			got++
		}
	}
	if got != want {
		t.Errorf("%d black cells, want %d", got, want)
	}
}
