package digest

import (
	"net/netip"
	"strings"
	"syscall"
)

// insideRanges are addresses that are not of the public Internet (IANA's registries of special-purpose addresses), and
// those of clouds' own services that look as if they were: a registry is followed there only if it is there itself.
var insideRanges = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),        // this host
	netip.MustParsePrefix("10.0.0.0/8"),       // private
	netip.MustParsePrefix("100.64.0.0/10"),    // shared behind a provider, and metadata at Alibaba (100.100.100.200)
	netip.MustParsePrefix("127.0.0.0/8"),      // loopback
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's platform
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local, and metadata at most clouds
	netip.MustParsePrefix("172.16.0.0/12"),    // private
	netip.MustParsePrefix("192.0.0.0/24"),     // IETF protocols, and metadata at Oracle (192.0.0.192)
	netip.MustParsePrefix("192.168.0.0/16"),   // private
	netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks
	netip.MustParsePrefix("224.0.0.0/4"),      // multicast
	netip.MustParsePrefix("240.0.0.0/4"),      // reserved, and broadcast
	netip.MustParsePrefix("::/96"),            // unspecified, loopback, and IPv4 in a form that is out of use
	netip.MustParsePrefix("64:ff9b:1::/48"),   // IPv4 behind a translator of one's own
	netip.MustParsePrefix("2001::/23"),        // IETF protocols, IPv4 in Teredo's form too
	netip.MustParsePrefix("2002::/16"),        // IPv4 in 6to4's form
	netip.MustParsePrefix("fc00::/7"),         // private, and metadata at AWS (fd00:ec2::254)
	netip.MustParsePrefix("fe80::/9"),         // link-local and site-local
	netip.MustParsePrefix("ff00::/8"),         // multicast
}

// nat64 has an IPv4 address in its last 32 bits, public ones too: where there is no IPv4 all registries look like that.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// inside tells whether an address is in one of insideRanges.
func inside(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, r := range insideRanges {
		if r.Contains(ip) {
			return true
		}
	}
	return false
}

// insideName is inside for the host of a URL. A name says nothing, but localhost.
func insideName(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		name := strings.ToLower(strings.TrimSuffix(host, "."))
		return name == "localhost" || strings.HasSuffix(name, ".localhost")
	}
	return inside(ip)
}

// outsideOnly is a net.Dialer's Control: the address that is connected to counts, whatever name stood for it.
func outsideOnly(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || inside(at.Addr()) {
		return errInside
	}
	return nil
}
