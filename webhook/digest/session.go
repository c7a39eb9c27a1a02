package digest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// accepted are the types of manifests that are understood.
var accepted = []string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.v2+json",
}

// session asks about one repository with one credential, one question at a time. Its first question begins with the
// handshake: how to authenticate, and then perhaps for a token.
type session struct {
	registry   name.Registry
	path       string // of the repository
	credential authn.Authenticator
	transport  http.RoundTripper
	ends       time.Time

	client *http.Client
}

// look asks for the manifest and, if that is an index, for the one of the platform in it.
func (s *session) look(ctx context.Context, identifier, arch string) (Manifest, error) {
	d, digest, err := s.get(ctx, identifier, arch)
	if err != nil {
		return Manifest{}, err
	}
	if d.index {
		if d.platform == "" {
			return Manifest{}, finding("there is no manifest for linux/" + arch)
		}
		if d, _, err = s.get(ctx, d.platform, arch); err != nil {
			return Manifest{}, err
		}
	}
	if !d.image {
		return Manifest{}, finding("it is not the manifest of an image")
	}
	return Manifest{Digest: digest, Bytes: d.bytes}, nil
}

// digest asks with a HEAD request, and with a GET one those registries that do not answer it in full.
func (s *session) digest(ctx context.Context, identifier string) (string, error) {
	response, err := s.do(ctx, http.MethodHead, identifier)
	if err != nil && statusOf(err) != http.StatusMethodNotAllowed {
		return "", err
	}
	if err == nil {
		response.Body.Close()
		if digest := contentDigest(response); digest != "" {
			return digest, nil
		}
	}
	return s.sum(ctx, identifier)
}

// sum is the digest of a manifest that was read. Neither the page of a proxy nor a manifest that container runtimes would
// not accept under its name has one.
func (s *session) sum(ctx context.Context, identifier string) (string, error) {
	response, err := s.do(ctx, http.MethodGet, identifier)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(accepted, kind) {
		return "", errNotClear
	}
	h := sha256.New()
	if _, err := io.Copy(h, response.Body); err != nil {
		return "", fmt.Errorf("reading the manifest: %w", err)
	}
	digest := "sha256:" + hex.EncodeToString(h.Sum(nil))
	if called := contentDigest(response); called != "" && called != digest {
		return "", errNotClear
	}
	return digest, nil
}

// get reads a manifest. Its digest is what the registry calls it, as with HEAD, or else that of what was read.
func (s *session) get(ctx context.Context, identifier, arch string) (document, string, error) {
	response, err := s.do(ctx, http.MethodGet, identifier)
	if err != nil {
		return document{}, "", err
	}
	defer response.Body.Close()
	h := sha256.New()
	d, err := readDocument(io.TeeReader(response.Body, h), arch)
	if err != nil {
		return document{}, "", fmt.Errorf("reading the manifest: %w", err)
	}
	if digest := contentDigest(response); digest != "" {
		return d, digest, nil
	}
	return d, "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// do asks about a manifest. The response of a nil error has the status OK, and the caller closes its body.
func (s *session) do(ctx context.Context, method, identifier string) (*http.Response, error) {
	if s.client == nil {
		repository := s.registry.Repo(s.path)
		authenticated, err := transport.NewWithContext(ctx, s.registry, s.credential, transport.NewUserAgent(s.transport, "kube-prepull"),
			[]string{repository.Scope(transport.PullScope)})
		if err != nil {
			return nil, err
		}
		s.client = &http.Client{Transport: authenticated}
	}
	at := url.URL{
		Scheme: "https", // unless the handshake found out otherwise
		Host:   s.registry.RegistryStr(),
		Path:   "/v2/" + s.path + "/manifests/" + identifier,
	}
	request, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", strings.Join(accepted, ", "))
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

// contentDigest is what the registry calls a manifest, empty if that is nothing that an image can be pinned to.
func contentDigest(r *http.Response) string {
	digest, err := v1.NewHash(r.Header.Get("Docker-Content-Digest"))
	if err != nil || digest.Algorithm != "sha256" {
		return ""
	}
	return digest.String()
}
