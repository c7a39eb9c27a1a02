package learn

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
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
	recent *cache.LRUExpireCache
}

func newAccountReader(live client.Reader) *accountReader {
	return &accountReader{live: live, recent: cache.NewLRUExpireCache(maxAccounts)}
}

// secretsOf returns the pull secrets of a service account; none if there is no such account.
func (a *accountReader) secretsOf(ctx context.Context, account client.ObjectKey) ([]v1alpha1.SecretReference, error) {
	if known, found := a.recent.Get(account); found {
		return known.([]v1alpha1.SecretReference), nil
	}
	secrets, err := readAccount(ctx, a.live, account)
	if err != nil {
		return nil, err
	}
	a.recent.Add(account, secrets, accountMemory)
	return secrets, nil
}

// readAccount reads the pull secrets of a service account; none if there is no such account.
func readAccount(ctx context.Context, live client.Reader, account client.ObjectKey) ([]v1alpha1.SecretReference, error) {
	var stored corev1.ServiceAccount
	if err := pages.Get(ctx, live, account, &stored); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("getting service account %s: %w", account, err)
	}
	return workload.SecretsIn(account.Namespace, workload.SecretNames(&stored)), nil
}
