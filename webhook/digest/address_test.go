package digest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
)

func TestAddressesThatAreNotOfThePublicInternetAreInside(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"10.1.2.3": true, "172.16.0.1": true, "172.31.255.255": true, "192.168.1.1": true, "fd12::1": true, // private
		"127.0.0.1": true, "127.255.0.1": true, "::1": true, // loopback
		"169.254.169.254": true, "100.100.100.200": true, "168.63.129.16": true, "192.0.0.192": true, "fd00:ec2::254": true, // metadata
		"fe80::1": true, "fe80::1%eth0": true, "fec0::1": true, // link-local and site-local
		"0.0.0.0": true, "0.1.2.3": true, "::": true, "255.255.255.255": true, "224.0.0.1": true, "ff02::1%eth0": true,
		"::ffff:10.0.0.1": true, "::ffff:169.254.169.254": true, "::127.0.0.1": true, // IPv4 in IPv6
		"64:ff9b::10.0.0.1": true, "64:ff9b::a9fe:a9fe": true, "64:ff9b:1::808:808": true, "2002:a00:1::": true, "2001:0:a::": true, // and translated
		"100.63.255.255": false, "100.128.0.0": false, "172.15.0.1": false, "172.32.0.1": false, "11.0.0.0": false, "168.63.129.17": false,
		"8.8.8.8": false, "::ffff:8.8.8.8": false, "64:ff9b::8.8.8.8": false, "2606:4700::1": false, "2001:4860:4860::8888": false,
	} {
		if got := inside(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
		if err := outsideOnly("tcp", net.JoinHostPort(address, "443"), nil); (err != nil) != want {
			t.Errorf("a connection to %s has the error %v", address, err)
		}
		if got := insideName(address); got != want {
			t.Errorf("as a name %s: %v, want %v", address, got, want)
		}
	}
	for name, want := range map[string]bool{"localhost": true, "LOCALHOST.": true, "x.localhost": true, "r.test": false, "localhost.r.test": false} {
		if got := insideName(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// nearby is a name of this machine, which only the address that it stands for gives away.
func nearby(t *testing.T) string {
	t.Helper()
	own, _ := os.Hostname()
	for _, name := range []string{own, "ip6-localhost", "localhost.localdomain", "localhost4"} {
		addresses, err := net.DefaultResolver.LookupHost(t.Context(), name)
		if err == nil && !insideName(name) && !slices.ContainsFunc(addresses, func(a string) bool { return !inside(netip.MustParseAddr(a)) }) {
			return name
		}
	}
	t.Skip("SKIPPED: this machine has no name but localhost that stands for an address inside")
	return ""
}

// everywhere serves at all addresses of the machine, and returns the port.
func everywhere(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func TestARegistryLeadsToNoNameOfAnAddressInside(t *testing.T) {
	t.Parallel()
	name := nearby(t)
	const refused = ": it leads to a private address, which was refused"
	for what, test := range map[string]struct {
		token bool   // where the registry sends to for a token, and not for the manifest
		to    string // the host
		known func(itself, further string) map[string]Host
		want  string
	}{
		"a redirect":     {false, name, nil, refused},
		"a token server": {true, name, nil, refused},
		"a redirect to another port of the registry":     {false, "127.0.0.1", nil, ""},
		"a redirect of a registry that is configured":    {false, name, func(itself, _ string) map[string]Host { return map[string]Host{itself: {PlainHTTP: true}} }, ""},
		"a token server of one that is configured":       {true, name, func(itself, _ string) map[string]Host { return map[string]Host{itself: {PlainHTTP: true}} }, ""},
		"a redirect of one that is only named":           {false, name, func(itself, _ string) map[string]Host { return map[string]Host{itself: {}} }, ""},
		"a redirect to a registry that was asked before": {false, name, func(_, further string) map[string]Host { return map[string]Host{further: {PlainHTTP: true}} }, refused},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			port := everywhere(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if r.URL.Path == "/token" {
					fmt.Fprint(w, `{"token":"t0ken"}`)
					return
				}
				answering(w, r)
			})
			further := net.JoinHostPort(test.to, port)
			itself := "127.0.0.1:" + everywhere(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case test.token && r.Header.Get("Authorization") == "":
					w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+further+`/token"`)
					w.WriteHeader(http.StatusUnauthorized)
				case test.token || r.URL.Path == "/v2/":
					answering(w, r)
				default:
					http.Redirect(w, r, "http://"+further+r.URL.Path, http.StatusTemporaryRedirect)
				}
			})
			var o Options
			if test.known != nil {
				o.Hosts = test.known(itself, further)
			}
			r := newTestResolver(t, New(o))
			if _, configured := o.Hosts[further]; configured {
				if _, err := r.Resolve(t.Context(), "shop", further+"/a:v1", nil, false); err != nil {
					t.Fatal(err)
				}
				asked.Store(0)
			}
			_, err := r.Resolve(t.Context(), "shop", itself+"/a:v1", nil, false)
			if test.want != "" && (err == nil || err.Error() != itself+test.want || asked.Load() != 0) || test.want == "" && (err != nil || asked.Load() == 0) {
				t.Errorf("the error is %v after %d requests there, want %q", err, asked.Load(), test.want)
			}
		})
	}
}
