package digest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxRedirects of one request.
const maxRedirects = 5

// accepted are the types of manifests that are understood.
var accepted = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}, ", ")

// session asks about one image with one credential.
type session struct {
	registry   name.Registry
	named      reference.Named
	credential authn.Authenticator
	transport  http.RoundTripper

	client *http.Client
}

// look asks for the manifest and, if that is an index, for the one of the platform in it.
func (s *session) look(ctx context.Context, arch string) (Manifest, error) {
	body, digest, err := s.get(ctx, s.identifier())
	if err != nil {
		return Manifest{}, err
	}
	d, err := parseDocument(body)
	if err != nil {
		return Manifest{}, err
	}
	if len(d.Manifests) > 0 {
		of, err := d.platform(arch)
		if err != nil {
			return Manifest{}, err
		}
		if body, _, err = s.get(ctx, of); err != nil {
			return Manifest{}, err
		}
		if d, err = parseDocument(body); err != nil {
			return Manifest{}, err
		}
	}
	bytes, err := d.bytes()
	if err != nil {
		return Manifest{}, err
	}
	return Manifest{Digest: digest, Bytes: bytes}, nil
}

// digest asks with a HEAD request, and with a GET one those registries that do not answer it in full.
func (s *session) digest(ctx context.Context) (string, error) {
	response, err := s.do(ctx, http.MethodHead, s.identifier())
	if err != nil && statusOf(err) != http.StatusMethodNotAllowed {
		return "", err
	}
	if err == nil {
		response.Body.Close()
		if digest := contentDigest(response); digest != "" {
			return digest, nil
		}
	}
	_, digest, err := s.get(ctx, s.identifier())
	return digest, err
}

// identifier is the tag or the digest that is asked about.
func (s *session) identifier() string {
	if digested, ok := s.named.(reference.Digested); ok {
		return digested.Digest().String()
	}
	return s.named.(reference.Tagged).Tag() // ParseDockerRef adds one
}

// get reads a manifest. Its digest is what the registry calls it, as with HEAD, or else that of what was read.
func (s *session) get(ctx context.Context, identifier string) ([]byte, string, error) {
	response, err := s.do(ctx, http.MethodGet, identifier)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, "", fmt.Errorf("reading the manifest: %w", err)
	}
	if digest := contentDigest(response); digest != "" {
		return body, digest, nil
	}
	sum := sha256.Sum256(body)
	return body, "sha256:" + hex.EncodeToString(sum[:]), nil
}

// do asks about a manifest. The response of a nil error has the status OK, and the caller closes its body.
func (s *session) do(ctx context.Context, method, identifier string) (*http.Response, error) {
	if s.client == nil {
		repository := s.registry.Repo(reference.Path(s.named))
		authenticated, err := transport.NewWithContext(ctx, s.registry, s.credential, transport.NewUserAgent(s.transport, "kube-prepull"),
			[]string{repository.Scope(transport.PullScope)})
		if err != nil {
			return nil, err
		}
		s.client = &http.Client{Transport: authenticated, CheckRedirect: checkRedirect}
	}
	at := url.URL{
		Scheme: "https", // unless the handshake found out otherwise
		Host:   s.registry.RegistryStr(),
		Path:   "/v2/" + reference.Path(s.named) + "/manifests/" + identifier,
	}
	request, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accepted)
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(response, http.StatusOK); err != nil {
		response.Body.Close()
		return nil, err
	}
	return response, nil
}

func contentDigest(r *http.Response) string {
	digest, err := v1.NewHash(r.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return ""
	}
	return digest.String()
}

// checkRedirect follows a registry to other hosts, but neither to plain HTTP nor from a public one into the private
// network, such as to the metadata service of a cloud.
func checkRedirect(request *http.Request, via []*http.Request) error {
	from := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return finding("too many redirects")
	case from.Scheme == "https" && request.URL.Scheme != "https":
		return finding("a redirect to plain HTTP was refused")
	case request.URL.Hostname() != from.Hostname() && private(request.URL.Hostname()):
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
