// Package digest asks registries what images stand for: which digest a tag points to, and how much there is to download.
// It is careful with them: a few calls at a time, no repetitions, and none at all for a while where they asked for that.
package digest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kube-prepull/kube-prepull/webhook/memory"
)

const (
	// callTime is how long a registry has for an answer, authentication included.
	callTime = 10 * time.Second

	// refusalTime is how long a registry's no is remembered, and maxRefusals how many of them. Nobody waits for these
	// answers; a Resolver does not know them.
	refusalTime = 10 * time.Minute
	maxRefusals = 10_000
)

// Options are how registries are reached.
type Options struct {
	// Transport sends the requests; nil is one of the package's own. One that is given has to trust by itself what CA says.
	Transport http.RoundTripper

	// Hosts are the registries that are reached in a way of their own, by their host as images name it, such as
	// registry.internal:5000, or docker.io for Docker Hub. For all others it is HTTPS with a certificate that the system
	// trusts, or plain HTTP if HTTPS fails and the host is localhost or a private address; and where such a registry sends
	// further to another host, no private address is connected to.
	Hosts map[string]Host
}

// Host is how one registry is reached.
type Host struct {
	// PlainHTTP is true for a registry that is spoken to without TLS only.
	PlainHTTP bool

	// CA are certificates in PEM that are trusted beside those of the system. Such a registry is spoken to with TLS only.
	CA string
}

// Manifest is what a registry says of an image.
type Manifest struct {
	// Digest of what the image string points to, such as sha256:0f3a…; of the index if there is one for many platforms.
	Digest string

	// Bytes are the size of the compressed layers and the configuration for one platform.
	Bytes int64
}

// Registries asks the registries that images name. Its methods may be called from any goroutine.
type Registries struct {
	common   way
	byHost   map[string]way
	hosts    hosts
	room     chan struct{} // for manifests, which are read as a whole
	refusals *memory.Memory[key, error]
	sessions *memory.Memory[key, *session]
}

// New returns Registries that have not asked anything yet.
func New(o Options) *Registries {
	r := &Registries{
		hosts:    newHosts(),
		room:     make(chan struct{}, maxManifests/maxAnswer),
		refusals: memory.New[key, error](maxRefusals),
		sessions: memory.New[key, *session](maxSessions),
	}
	r.common, r.byHost = ways(o)
	return r
}

// Look asks for the manifest of an image for linux and an architecture, such as amd64. The auths are Docker
// configurations ({"auths": …}), of which every matching entry is tried in order, and then none. The error is a
// *RestError if the registry is not to be asked now.
func (r *Registries) Look(ctx context.Context, image, arch string, auths [][]byte) (Manifest, error) {
	select {
	case r.room <- struct{}{}:
		defer func() { <-r.room }()
	case <-ctx.Done():
		return Manifest{}, ctx.Err()
	}
	var m Manifest
	err := r.ask(ctx, image, auths, func(ctx context.Context, s *session, identifier string) (err error) {
		m, err = s.look(ctx, identifier, arch)
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
	err := r.ask(ctx, image, auths, func(ctx context.Context, s *session, identifier string) (err error) {
		digest, err = s.digest(ctx, identifier)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking for the digest of %s: %w", image, err)
	}
	return digest, nil
}

// ask puts a question that nobody waits for: where the registry said no, it is not put again for a long time.
func (r *Registries) ask(ctx context.Context, image string, auths [][]byte, question question) error {
	t, err := newTarget(image, auths)
	if err != nil {
		return err
	}
	if err, found := r.refusals.Find(t.key()); found {
		return err
	}
	leave, err := r.hosts.enter(ctx, t.host(), "", t.asking())
	if err != nil {
		return err
	}
	err = r.call(ctx, t, callTime, leave, question)
	if Refused(err) {
		r.refusals.Add(t.key(), err, time.Now().Add(refusalTime))
	}
	return err
}
