package learn

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// shopReader is an API server with a Deployment for each of some images, a scaler of the first, and service accounts,
// which notes what is read one by one.
type shopReader struct {
	client.Reader
	deployments []*appsv1.Deployment
	daemonSet   *appsv1.DaemonSet
	accounts    map[string]string // their pull secrets
	failing     string            // the kind that cannot be read
	reads       []string
}

func (r *shopReader) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch l := list.(type) {
	case *appsv1.DeploymentList:
		for _, d := range r.deployments {
			l.Items = append(l.Items, *d)
		}
	case *autoscalingv2.HorizontalPodAutoscalerList:
		if r.failing == "scalers" {
			return errors.New("scalers are forbidden")
		}
		hpa := autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
		hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: r.deployments[0].Name}
		l.Items = append(l.Items, hpa)
	}
	return nil
}

func (r *shopReader) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	r.reads = append(r.reads, key.String())
	switch o := into.(type) {
	case *corev1.ServiceAccount:
		if r.failing == "accounts" {
			return errors.New("accounts are forbidden")
		}
		secret, ok := r.accounts[key.Name]
		if !ok {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, key.Name)
		}
		o.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret}}
	case *appsv1.DaemonSet:
		*o = *r.daemonSet
	case *appsv1.Deployment:
		*o = *r.deployments[slices.IndexFunc(r.deployments, func(d *appsv1.Deployment) bool { return d.Name == key.Name })]
	}
	return nil
}

func twoOfShop() []*appsv1.Deployment {
	robot := workloadtest.Deployment("robot", "robot:v1")
	robot.Spec.Template.Spec.ServiceAccountName = "robot"
	return []*appsv1.Deployment{workloadtest.Deployment("api", "app:v1"), workloadtest.Deployment("web", "app:v1"), robot}
}

func TestWhatCannotBeReadIsNamedAndTheRestCounted(t *testing.T) {
	t.Parallel()
	all := map[string]workload.Demand{
		"app:v1":   {Placements: anyNode, PullSecrets: workload.SecretsIn("shop", []string{"d"}), Autoscaled: true},
		"robot:v1": {Placements: anyNode},
	}
	without := func(change func(*workload.Demand)) map[string]workload.Demand {
		some := map[string]workload.Demand{}
		for image, d := range all {
			change(&d)
			some[image] = d
		}
		return some
	}
	for name, test := range map[string]struct {
		failing   string
		noSecrets bool
		err       string
		reads     []string
		want      map[string]workload.Demand
	}{
		"everything can be read": {reads: []string{"shop/default", "shop/robot"}, want: all},
		"scalers cannot": {
			failing: "scalers", err: "reading namespace shop: reading HorizontalPodAutoscalers: listing: scalers are forbidden",
			reads: []string{"shop/default", "shop/robot"}, want: without(func(d *workload.Demand) { d.Autoscaled = false }),
		},
		"accounts cannot": {
			failing: "accounts", err: "reading namespace shop: getting service account shop/default: accounts are forbidden",
			reads: []string{"shop/default"}, want: without(func(d *workload.Demand) { d.PullSecrets = nil }),
		},
		"no secrets are learned": {noSecrets: true, want: without(func(d *workload.Demand) { d.PullSecrets = nil })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live := &shopReader{deployments: twoOfShop(), accounts: map[string]string{"default": "d"}, failing: test.failing}
			r := &resync{live: live, pullSecrets: !test.noSecrets}
			c, err := r.count(t.Context(), map[string]map[string]string{"shop": nil}, "", nil)
			if (err != nil) != (test.err != "") || err != nil && err.Error() != test.err {
				t.Errorf("the error is %v, want %q", err, test.err)
			}
			if c.whole() != (test.err == "") {
				t.Errorf("whole is %t", c.whole())
			}
			got := map[string]workload.Demand{}
			for image := range c.users {
				got[image] = c.demandOf(image)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(workload.Demand{})); diff != "" {
				t.Errorf("demands (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.reads, live.reads); diff != "" {
				t.Errorf("read one by one (-want +got):\n%s", diff)
			}
		})
	}
}

