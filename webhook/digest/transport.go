package digest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
)

const (
	// maxRedirects of one request.
	maxRedirects = 5

	// maxIdle is how many connections are kept for the next question.
	maxIdle = 100
)

// newTransport trusts the authorities of the system, and those of ca beside them.
func newTransport(ca string) *http.Transport {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: callTime}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxCallsPerRegistry,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if ca != "" {
		trusted, err := x509.SystemCertPool()
		if err != nil {
			trusted = x509.NewCertPool()
		}
		trusted.AppendCertsFromPEM([]byte(ca))
		t.TLSClientConfig = &tls.Config{RootCAs: trusted}
	}
	return t
}

// transports are the common one, and by the host of a registry those that its way of being reached asks for.
func transports(o Options) (common http.RoundTripper, byHost map[string]http.RoundTripper) {
	common, byHost = o.Transport, map[string]http.RoundTripper{}
	if common == nil {
		common = newTransport("")
	}
	for host, way := range o.Hosts {
		one := forced{next: common, host: host, scheme: "https"}
		if registry, err := name.NewRegistry(host); err == nil {
			one.host = registry.RegistryStr()
		}
		switch {
		case way.PlainHTTP:
			one.scheme = "http"
		case way.CA == "":
			continue
		case o.Transport == nil:
			one.next = newTransport(way.CA)
		}
		byHost[host] = careful{one}
	}
	return careful{common}, byHost
}

// transport is that of a registry, and of the servers that it names for tokens.
func (r *Registries) transport(named reference.Named) http.RoundTripper {
	if own, found := r.byHost[reference.Domain(named)]; found {
		return own
	}
	return r.common
}

// forced speaks to one host in one scheme only, whatever the handshake tries.
type forced struct {
	next         http.RoundTripper
	host, scheme string
}

func (f forced) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Host == f.host && request.URL.Scheme != f.scheme {
		request = request.Clone(request.Context())
		request.URL.Scheme = f.scheme
	}
	return f.next.RoundTrip(request)
}

// careful follows few redirects, bounds answers, and shows them to the watch of the call.
type careful struct{ next http.RoundTripper }

func (c careful) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := checkRedirect(request); err != nil {
		return nil, err
	}
	response, err := c.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if w, found := request.Context().Value(watchKey{}).(*watch); found {
		w.see(response)
	}
	response.Body = &bounded{ReadCloser: response.Body, left: maxAnswer}
	return response, nil
}

// checkRedirect follows a registry to other hosts, but neither to plain HTTP nor from a public one into the private
// network, such as to the metadata service of a cloud. It is here and not in a client because the handshake has clients
// of its own.
func checkRedirect(request *http.Request) error {
	from, redirects := request, 0
	for from.Response != nil && from.Response.Request != nil {
		from = from.Response.Request
		redirects++
	}
	switch {
	case redirects > maxRedirects:
		return finding("too many redirects")
	case from.URL.Scheme == "https" && request.URL.Scheme != "https":
		return finding("a redirect to plain HTTP was refused")
	case request.URL.Hostname() != from.URL.Hostname() && private(request.URL.Hostname()):
		return finding("a redirect to a private address was refused")
	}
	return nil
}

func private(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost"
	}
	ip = ip.Unmap()
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified()
}
