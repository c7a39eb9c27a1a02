package deploy_test

import (
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

// The plugin removes whatever the chart can install, its hooks included.
func TestWhatIsInstalledCanBeUninstalled(t *testing.T) {
	t.Parallel()
	objects := map[string]client.Object{}
	for name, o := range renderedWith(t, append(slices.Clone(everyValue), "priorityClass.name=other")) {
		objects[name] = o
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	builder := fake.NewClientBuilder().WithScheme(scheme)
	for name, o := range objects {
		if !scheme.Recognizes(o.GetObjectKind().GroupVersionKind()) {
			known := &metav1.PartialObjectMetadata{}
			known.SetGroupVersionKind(o.GetObjectKind().GroupVersionKind())
			known.Namespace, known.Name, known.Labels = o.GetNamespace(), o.GetName(), o.GetLabels()
			objects[name] = known
		}
		builder = builder.WithObjects(objects[name].DeepCopyObject().(client.Object))
	}
	c := builder.Build()
	if err := uninstall.Run(t.Context(), c, uninstall.Options{Namespace: "kube-prepull", Installed: true, CRD: true, Tell: func(string) {}}); err != nil {
		t.Fatal(err)
	}
	for name, o := range objects {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
			t.Errorf("%s is left (%v)", name, err)
		}
	}
}

// Before Helm deletes anything a Job does its part: where a manager runs, whatever keeps managers apart, and with the image
// that is there. If it fails nothing of it stays, and the release does.
func TestTheCleanupRunsWhereTheManagersAre(t *testing.T) {
	t.Parallel()
	job := only[*batchv1.Job](t, decode(t, render(t, "--set", "image.pullPolicy=Always",
		"--set", "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes.io/hostname",
		"--set", "affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1",
		"--set", "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=pool")))
	pod := job.Spec.Template.Spec
	preferred := pod.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	if len(preferred) != 2 || preferred[1].Weight != 100 || preferred[1].PodAffinityTerm.LabelSelector.MatchLabels[v1alpha1.LabelComponent] != v1alpha1.ComponentWebhook ||
		preferred[1].PodAffinityTerm.TopologyKey != corev1.LabelHostname {
		t.Errorf("it prefers to be beside %v", preferred)
	}
	if pod.Affinity.PodAntiAffinity != nil || pod.Affinity.NodeAffinity == nil {
		t.Errorf("it has the affinity %v", pod.Affinity)
	}
	if policy := pod.Containers[0].ImagePullPolicy; policy != corev1.PullIfNotPresent {
		t.Errorf("it pulls its image %s", policy)
	}
	for key, want := range map[string]string{
		"helm.sh/hook": "pre-delete", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded,hook-failed", "helm.sh/hook-output-log-policy": "hook-failed",
	} {
		if got := job.Annotations[key]; got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	// Helm waits for 5 minutes if nobody says otherwise, and does not say why it stopped.
	if deadline := *job.Spec.ActiveDeadlineSeconds; deadline < 60 || deadline >= 300 {
		t.Errorf("it has %d s", deadline)
	}
}
