package lab

import (
	"context"
	"sync"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// The first minor versions of Kubernetes whose clusters have these by default.
const (
	// ImageVolumes are used from this version on; before, API servers drop them from pods.
	ImageVolumes = 36
	// VerifiedPulls: kubelets ask whether a pod has the credentials with which an image was pulled.
	VerifiedPulls = 35
	// MutatingAdmissionPolicies are served as v1.
	MutatingAdmissionPolicies = 36
)

// Oldest is the module of the oldest Kubernetes that is supported.
func Oldest() cluster.Module {
	return cluster.Module{Dir: Source("e2e/cluster/oldest"), Packages: 2400}
}

var minor = sync.OnceValues(func() (int, error) { return cluster.Minor(context.Background()) })

// Kubernetes is the minor version of the tests' clusters.
func Kubernetes(t *testing.T) int {
	t.Helper()
	version, err := minor()
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// RequireKubernetes skips a test that is about something for which the tests' clusters are too old.
func RequireKubernetes(t *testing.T, since int, what string) {
	t.Helper()
	if version := Kubernetes(t); version < since {
		t.Skipf("SKIPPED: %s: Kubernetes has had them since 1.%d, and this is 1.%d", what, since, version)
	}
}
