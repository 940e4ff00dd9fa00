// Package qrcode draws QR codes as SVG, for the pages that hold them.
package qrcode

import (
	"fmt"
	"html"
	"strings"

	"rsc.io/qr"
)

// quietZone is the white border that a QR code needs (ISO/IEC 18004, section 6.3.8).
const quietZone = 4

// SVG draws text as a QR code of error correction level M: one path of
// horizontal runs, black on white in dark mode too, since many readers want
// that. label is what a screen reader says. The SVG can stand in a page or be a
// file. The error says that text is too long for a QR code.
func SVG(text, label string) (string, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", fmt.Errorf("drawing a QR code: %w", err)
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, run, run)
				x += run
			}
		}
	}
	side := code.Size + 2*quietZone
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" class="qr" viewBox="0 0 %[1]d %[1]d" role="img" aria-label="%[2]s" shape-rendering="crispEdges">`+
		`<rect width="%[1]d" height="%[1]d" fill="#fff"/><path fill="#000" d="%[3]s"/></svg>`, side, html.EscapeString(label), path.String()), nil
}