// lookAt is what a learner sees in a named Deployment of the shop.
func lookAt(t *testing.T, l *Learner, name string) observation {
	t.Helper()
	seen, err := l.read(t.Context(), lookupKey{kind: "Deployment", namespace: "shop", name: name}, nil)
	if err != nil || len(seen) != 1 {
		t.Fatalf("%d sightings (%v)", len(seen), err)
	}
	return seen[0]
}

func TestAWorkloadIsSeenWithTheSecretsOfItsAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		live := &shopReader{deployments: twoOfShop(), accounts: map[string]string{"default": "d"}}
		l := &Learner{live: live, accounts: newAccountReader(live), reads: rate.NewLimiter(rate.Inf, 0)}
		for _, name := range []string{"api", "web", "api"} {
			if diff := cmp.Diff(workload.SecretsIn("shop", []string{"d"}), lookAt(t, l, name).Secrets); diff != "" {
				t.Errorf("pull secrets of %s (-want +got):\n%s", name, diff)
			}
		}
		if got := lookAt(t, l, "robot").Secrets; got != nil {
			t.Errorf("without an account there are %v", got)
		}
		want := []string{"shop/api", "shop/default", "shop/web", "shop/api", "shop/robot", "shop/robot"}
		if diff := cmp.Diff(want, live.reads); diff != "" {
			t.Errorf("reads (-want +got):\n%s", diff)
		}
		time.Sleep(accountMemory + time.Nanosecond)
		live.accounts["default"] = "new"
		if diff := cmp.Diff(workload.SecretsIn("shop", []string{"new"}), lookAt(t, l, "api").Secrets); diff != "" {
			t.Errorf("pull secrets a while later (-want +got):\n%s", diff)
		}
		live.failing = "accounts"
		time.Sleep(accountMemory + time.Nanosecond)
		if _, err := l.read(t.Context(), lookupKey{kind: "Deployment", namespace: "shop", name: "api"}, nil); err == nil {
			t.Error("an account that cannot be read is no error")
		}
		l.accounts = nil
		if got := lookAt(t, l, "api").Secrets; got != nil {
			t.Errorf("%v, want none where none are learned", got)
		}
	})
}

func TestAPodOfADaemonSetRunsWhereTheDaemonSetSays(t *testing.T) {
	t.Parallel()
	agent := &appsv1.DaemonSet{ObjectMeta: workloadtest.InShop("agent")}
	agent.Spec.Template.Spec = workloadtest.Spec("agent:v1")
	agent.Spec.Template.Spec.Affinity = workloadtest.RequireZones([]string{"a"})
	pod := workloadtest.Controlled(workloadtest.Pod("agent-x", "proxy:v1"), "DaemonSet", "agent")
	pod.Spec.Affinity = workloadtest.Requiring(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{workloadtest.OnNode("n1")}})
	live := &shopReader{daemonSet: agent}
	l := &Learner{live: live, reads: rate.NewLimiter(rate.Inf, 0)}
	known := map[v1alpha1.User]podOwner{}
	for range 2 {
		s, err := l.sight(t.Context(), pod, nil, known)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(workload.RequirementsOf(agent, nil).Placement, s.Placement); diff != "" {
			t.Errorf("placement (-DaemonSet +pod):\n%s", diff)
		}
	}
	if len(live.reads) != 1 {
		t.Errorf("reads of one look: %v", live.reads)
	}
	agent.UID = "another one of the same name"
	if s, err := l.sight(t.Context(), pod, nil, map[v1alpha1.User]podOwner{}); err != nil || s.Placement.NodeAffinity != nil {
		t.Errorf("the placement of another DaemonSet: %+v (%v)", s.Placement, err)
	}
}
