package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// fabric is the network between the host and the nodes: a bridge and a router in a network namespace of its own, out
// of reach of the host's firewall. The namespace lives as long as this process holds it, and takes everything with it.
type fabric struct {
	slot      int
	namespace netns.NsHandle
	links     *netlink.Handle // in the fabric's namespace
	claim     net.Listener    // holds the slot
}

const bridge = "nodes"

// newFabric claims a slot whose addresses nobody on this host uses, and connects the host.
func newFabric() (*fabric, error) {
	if err := raiseInotifyLimit(); err != nil {
		return nil, err
	}
	f := &fabric{slot: -1}
	for slot := range slots {
		claim, err := claimSlot(slot)
		if err != nil {
			return nil, err
		}
		if claim != nil {
			f.slot, f.claim = slot, claim
			break
		}
	}
	if f.slot < 0 {
		return nil, errors.New("no free address range is left between 10.128.0.0 and 10.255.255.255: too many clusters, or the host routes them elsewhere")
	}
	if err := f.build(); err != nil {
		return nil, fmt.Errorf("making the cluster's network: %w", err)
	}
	return f, nil
}

// claimSlot returns nil for a slot in use. The claim is an abstract socket: it ends with the process.
func claimSlot(slot int) (net.Listener, error) {
	claim, err := net.Listen("unix", fmt.Sprintf("@kube-prepull-test-cluster-%d", slot))
	if err != nil {
		return nil, nil
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		claim.Close()
		return nil, fmt.Errorf("listing the host's routes: %w", err)
	}
	for _, cidr := range []string{clusterCIDR(slot), serviceCIDR(slot)} {
		_, want, _ := net.ParseCIDR(cidr)
		for _, r := range routes {
			// The default route covers everything and takes nothing.
			if r.Dst == nil || isDefault(r.Dst) {
				continue
			}
			if r.Dst.Contains(want.IP) || want.Contains(r.Dst.IP) {
				claim.Close()
				return nil, nil
			}
		}
	}
	return claim, nil
}

func isDefault(n *net.IPNet) bool {
	ones, _ := n.Mask.Size()
	return ones == 0
}

func (f *fabric) build() error {
	var err error
	if f.namespace, err = newNamespace("net/ipv4/ip_forward=1", "net/ipv4/conf/all/send_redirects=0", "net/ipv4/conf/default/send_redirects=0"); err != nil {
		return err
	}
	if f.links, err = netlink.NewHandleAt(f.namespace); err != nil {
		return err
	}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
	if err := f.links.LinkAdd(br); err != nil {
		return err
	}
	if err := f.keepAddress(bridge); err != nil {
		return err
	}
	if err := address(f.links, bridge, routerIP(f.slot)+"/24"); err != nil {
		return err
	}
	// The host's end.
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	hostLink := fmt.Sprintf("prepull%d", f.slot)
	if err := f.connect("host", hostLink, netlink.NsFd(hostNamespaceFd())); err != nil {
		return err
	}
	if err := address(host, hostLink, hostIP(f.slot)+"/24"); err != nil {
		return err
	}
	return route(host, clusterCIDR(f.slot), routerIP(f.slot))
}

// keepAddress sets a bridge's hardware address to what it is. Otherwise it becomes the lowest of those that are plugged in:
// a node that joins may change it, and the others go on sending to the old one until they ask again.
func (f *fabric) keepAddress(name string) error {
	br, err := f.links.LinkByName(name)
	if err != nil {
		return err
	}
	return f.links.LinkSetHardwareAddr(br, br.Attrs().HardwareAddr)
}

// hostNamespaceFd is this process' own network namespace.
func hostNamespaceFd() int {
	ns, err := netns.Get()
	if err != nil {
		return -1
	}
	return int(ns)
}

// connect plugs one end of a cable into the bridge and puts the other, called peer, into a namespace.
func (f *fabric) connect(name, peer string, namespace any) error {
	// A node that was switched off takes its cable along, but the kernel takes its time.
	if stale, err := f.links.LinkByName(name); err == nil {
		if err := f.links.LinkDel(stale); err != nil {
			return fmt.Errorf("disconnecting %s: %w", name, err)
		}
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer, PeerNamespace: namespace}
	if err := f.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("connecting %s: %w", name, err)
	}
	br, err := f.links.LinkByName(bridge)
	if err != nil {
		return err
	}
	link, err := f.links.LinkByName(name)
	if err != nil {
		return err
	}
	if err := f.links.LinkSetMaster(link, br); err != nil {
		return err
	}
	return f.links.LinkSetUp(link)
}

// addNode connects the network namespace of the process pid as the index-th node.
func (f *fabric) addNode(pid, index int) error {
	if err := f.connect(fmt.Sprintf("node%d", index), "eth0", netlink.NsPid(pid)); err != nil {
		return err
	}
	namespace, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer namespace.Close()
	node, err := netlink.NewHandleAt(namespace)
	if err != nil {
		return err
	}
	defer node.Close()
	lo, err := node.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := node.LinkSetUp(lo); err != nil {
		return err
	}
	if err := address(node, "eth0", nodeIP(f.slot, index)+"/24"); err != nil {
		return err
	}
	if err := route(node, "0.0.0.0/0", routerIP(f.slot)); err != nil {
		return err
	}
	return route(f.links, podCIDR(f.slot, index), nodeIP(f.slot, index))
}

func address(h *netlink.Handle, name, cidr string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding interface %s: %w", name, err)
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if err := h.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("giving %s the address %s: %w", name, cidr, err)
	}
	return h.LinkSetUp(link)
}

func route(h *netlink.Handle, cidr, via string) error {
	_, dst, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	if err := h.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
		return fmt.Errorf("routing %s via %s: %w", cidr, via, err)
	}
	return nil
}

// newNamespace makes a network namespace that lives as long as its handle is open, with sysctls set in it.
func newNamespace(sysctls ...string) (netns.NsHandle, error) {
	type result struct {
		namespace netns.NsHandle
		err       error
	}
	made := make(chan result)
	go func() {
		// The thread is thrown away with the goroutine: it never goes back to the host's namespace.
		runtime.LockOSThread()
		namespace, err := netns.New()
		if err == nil {
			err = setSysctls(sysctls...)
		}
		made <- result{namespace, err}
	}()
	r := <-made
	return r.namespace, r.err
}

// setSysctls sets name=value pairs in the network namespace of the calling thread.
func setSysctls(settings ...string) error {
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("setting sysctl %s: %w", setting, err)
		}
	}
	return nil
}

func (f *fabric) close() {
	// It would go with the namespace, but a moment later.
	if host, err := f.links.LinkByName("host"); err == nil {
		_ = f.links.LinkDel(host)
	}
	f.links.Close()
	f.namespace.Close()
	f.claim.Close()
}
