// Package digest asks registries what images stand for: which digest a tag points to, and how much there is to download.
// It is careful with them: a few calls at a time, no repetitions, and none at all for a while where they asked for that.
package digest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// callTime is how long a registry has for an answer, authentication included.
const callTime = 10 * time.Second

// Manifest is what a registry says of an image.
type Manifest struct {
	// Digest of what the image string points to, such as sha256:0f3a…; of the index if there is one for many platforms.
	Digest string

	// Bytes are the size of the compressed layers and the configuration for one platform.
	Bytes int64
}

// Registries asks the registries that images name. Its methods may be called from any goroutine.
type Registries struct {
	transport http.RoundTripper
	hosts     hosts
	refusals  refusals
}

// New returns Registries that send their requests through a transport; nil is one of their own.
func New(transport http.RoundTripper) *Registries {
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: callTime}).DialContext,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    maxCallsPerRegistry,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &Registries{transport: transport, hosts: newHosts()}
}

// Look asks for the manifest of an image for linux and an architecture, such as amd64. The auths are Docker
// configurations ({"auths": …}), of which every matching entry is tried in order, and then none. The error is a
// *RestError if the registry is not to be asked now.
func (r *Registries) Look(ctx context.Context, image, arch string, auths [][]byte) (Manifest, error) {
	var m Manifest
	err := r.ask(ctx, image, auths, func(ctx context.Context, s *session) (err error) {
		m, err = s.look(ctx, arch)
		return err
	})
	if err != nil {
		return Manifest{}, fmt.Errorf("asking for the manifest of %s: %w", image, err)
	}
	return m, nil
}

// Digest asks where an image points, and is cheaper than Look: registries do not count it as a pull.
func (r *Registries) Digest(ctx context.Context, image string, auths [][]byte) (string, error) {
	var digest string
	err := r.ask(ctx, image, auths, func(ctx context.Context, s *session) (err error) {
		digest, err = s.digest(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking for the digest of %s: %w", image, err)
	}
	return digest, nil
}

// ask puts a question with one credential after the other until one is good enough.
func (r *Registries) ask(ctx context.Context, image string, auths [][]byte, question func(context.Context, *session) error) error {
	named, err := reference.ParseDockerRef(image) // as container runtimes do
	if err != nil {
		return err
	}
	registry, err := name.NewRegistry(reference.Domain(named))
	if err != nil {
		return err
	}
	asked := refusalKey(image, auths)
	if err := r.refusals.find(asked, time.Now()); err != nil {
		return err
	}
	leave, err := r.hosts.enter(ctx, registry.RegistryStr())
	if err != nil {
		return err
	}
	inTime, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	w := &watch{next: r.transport}
	for _, credential := range append(credentials(named.Name(), auths), authn.Anonymous) {
		s := &session{registry: registry, named: named, credential: credential, transport: w}
		if err = question(inTime, s); err == nil || !refused(err) {
			break
		}
	}
	if ctx.Err() != nil {
		leave(0)
		return ctx.Err() // the caller's own end says nothing about the registry
	}
	leave(w.rest(err, inTime.Err()))
	err = inWords(err, inTime.Err())
	if refused(err) {
		r.refusals.add(asked, err, time.Now())
	}
	return err
}
