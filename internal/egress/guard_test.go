package egress

import (
	"errors"
	"net/netip"
	"testing"
)

func mustGuard(t testing.TB, allow ...string) *Guard {
	t.Helper()
	var prefixes []netip.Prefix
	for _, text := range allow {
		prefixes = append(prefixes, netip.MustParsePrefix(text))
	}
	g, err := NewGuard(prefixes, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// addresses is our own table: what may be dialled with nothing allowed.
var addresses = []struct {
	address string
	public  bool
}{
	{"8.8.8.8", true}, {"1.1.1.1", true}, {"93.184.216.34", true}, {"9.255.255.255", true},
	{"11.0.0.0", true}, {"100.63.255.255", true}, {"100.128.0.0", true}, {"126.255.255.255", true},
	{"128.0.0.1", true}, {"169.253.255.255", true}, {"172.15.255.255", true}, {"172.32.0.0", true},
	{"192.167.255.255", true}, {"192.169.0.0", true}, {"198.17.255.255", true}, {"198.20.0.0", true},
	{"223.255.255.255", true}, {"168.63.129.15", true},
	{"2606:4700:4700::1111", true}, {"2a00:1450:4001:80b::200e", true}, {"2001:4860:4860::8888", true},
	{"2400:cb00:2048:1::c629:d7a2", true},

	{"0.0.0.0", false}, {"0.1.2.3", false}, {"10.0.0.0", false}, {"10.255.255.255", false},
	{"100.64.0.0", false}, {"100.100.100.200", false}, {"100.127.255.255", false},
	{"127.0.0.1", false}, {"127.255.255.255", false}, {"169.254.0.1", false}, {"169.254.169.254", false},
	{"172.16.0.0", false}, {"172.31.255.255", false}, {"192.0.0.1", false}, {"192.0.0.192", false},
	{"192.0.2.1", false}, {"192.88.99.1", false}, {"192.168.0.0", false}, {"192.168.255.255", false},
	{"198.18.0.0", false}, {"198.19.255.255", false}, {"198.51.100.7", false}, {"203.0.113.7", false},
	{"224.0.0.1", false}, {"239.255.255.255", false}, {"240.0.0.1", false}, {"255.255.255.255", false},
	{"168.63.129.16", false},

	{"::", false}, {"::1", false}, {"::2", false}, {"::7f00:1", false}, {"::8.8.8.8", false},
	{"::ffff:127.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"::ffff:8.8.8.8", false},
	{"::ffff:0:127.0.0.1", false}, {"64:ff9b::7f00:1", false}, {"64:ff9b::8.8.8.8", false},
	{"64:ff9b:1::a00:1", false}, {"100::1", false}, {"100:0:0:1::1", false}, {"2001::1", false},
	{"2001:0:4136:e378:8000:63bf:3fff:fdd2", false}, {"2001:2::1", false}, {"2001:10::1", false},
	{"2001:20::1", false}, {"2001:db8::1", false}, {"2002:7f00:1::", false}, {"2002:808:808::1", false},
	{"2620:4f:8000::1", false}, {"3ffe::1", false}, {"3fff::1", false}, {"4000::1", false}, {"5f00::1", false},
	{"fc00::1", false}, {"fd00:ec2::254", false}, {"fdff:ffff::1", false}, {"fe80::1", false},
	{"fe80::1%eth0", false}, {"febf::1", false}, {"fec0::1", false}, {"feff::1", false},
	{"ff02::1", false}, {"ff0e::1", false}, {"2606:4700:4700::1111%eth0", false},
	{"::ffff:127.0.0.1%eth0", false},
}

func TestGuardCheck(t *testing.T) {
	g := mustGuard(t)
	for _, row := range addresses {
		err := g.Check(netip.MustParseAddr(row.address))
		if (err == nil) != row.public {
			t.Errorf("%s: %v", row.address, err)
		}
		var blocked *BlockedError
		if err != nil && (!errors.Is(err, ErrBlocked) || !errors.As(err, &blocked) || blocked.Why == "") {
			t.Errorf("%s: %v is no BlockedError", row.address, err)
		}
	}
	if err := g.Check(netip.Addr{}); !errors.Is(err, ErrBlocked) {
		t.Errorf("the zero address: %v", err)
	}
}

func TestGuardAllow(t *testing.T) {
	for _, row := range []struct {
		allow, address string
		pass           bool
	}{
		{"10.1.0.0/16", "10.1.2.3", true},
		{"10.1.0.0/16", "::ffff:10.1.2.3", true},
		{"10.1.0.0/16", "10.2.0.1", false},
		{"10.1.0.0/16", "::ffff:10.2.0.1", false},
		{"10.1.0.0/16", "::10.1.2.3", false},
		{"10.1.0.0/16", "64:ff9b::10.1.2.3", false},
		{"10.1.2.3/16", "10.1.0.1", true}, // bits behind the length do not count
		{"::ffff:10.1.0.0/112", "10.1.2.3", true},
		{"::ffff:10.1.0.0/112", "::ffff:10.1.2.3", true},
		{"fd00::/8", "fd12::1", true},
		{"fd00::/8", "fc00::1", false},
		{"fd00::/8", "fd12::1%eth0", false},
		{"::1/128", "::1", true},
		{"::1/128", "127.0.0.1", false},
		{"::/0", "::1", true},
		{"::/0", "127.0.0.1", false},
		{"::/0", "::ffff:127.0.0.1", false}, // it dials 127.0.0.1
		{"0.0.0.0/0", "169.254.169.254", true},
		{"0.0.0.0/0", "fd00::1", false},
		{"64:ff9b::/96", "64:ff9b::8.8.8.8", true},
		{"fe80::/10", "fe80::1%eth0", false},
		{"127.0.0.0/8", "8.8.8.8", true},
	} {
		err := mustGuard(t, row.allow).Check(netip.MustParseAddr(row.address))
		if (err == nil) != row.pass {
			t.Errorf("%s with %s allowed: %v", row.address, row.allow, err)
		}
	}
}

func TestNewGuardRefuses(t *testing.T) {
	if _, err := NewGuard([]netip.Prefix{{}}, nil); err == nil {
		t.Error("the zero prefix is taken")
	}
	if _, err := NewGuard(nil, []uint16{443, 0}); err == nil {
		t.Error("port 0 is taken")
	}
}

func TestGuardControl(t *testing.T) {
	every, err := NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	only, err := NewGuard(nil, []uint16{443, 8443})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		guard            *Guard
		network, address string
		pass             bool
	}{
		{every, "tcp4", "8.8.8.8:443", true},
		{every, "tcp4", "8.8.8.8:22", true},
		{every, "tcp6", "[2606:4700:4700::1111]:8443", true},
		{every, "tcp4", "127.0.0.1:1", true},
		{every, "tcp4", "127.0.0.2:1", false},
		{every, "tcp6", "[::1]:443", false},
		{every, "tcp6", "[fe80::1%lo]:443", false},
		{every, "tcp4", "8.8.8.8:0", false},
		{every, "tcp", "8.8.8.8:443", false},
		{every, "udp4", "8.8.8.8:443", false},
		{every, "unix", "/run/socket", false},
		{every, "tcp4", "localhost:443", false},
		{every, "tcp4", "", false},
		{only, "tcp4", "8.8.8.8:443", true},
		{only, "tcp4", "8.8.8.8:8443", true},
		{only, "tcp4", "8.8.8.8:80", false},
		{only, "tcp4", "127.0.0.1:443", false},
	} {
		err := row.guard.Control(row.network, row.address, nil)
		if (err == nil) != row.pass {
			t.Errorf("%s %s: %v", row.network, row.address, err)
		}
		if err != nil && !errors.Is(err, ErrBlocked) {
			t.Errorf("%s %s: %v does not wrap ErrBlocked", row.network, row.address, err)
		}
	}
}

// notPublic is an independent list, compared bit by bit, against which the
// guard is fuzzed. 2000::/3 is all that is public in IPv6.
var notPublic = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
	"::/3", "2001:0::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20",
	"4000::/2", "8000::/1",
}

// slowPublic is the oracle. It reads bytes, without netip's Contains.
func slowPublic(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	for _, text := range notPublic {
		p := netip.MustParsePrefix(text)
		if p.Addr().Is4() != a.Is4() {
			continue
		}
		want, got, same := p.Addr().AsSlice(), a.AsSlice(), true
		for bit := range p.Bits() {
			mask := byte(0x80) >> (bit % 8)
			same = same && want[bit/8]&mask == got[bit/8]&mask
		}
		if same {
			return false
		}
	}
	return true
}

// FuzzGuard compares the guard with the oracle, and what an allowed network
// changes with that network.
func FuzzGuard(f *testing.F) {
	for _, row := range addresses {
		a := netip.MustParseAddr(row.address)
		f.Add(a.WithZone("").AsSlice(), a.Zone())
	}
	f.Add([]byte(nil), "")
	f.Add([]byte{1, 2, 3}, "x")
	closed, open := mustGuard(f), mustGuard(f, "10.0.0.0/8", "fd00::/8")
	f.Fuzz(func(t *testing.T, raw []byte, zone string) {
		a, ok := netip.AddrFromSlice(raw)
		if a.Is6() {
			a = a.WithZone(zone)
		}
		public := ok && slowPublic(a)
		if got := closed.Check(a) == nil; got != public {
			t.Fatalf("%s passes: %v, the oracle says %v", a, got, public)
		}
		inside := a.Is4() && raw[0] == 10 || a.Is4In6() && raw[12] == 10 || a.Is6() && raw[0] == 0xfd
		inside = inside && a.Zone() == ""
		if got := open.Check(a) == nil; got != (public || inside) {
			t.Fatalf("%s passes where networks are allowed: %v", a, got)
		}
		if ok {
			network := "tcp4"
			if a.Is6() {
				network = "tcp6"
			}
			if got := closed.Control(network, netip.AddrPortFrom(a, 443).String(), nil) == nil; got && !public {
				t.Fatalf("%s may be dialled", a)
			}
		}
	})
}

func BenchmarkGuardControl(b *testing.B) {
	g := mustGuard(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Control("tcp4", "93.184.216.34:443", nil); err != nil {
			b.Fatal(err)
		}
	}
}
