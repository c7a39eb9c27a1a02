package workload

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Untouchable is true for the namespaces that the cluster and kube-prepull itself run in.
func Untouchable(namespace, own string) bool {
	switch namespace {
	case metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, own:
		return true
	}
	return false
}

// OptedIn is true for a namespace whose images are learned. The namespaces that the cluster and kube-prepull itself
// run in never are, whatever their labels say.
func OptedIn(namespace metav1.Object, own string) bool {
	return !Untouchable(namespace.GetName(), own) && namespace.GetDeletionTimestamp() == nil && namespace.GetLabels()[v1alpha1.LabelEnabled] == v1alpha1.Enabled
}

// Rewrites is true for a namespace that has its images pinned, whatever the mode.
func Rewrites(namespace metav1.Object) bool {
	return v1alpha1.RewriteMode(namespace.GetLabels(), nil, false) != ""
}

// NamespaceMetadata is an empty Namespace that is read from the cache of metadata.
func NamespaceMetadata() *metav1.PartialObjectMetadata {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	return ns
}
