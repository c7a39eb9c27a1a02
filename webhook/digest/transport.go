package digest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
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

// way is how a registry is reached, and the hosts that it sends further to, for tokens too. Each has connections of its
// own, since one that was made for a registry must serve no other one that leads to the same host.
type way struct{ itself, further http.RoundTripper }

// outside connects to no address inside. Through a proxy it is the proxy that connects.
type outside struct{ direct, proxied http.RoundTripper }

func newOutside(proxied http.RoundTripper) outside {
	t := newTransport("")
	t.Proxy = nil
	t.DialContext = (&net.Dialer{Timeout: callTime, Control: outsideOnly}).DialContext
	return outside{direct: t, proxied: proxied}
}

func (o outside) RoundTrip(request *http.Request) (*http.Response, error) {
	if proxy, err := http.ProxyFromEnvironment(request); proxy != nil || err != nil {
		return o.proxied.RoundTrip(request)
	}
	return o.direct.RoundTrip(request)
}

// ways are the common one, and by the host of a registry those that the configuration has: with those, who wrote it
// vouches for where the registry leads.
func ways(o Options) (common way, byHost map[string]way) {
	common, byHost = way{itself: o.Transport, further: o.Transport}, map[string]way{}
	if o.Transport == nil {
		t := newTransport("")
		common = way{itself: t, further: newOutside(t)}
	}
	for host, configured := range o.Hosts {
		t := common.itself
		if configured.CA != "" && o.Transport == nil {
			t = newTransport(configured.CA)
		}
		own := way{itself: t, further: t}
		switch {
		case configured.PlainHTTP:
			own.itself = newForced(t, host, "http")
		case configured.CA != "":
			own.itself = newForced(t, host, "https")
		}
		byHost[host] = own
	}
	return common, byHost
}

// transport is that of a registry, and of the servers that it names for tokens.
func (r *Registries) transport(named reference.Named, registry name.Registry) http.RoundTripper {
	own, found := r.byHost[reference.Domain(named)]
	if !found {
		own = r.common
	}
	at := url.URL{Host: registry.RegistryStr()}
	return careful{way: own, host: at.Hostname()}
}

// forced speaks to one host in one scheme only, whatever the handshake tries.
type forced struct {
	next         http.RoundTripper
	host, scheme string
}

func newForced(next http.RoundTripper, host, scheme string) forced {
	if registry, err := name.NewRegistry(host); err == nil {
		host = registry.RegistryStr()
	}
	return forced{next: next, host: host, scheme: scheme}
}

func (f forced) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Host == f.host && request.URL.Scheme != f.scheme {
		request = request.Clone(request.Context())
		request.URL.Scheme = f.scheme
	}
	return f.next.RoundTrip(request)
}

// careful follows few redirects, bounds answers, and shows them to the watch of the call.
type careful struct {
	way
	host string // of the registry, without a port
}

func (c careful) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := c.check(request); err != nil {
		return nil, err
	}
	next := c.itself
	if request.URL.Hostname() != c.host {
		next = c.further
	}
	response, err := next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if w, found := request.Context().Value(watchKey{}).(*watch); found {
		w.see(response)
	}
	response.Body = &bounded{ReadCloser: response.Body, left: maxAnswer}
	return response, nil
}

// check lets a registry lead to other hosts, but neither to plain HTTP nor from a public one into the private network, such
// as to the metadata service of a cloud. It is here and not in a client because the handshake has clients of its own.
func (c careful) check(request *http.Request) error {
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
	case request.URL.Hostname() != c.host && insideName(request.URL.Hostname()):
		return errInside
	}
	return nil
}
