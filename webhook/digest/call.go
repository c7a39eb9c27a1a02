package digest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

const (
	// sessionTime is how long a handshake is good for. A token that expires before costs what a handshake does.
	sessionTime = 5 * time.Minute

	// maxSessions bounds their memory; tokens have up to 64 KiB, and usually one or two.
	maxSessions = 500
)

// target is what a question is about, and who asks.
type target struct {
	named  reference.Named // as container runtimes understand it: with a host, and a tag or a digest
	logins []pullsecret.Login
}

func newTarget(image string, auths [][]byte) (*target, error) {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return nil, fmt.Errorf("reading the name of the image: %w", err)
	}
	return &target{named: named, logins: pullsecret.Matching(named.Name(), auths)}, nil
}

// host is the registry as images name it.
func (t *target) host() string { return reference.Domain(t.named) }

// key tells questions apart: with other credentials it is another one. Logins for other repositories do not matter.
func (t *target) key() key {
	parts := make([]string, 0, 1+2*len(t.logins))
	parts = append(parts, t.named.String())
	for _, l := range t.logins {
		parts = append(parts, l.Username, l.Password)
	}
	return keyOf(parts...)
}

// identifier is the tag or the digest that is asked about.
func (t *target) identifier() string {
	if digested, ok := t.named.(reference.Digested); ok {
		return digested.Digest().String()
	}
	return t.named.(reference.Tagged).Tag() // ParseDockerRef adds one
}

// asking are those who put a question in turn: each login, and then nobody in particular.
func (t *target) asking() []key {
	asking := make([]key, 0, len(t.logins)+1)
	for _, l := range t.logins {
		asking = append(asking, keyOf(l.Username, l.Password))
	}
	return append(asking, keyOf())
}

// question is what is asked about an identifier in a session.
type question func(ctx context.Context, s *session, identifier string) error

// call puts a question with one credential after the other until one is good enough; those that have to leave the registry
// alone are left out. It leaves the place that the caller has taken.
func (r *Registries) call(ctx context.Context, t *target, within time.Duration, leave func(rest), question question) error {
	var then rest
	defer func() { leave(then) }()
	inTime, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	w := &watch{}
	watched := context.WithValue(inTime, watchKey{}, w)
	asking := t.asking()
	free, resting := r.hosts.free(t.host(), asking)
	if len(free) == 0 {
		return resting
	}
	var err error
	var who key
	var tried time.Time
	for _, i := range free {
		who, tried = asking[i], time.Now()
		if err = r.try(watched, w, t, i, question); err == nil || !Refused(err) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err() // the caller's own end says nothing about the registry
	}
	late := inTime.Err() != nil && statusOf(err) == 0
	// That many credentials took the time is not the registry's fault.
	then = w.rest(who, err, late && time.Since(tried) >= within/2)
	if err != nil && late {
		return fmt.Errorf("%s did not answer within %v", t.host(), within)
	}
	if Refused(err) && resting != nil {
		return resting // a login that was left out may be good enough
	}
	return inWords(t.host(), err)
}

// try asks with a login, or with none after the last of them. It first asks in a session that there has been: whatever
// the registry then has against it, an expired token above all, a new one may change.
func (r *Registries) try(ctx context.Context, w *watch, t *target, login int, question question) error {
	credential, by := authn.Anonymous, []string{t.named.Name()}
	if login < len(t.logins) {
		l := t.logins[login]
		credential, by = &authn.Basic{Username: l.Username, Password: l.Password}, append(by, l.Username, l.Password)
	}
	k := keyOf(by...)
	if s, found := r.sessions.Take(k); found {
		err := question(ctx, s, t.identifier())
		if err == nil {
			r.sessions.Add(k, s, s.ends)
			return nil
		}
		if ctx.Err() != nil || !w.answered.Load() || w.asked.Load() > 0 || statusOf(err) >= http.StatusInternalServerError {
			return err
		}
	}
	registry, err := name.NewRegistry(t.host())
	if err != nil {
		return err
	}
	s := &session{registry: registry, path: reference.Path(t.named), credential: credential, transport: r.transport(t.named, registry), ends: time.Now().Add(sessionTime)}
	if err := question(ctx, s, t.identifier()); err != nil {
		return err
	}
	r.sessions.Add(k, s, s.ends)
	return nil
}
