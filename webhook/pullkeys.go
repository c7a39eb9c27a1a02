package webhook

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// keyMemory is how long what was read is not read again: the admissions of a burst share a few service accounts and
	// Secrets. A rotated Secret counts this much later.
	keyMemory = 5 * time.Second

	// maxKeys is how many of each are remembered, maxKey how large a Secret's content may be to be used, and maxTemplateKeys
	// how much of it one template may have, in bytes: it is read for each of its images.
	maxKeys         = 500
	maxKey          = 64 << 10
	maxTemplateKeys = 128 << 10

	// defaultAccount is the service account of pods that name none.
	defaultAccount = "default"
)

// pullKeys reads the registry credentials that pods of a template get, from the pull secrets that it or its service
// account names. Only namespaces whose images are pinned may be asked for.
type pullKeys struct {
	accounts memory[[]string]
	secrets  memory[[]byte]
}

// newPullKeys returns some that take a time at most for each object that they read.
func newPullKeys(live client.Reader, limit time.Duration) *pullKeys {
	return &pullKeys{
		accounts: memory[[]string]{limit: limit, read: func(ctx context.Context, key client.ObjectKey) ([]string, error) {
			var account corev1.ServiceAccount
			if err := live.Get(ctx, key, &account); err != nil {
				return nil, fmt.Errorf("getting service account %s: %w", key.Name, err)
			}
			var names []string
			for _, ref := range account.ImagePullSecrets {
				if ref.Name != "" {
					names = append(names, ref.Name)
				}
			}
			return names, nil
		}},
		secrets: memory[[]byte]{limit: limit, read: func(ctx context.Context, key client.ObjectKey) ([]byte, error) {
			var secret corev1.Secret
			if err := live.Get(ctx, key, &secret); err != nil {
				return nil, fmt.Errorf("getting pull secret %s: %w", key.Name, err)
			}
			return dockerConfiguration(&secret), nil
		}},
	}
}

// of returns the Docker configurations of a template, in the order in which the kubelet tries them. As there, a Secret
// that is missing is none. What admission has done to a pod need not be done again.
func (k *pullKeys) of(ctx context.Context, namespace string, t *template, pod bool) ([][]byte, error) {
	names := t.pullSecrets
	if !pod && !t.ownSecrets {
		account := t.account
		if account == "" {
			account = defaultAccount
		}
		var err error
		names, err = k.accounts.get(ctx, client.ObjectKey{Namespace: namespace, Name: account})
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
	}
	var keys [][]byte
	size := 0
	for _, name := range names {
		key, err := k.secrets.get(ctx, client.ObjectKey{Namespace: namespace, Name: name})
		if client.IgnoreNotFound(err) != nil {
			return nil, err
		}
		if size += len(key); key != nil && size <= maxTemplateKeys {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// dockerConfiguration is the content of a pull secret in the form {"auths": …}, nil if it is none or too large.
func dockerConfiguration(s *corev1.Secret) []byte {
	var content []byte
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		content = s.Data[corev1.DockerConfigJsonKey]
	case corev1.SecretTypeDockercfg:
		if entries := s.Data[corev1.DockerConfigKey]; entries != nil {
			content = append(append([]byte(`{"auths":`), entries...), '}')
		}
	}
	if len(content) > maxKey {
		return nil
	}
	return content
}

// memory remembers for a short time what was read. Those who want the same at the same time read it once.
type memory[T any] struct {
	limit   time.Duration // for reading
	read    func(context.Context, client.ObjectKey) (T, error)
	flights singleflight.Group
	mu      sync.Mutex
	known   map[client.ObjectKey]remembered[T]
}

type remembered[T any] struct {
	value T
	at    time.Time
}

// get returns what is known of a key, or reads it. That something is missing is not remembered: it may come with the
// next object.
func (m *memory[T]) get(ctx context.Context, key client.ObjectKey) (T, error) {
	m.mu.Lock()
	known, found := m.known[key]
	m.mu.Unlock()
	if found && time.Since(known.at) < keyMemory {
		return known.value, nil
	}
	flight := m.flights.DoChan(key.String(), func() (any, error) {
		// The first who asks may leave before the others.
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.limit)
		defer cancel()
		value, err := m.read(detached, key)
		if err == nil {
			m.remember(key, value)
		} else if apierrors.IsNotFound(err) {
			m.forget(key)
		}
		return value, err
	})
	var none T
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case result := <-flight:
		if result.Err != nil {
			return none, result.Err
		}
		return result.Val.(T), nil
	}
}

func (m *memory[T]) remember(key client.ObjectKey, value T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	// What holds no longer is not kept: these are credentials.
	maps.DeleteFunc(m.known, func(_ client.ObjectKey, old remembered[T]) bool { return now.Sub(old.at) >= keyMemory })
	if m.known == nil || len(m.known) >= maxKeys {
		m.known = map[client.ObjectKey]remembered[T]{}
	}
	m.known[key] = remembered[T]{value, now}
}

func (m *memory[T]) forget(key client.ObjectKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, key)
}
