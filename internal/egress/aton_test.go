package egress

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// inetAton reads an IPv4 address as the C library's inet_aton does: one to four
// parts, decimal, octal or hexadecimal, the last filling what is left.
func inetAton(text string) (netip.Addr, bool) {
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		base := 10
		switch {
		case strings.HasPrefix(part, "0x"):
			part, base = part[2:], 16
		case len(part) > 1 && part[0] == '0':
			base = 8
		}
		n, err := strconv.ParseUint(part, base, 32)
		if err != nil {
			return netip.Addr{}, false
		}
		rest := 5 - len(parts) // bytes of the last part
		if i < len(parts)-1 {
			rest = 1
		}
		if n >= 1<<(8*rest) {
			return netip.Addr{}, false
		}
		value = value<<(8*rest) | n
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

func TestInetAton(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1": "127.0.0.1", "127.1": "127.0.0.1", "0x7f.1": "127.0.0.1", "2130706433": "127.0.0.1",
		"0177.0.0.1": "127.0.0.1", "10.0.258": "10.0.1.2", "0": "0.0.0.0",
	} {
		if got, ok := inetAton(text); !ok || got.String() != want {
			t.Errorf("%s: %s, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "a", "1.2.3.4.5", "256.1.1.1", "08.0.0.1", "4294967296"} {
		if got, ok := inetAton(text); ok {
			t.Errorf("%s: %s", text, got)
		}
	}
}
