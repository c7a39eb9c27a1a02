package learn

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// maxStatus is how large a status may be that the learner and the resync write: five thousand of them are in the memory of each
// manager, and etcd takes none of more than 1.5 MiB.
const maxStatus = 64 << 10

// sized are pods of a controller, and a Deployment whose pods have another image, with everything as long and as often as it is
// given. The API server takes less.
func sized(text string, length, often int) []client.Object {
	long := func(i int) string {
		return fmt.Sprint(i, strings.Repeat(text, max(0, length-1)/max(1, len(text))+1))
	}
	spec := corev1.PodSpec{
		NodeSelector: map[string]string{}, NodeName: long(0), RuntimeClassName: new(string),
		Containers: []corev1.Container{{Name: "app", Image: "app:v1"}, {Name: "long", Image: long(0)}},
	}
	*spec.RuntimeClassName = long(1)
	requests := corev1.ResourceList{}
	var terms []corev1.NodeSelectorTerm
	for i := range often {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: long(i)})
		spec.NodeSelector[long(i)] = long(i)
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Key: long(i), Value: long(i)})
		requests[corev1.ResourceName("example.com/"+long(i))] = resource.MustParse("1")
		terms = append(terms, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: long(i), Operator: corev1.NodeSelectorOpIn, Values: []string{long(i)}}}})
	}
	spec.Containers[0].Resources.Requests = requests
	spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms}}}
	yes := true
	var all []client.Object
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", UID: "u"}}
	deployment.Spec.Template.Spec = spec
	deployment.Status = appsv1.DeploymentStatus{UpdatedReplicas: 1, Replicas: 1}
	all = append(all, deployment)
	for i := range min(often, 20) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("pod-", i)}, Spec: spec}
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: long(i), Name: long(i), UID: types.UID(long(i)), Controller: &yes}}
		all = append(all, pod)
	}
	replaced := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app-5d9c-x", Labels: map[string]string{"pod-template-hash": "5d9c"}}, Spec: *spec.DeepCopy()}
	replaced.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "app-5d9c", UID: "r", Controller: &yes}}
	replaced.Spec.Containers[0].Image = long(2)
	return append(all, replaced)
}

// FuzzAStatusIsSmall has workloads that want to teach much.
func FuzzAStatusIsSmall(f *testing.F) {
	f.Add("x", 1, 1)
	f.Add("x", 253, 40)
	f.Add("x", 254, 40)
	f.Add("\"\n", 300_000, 4)
	f.Add("é", 3000, 300)
	f.Fuzz(func(t *testing.T, text string, length, often int) {
		length, often = min(max(length, 0), 300_000), min(max(often, 0), 300)
		if length*often > 4<<20 || len(text) > 100 {
			return
		}
		c := censusOf("shop")
		c.pullSecrets = true
		for _, o := range sized(text, length, often) {
			c.add(o)
		}
		c.settle()
		changes, _ := planResync(nil, c, testRetention, prepulltest.Noon)
		for _, change := range changes {
			content, err := json.Marshal(change.want)
			if err != nil {
				t.Fatal(err)
			}
			if len(content) > maxStatus {
				t.Errorf("the status of %.40s has %d bytes", change.image, len(content))
			}
			again := learnedOf(prepulltest.Learned(change.image, 1).Status)
			for _, u := range change.want.Users {
				again = again.withUse(u, change.want.demand(), prepulltest.Noon)
			}
			if content, err = json.Marshal(again); err != nil || len(content) > maxStatus {
				t.Errorf("use by use it has %d bytes (%v)", len(content), err)
			}
		}
	})
}

// A namespace names as many images as there may be PrepullImages, and the same ones each time.
func TestACensusOfANamespaceIsBounded(t *testing.T) {
	t.Parallel()
	count := func() *census {
		c := censusOf("flood", "shop")
		for i := range 300 {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "flood", Name: fmt.Sprint("app-", i), UID: types.UID(fmt.Sprint("u-", i))}}
			for j := range 600 {
				d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: fmt.Sprint("c-", j), Image: fmt.Sprint("flood:", i, "-", j)})
			}
			c.add(d)
		}
		other := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", UID: "u"}}
		other.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "app:v1"}, {Name: "long", Image: strings.Repeat("x", 1025)}}
		c.add(other)
		if c.taught["flood"] < maxTaught || len(c.templates) > maxTaught/500+2 {
			t.Errorf("templates with %d containers in %d workloads are held", c.taught["flood"], len(c.templates))
		}
		c.settle()
		return c
	}
	one, other := count(), count()
	if len(one.users) != maxImages+1 || len(one.demands) != maxImages+1 || one.users["app:v1"] == nil {
		t.Errorf("%d images are counted, with %d demands", len(one.users), len(one.demands))
	}
	for image := range one.users {
		if other.users[image] == nil {
			t.Fatalf("%s is counted once, and not again", image)
		}
	}
}
