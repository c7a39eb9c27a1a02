package webhook

import (
	"context"
	"fmt"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/memory"
	"github.com/kube-prepull/kube-prepull/webhook/pins"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// keyMemory is how long what was read is not read again: the admissions of a burst share a few service accounts and
	// Secrets. A rotated Secret counts this much later.
	keyMemory = 5 * time.Second

	// maxKeys is how many of each are remembered, and maxTemplateKeys how much credentials one template may have, in bytes:
	// they are read for each of its images.
	maxKeys         = 500
	maxTemplateKeys = 128 << 10
)

// pullKeys reads the registry credentials that pods of a template get, from the pull secrets that it or its service
// account names. Only namespaces whose images are pinned may be asked for.
type pullKeys struct {
	accounts recentReads[[]string]
	secrets  recentReads[[]byte]
}

// newPullKeys returns some that take a time at most for each object that they read.
func newPullKeys(live client.Reader, limit time.Duration) *pullKeys {
	return &pullKeys{
		accounts: recentReads[[]string]{limit: limit, known: memory.New[client.ObjectKey, []string](maxKeys), read: func(ctx context.Context, key client.ObjectKey) ([]string, error) {
			var account corev1.ServiceAccount
			if err := live.Get(ctx, key, &account); err != nil {
				return nil, fmt.Errorf("getting service account %s: %w", key.Name, err)
			}
			return workload.SecretNames(&account), nil
		}},
		secrets: recentReads[[]byte]{limit: limit, known: memory.New[client.ObjectKey, []byte](maxKeys), read: func(ctx context.Context, key client.ObjectKey) ([]byte, error) {
			var secret corev1.Secret
			if err := live.Get(ctx, key, &secret); err != nil {
				return nil, fmt.Errorf("getting pull secret %s: %w", key.Name, err)
			}
			content, _ := pullsecret.Parse(&secret)
			return content, nil
		}},
	}
}

// of returns the Docker configurations of a template, in the order in which the kubelet tries them. As there, a Secret
// that is missing is none, and neither is one that may not be read. What admission has done to a pod need not be done again.
func (k *pullKeys) of(ctx context.Context, namespace string, t *pins.Template, pod bool) ([][]byte, error) {
	names := t.PullSecrets
	if !pod && !t.OwnSecrets {
		account := t.Account
		if account == "" {
			account = workload.DefaultAccount
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
		if client.IgnoreNotFound(err) != nil && !apierrors.IsForbidden(err) {
			return nil, err
		}
		if size += len(key); key != nil && size <= maxTemplateKeys {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// recentReads are remembered for a short time. Those who want the same at the same time read it once.
type recentReads[T any] struct {
	limit   time.Duration // for reading
	read    func(context.Context, client.ObjectKey) (T, error)
	flights singleflight.Group
	known   *memory.Memory[client.ObjectKey, T]
}

// get returns what is known of a key, or reads it. That something is missing is not remembered: it may come with the
// next object.
func (m *recentReads[T]) get(ctx context.Context, key client.ObjectKey) (T, error) {
	if known, found := m.known.Find(key); found {
		return known, nil
	}
	flight := m.flights.DoChan(key.String(), func() (any, error) {
		// The first who asks may leave before the others.
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.limit)
		defer cancel()
		value, err := m.read(detached, key)
		if err == nil {
			m.known.Add(key, value, time.Now().Add(keyMemory))
		} else if apierrors.IsNotFound(err) {
			m.known.Remove(key)
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
