package learn

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// accountMemory is how long a service account that was read is not read again: the workloads of a burst have a few
	// between them. It is short, because an account may get its pull secrets just before the workload comes.
	accountMemory = 2 * time.Second

	// maxAccounts is how many are remembered.
	maxAccounts = 1000
)

// accountReader reads the pull secrets of service accounts.
type accountReader struct {
	live   client.Reader
	mu     sync.Mutex
	recent map[client.ObjectKey]accountSecrets
}

// accountSecrets are what a service account had at a time.
type accountSecrets struct {
	secrets []v1alpha1.SecretReference
	read    time.Time
}

// secretsOf returns the pull secrets of a service account; none if there is no such account.
func (a *accountReader) secretsOf(ctx context.Context, account client.ObjectKey) ([]v1alpha1.SecretReference, error) {
	now := time.Now()
	a.mu.Lock()
	known, ok := a.recent[account]
	a.mu.Unlock()
	if ok && now.Sub(known.read) < accountMemory {
		return known.secrets, nil
	}
	secrets, err := readAccount(ctx, a.live, account)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.recent == nil || len(a.recent) >= maxAccounts {
		a.recent = map[client.ObjectKey]accountSecrets{}
	}
	a.recent[account] = accountSecrets{secrets, now}
	return secrets, nil
}

// readAccount reads the pull secrets of a service account; none if there is no such account.
func readAccount(ctx context.Context, live client.Reader, account client.ObjectKey) ([]v1alpha1.SecretReference, error) {
	var stored corev1.ServiceAccount
	if err := live.Get(ctx, account, &stored); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("getting service account %s: %w", account, err)
	}
	var names []string
	for _, s := range stored.ImagePullSecrets {
		names = append(names, s.Name)
	}
	return workload.SecretsIn(account.Namespace, names), nil
}
