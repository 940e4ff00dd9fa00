package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrBlocked is what every refusal of a [Guard] wraps, and so every
// [BlockedError].
var ErrBlocked = errors.New("webhooks do not go to this address")

// BlockedError comes when an address is not public and not allowed. Its text
// names the address: it is for whoever wrote the address or runs the server,
// not for one who only knows a name that resolves to it.
type BlockedError struct {
	Addr netip.Addr
	Why  string // the rule, in a few words
}

// Error names the address and the rule.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("the address %s is blocked: %s", e.Addr, e.Why)
}

// Unwrap gives [ErrBlocked].
func (e *BlockedError) Unwrap() error { return ErrBlocked }

// deniedV4 stands beside the registry's ranges that package ssrf knows: public
// by number, but inside a cloud.
var deniedV4 = []netip.Prefix{
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's host agent, reachable from every machine there
}

// deniedV6 likewise.
var deniedV6 = []netip.Prefix{
	netip.MustParsePrefix("2001::/23"), // IETF assignments: Teredo, benchmarking, ORCHID (RFC 2928)
	netip.MustParsePrefix("3ffe::/16"), // the former 6bone, returned (RFC 3701)
}

// Guard judges addresses and URLs. Any number of goroutines may use it.
type Guard struct {
	rules    *ssrf.Guardian
	allow4   []netip.Prefix
	allow    []netip.Prefix
	ports    []uint16
	loopback bool // loopback is allowed, and so is the name localhost
}

// NewGuard makes a Guard that lets public addresses pass and those inside of
// allow, on the given ports (none given: on any port). A prefix written in
// IPv4-mapped form counts as the IPv4 prefix. An invalid prefix and port 0 are
// errors.
func NewGuard(allow []netip.Prefix, ports []uint16) (*Guard, error) {
	g := &Guard{ports: slices.Clone(ports)}
	if slices.Contains(ports, 0) {
		return nil, errors.New("egress: port 0 cannot be allowed")
	}
	var allow6 []netip.Prefix
	for _, p := range allow {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		switch {
		case !p.IsValid():
			return nil, fmt.Errorf("egress: %q is not a network", p)
		case p.Addr().Is4():
			g.allow4 = append(g.allow4, p.Masked())
		default:
			allow6 = append(allow6, p.Masked())
		}
	}
	g.allow = slices.Concat(g.allow4, allow6)
	g.rules = ssrf.New(
		ssrf.WithAnyPort(), // ports are judged here, with our own words
		ssrf.WithAllowedV4Prefixes(g.allow4...),
		ssrf.WithAllowedV6Prefixes(allow6...),
		ssrf.WithDeniedV4Prefixes(deniedV4...),
		ssrf.WithDeniedV6Prefixes(deniedV6...),
	)
	g.loopback = contains(g.allow, netip.AddrFrom4([4]byte{127, 0, 0, 1})) || contains(g.allow, netip.IPv6Loopback())
	return g, nil
}

// Check tells whether a may be dialled: nil if so, else a [*BlockedError].
//
// Blocked is what IANA's special-purpose registries list and all that is not
// global unicast: private, loopback, link-local, shared (CGNAT), multicast,
// broadcast, documentation, benchmarking, reserved; of IPv6 also every range
// that carries an IPv4 address inside (mapped, compatible, NAT64, 6to4,
// Teredo), unique-local, site-local and discard; and any address with a zone.
// An allowed network is an exception to that. An IPv4-mapped address passes
// only where its IPv4 address is allowed by name: nobody needs that form to
// reach a public receiver.
func (g *Guard) Check(a netip.Addr) error {
	switch {
	case !a.IsValid():
		return &BlockedError{a, "it is no address"}
	case a.Zone() != "":
		return &BlockedError{a, "an address with a zone is local to this machine"}
	case a.Is4In6():
		if contains(g.allow4, a.Unmap()) {
			return nil
		}
		return &BlockedError{a, "an IPv4 address is not written in IPv6 form"}
	}
	if g.rules.SafeAddr(a) != nil {
		return &BlockedError{a, "it is not on the public internet"}
	}
	return nil
}

// Control judges a connection before it is made, as a [net.Dialer] asks it to:
// only TCP, only the ports and addresses that may be dialled.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q", ErrBlocked, address)
	}
	if network != "tcp4" && network != "tcp6" {
		return &BlockedError{to.Addr(), "webhooks go over TCP, not " + network}
	}
	if !g.portAllowed(to.Port()) {
		return &BlockedError{to.Addr(), fmt.Sprintf("port %d is not allowed here", to.Port())}
	}
	return g.Check(to.Addr())
}

func (g *Guard) portAllowed(port uint16) bool {
	return port != 0 && (len(g.ports) == 0 || slices.Contains(g.ports, port))
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
