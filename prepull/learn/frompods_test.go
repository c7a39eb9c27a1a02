package learn

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// TestImagesThatPodsHaveToProve learns from pods alone: policies may refuse those of a workload that they let in.
func TestImagesThatPodsHaveToProve(t *testing.T) {
	t.Parallel()
	idle := workloadtest.Deployment("api", "app:v1")
	idle.Spec.Replicas = new(int32)
	known := func(image string, users ...v1alpha1.User) v1alpha1.PrepullImage {
		o := prepulltest.Learned(image, 1)
		o.Status.Users, o.Status.UserCount = users, int32(len(users))
		return o
	}
	for name, test := range map[string]struct {
		known   []v1alpha1.PrepullImage
		objects []client.Object
		want    []v1alpha1.User
	}{
		"a template alone":                     {nil, []client.Object{workloadtest.Deployment("api", "app:v1")}, nil},
		"one with a pod":                       {nil, []client.Object{workloadtest.Deployment("api", "app:v1"), workloadtest.RolledOut("api", "app:v1")}, deployments("api")},
		"one whose pods were there":            {[]v1alpha1.PrepullImage{known("app:v1", deployments("api")...)}, []client.Object{idle}, deployments("api")},
		"one whose pods had another image":     {[]v1alpha1.PrepullImage{known("app:v0", deployments("api")...)}, []client.Object{idle}, nil},
		"another one with pods does not prove": {nil, []client.Object{workloadtest.Deployment("api", "app:v1"), workloadtest.Deployment("web", "app:v1"), workloadtest.RolledOut("web", "app:v1")}, deployments("web")},
		"nor did it before":                    {[]v1alpha1.PrepullImage{known("app:v1", deployments("web")...)}, []client.Object{workloadtest.Deployment("api", "app:v1")}, nil},
		"what is injected into pods":           {nil, []client.Object{workloadtest.Deployment("api", "other:v1"), workloadtest.RolledOut("api", "app:v1")}, deployments("api")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop")
			c.proven = (&resync{fromPods: true}).provenBy(test.known)
			for _, o := range test.objects {
				c.add(o)
			}
			c.settle()
			if diff := cmp.Diff(test.want, c.usersOf("app:v1", nil)); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
			if asked := c.demandOf("app:v1").Placements; (len(asked) > 0) != (len(test.want) > 0) {
				t.Errorf("placements %v", asked)
			}
		})
	}
}

// A look at a Deployment, and the resync, learn nothing of what no pod has.
func TestATemplateTeachesNothingWherePodsHaveTo(t *testing.T) {
	t.Parallel()
	p := newPinnery(t, workloadtest.Deployment("api", "app:v1"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{v1alpha1.LabelEnabled: v1alpha1.Enabled}}})
	p.learner.fromPods, p.resync.fromPods = true, true
	if found := p.see(t); found != stale {
		t.Errorf("the look finds %d", found)
	}
	p.once(t, "")
	p.expect(t, "without a pod")
	p.learner.fromPods, p.resync.fromPods = false, false
	p.once(t, "")
	p.expect(t, "where templates count", "app:v1 for 1")
	p.learner.fromPods, p.resync.fromPods = true, true
	p.once(t, "")
	p.expect(t, "of what was known", "app:v1 for 1")
}
