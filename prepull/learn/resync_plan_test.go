package learn

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

var testRetention = retention{gone: 24 * time.Hour, rollback: 24 * time.Hour, optedOut: time.Minute}

// used is a learned object with a status.
func used(image string, l learned) v1alpha1.PrepullImage {
	o := prepulltest.Learned(image, 0)
	setLearned(&o, l)
	return o
}

// setLearned stores l as the API server would: as JSON.
func setLearned(o *v1alpha1.PrepullImage, l learned) {
	raw, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	o.Status = v1alpha1.PrepullImageStatus{}
	if err := json.Unmarshal(raw, &o.Status); err != nil {
		panic(err)
	}
}

func TestPlanResync(t *testing.T) {
	t.Parallel()
	one := func(name string) learned {
		return learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: deployments(name), UserCount: 1, Placements: anyNode}
	}
	isNew := func(names ...string) learned {
		return learned{}.withUsers(deployments(names...), freely, prepulltest.Noon)
	}
	declared := prepulltest.Declared("by-hand", "app:v1")

	for name, test := range map[string]struct {
		images  []v1alpha1.PrepullImage
		stored  []metav1.Object
		partial bool
		want    []string
	}{
		"an image that no admission taught": {stored: []metav1.Object{workloadtest.Deployment("api", "app:v1")}, want: []string{"create app:v1 for 1"}},
		"an image with the users it should have": {
			images: []v1alpha1.PrepullImage{used("app:v1", one("api"))}, stored: []metav1.Object{workloadtest.Deployment("api", "app:v1")},
		},
		"one more user": {
			images: []v1alpha1.PrepullImage{used("app:v1", one("api"))},
			stored: []metav1.Object{workloadtest.Deployment("api", "app:v1"), workloadtest.Deployment("web", "app:v1")},
			want:   []string{"update app:v1 for 2"},
		},
		"a rollout displaces an image": {
			images: []v1alpha1.PrepullImage{used("app:v1", isNew("api"))}, stored: []metav1.Object{workloadtest.Deployment("api", "app:v2")},
			want: []string{"update app:v1 for 0", "create app:v2 for 1"},
		},
		"a displaced image is not touched again": {
			images: []v1alpha1.PrepullImage{used("app:v1", isNew("api").withoutUsers(prepulltest.Noon)), used("app:v2", one("api"))},
			stored: []metav1.Object{workloadtest.Deployment("api", "app:v2")},
		},
		"a displaced image goes in the end": {
			images: []v1alpha1.PrepullImage{used("app:v1", one("api").withoutUsers(yesterday))}, stored: []metav1.Object{workloadtest.Deployment("api")},
			want: []string{"retire app:v1"},
		},
		"a declared image gets its users": {
			images: []v1alpha1.PrepullImage{declared}, stored: []metav1.Object{workloadtest.Deployment("api", "app:v1")},
			want: []string{"update app:v1 for 1"},
		},
		"a declared image that nobody uses": {images: []v1alpha1.PrepullImage{declared}},
		"an image is declared that was learned before": {
			images: []v1alpha1.PrepullImage{used("app:v1", one("api")), declared}, stored: []metav1.Object{workloadtest.Deployment("api", "app:v1")},
			want: []string{"retire app:v1", "update app:v1 for 1"},
		},
		"a partial census takes nothing away, but teaches": {
			images: []v1alpha1.PrepullImage{
				used("app:v1", one("api")), used("old:v1", one("old").withoutUsers(yesterday)),
				used("web:v1", one("web")), declared,
			},
			stored: []metav1.Object{workloadtest.Deployment("x", "web:v1", "new:v1")}, partial: true,
			want: []string{"update web:v1 for 2", "create new:v1 for 1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop")
			if test.partial {
				clear(c.read)
			}
			for _, o := range test.stored {
				c.add(o)
			}
			c.settle()
			var got []string
			changes, _ := planResync(test.images, c, testRetention, prepulltest.Noon)
			for _, ch := range changes {
				switch {
				case ch.retire:
					got = append(got, "retire "+ch.image)
				case ch.object == nil:
					got = append(got, fmt.Sprintf("create %s for %d", ch.image, ch.want.UserCount))
				default:
					got = append(got, fmt.Sprintf("update %s for %d", ch.image, ch.want.UserCount))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzPlanResync runs a few resyncs over random clusters that change between them. After each one everything that is
// used is stored with its users and what they ask for, nothing used or declared was deleted, and planning again gives nothing to do.
func FuzzPlanResync(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		images := []v1alpha1.PrepullImage{prepulltest.Declared("by-hand", "image-0"), prepulltest.Declared("another", "image-99")}
		for i := range 3 {
			passing := prepulltest.Declared(fmt.Sprint("passing-", i), fmt.Sprint("image-", i))
			passing.Spec.TTL = &metav1.Duration{Duration: time.Duration(1+(seed*7+uint64(i)*13)%60) * time.Hour}
			images = append(images, passing)
		}
		now := prepulltest.Noon
		for range 6 {
			now = now.Add(time.Duration(random.IntN(20)) * time.Hour)
			c := randomCensus(random)
			before := slices.Clone(images)
			changes, _ := planResync(images, c, testRetention, now)
			images = carriedOut(images, changes)
			checkResync(t, before, images, c)
			checkEnds(t, before, images, c, now)
			if again, _ := planResync(images, c, testRetention, now.Add(time.Second)); len(again) > 0 {
				t.Errorf("planning again gives %d changes, the first for %s", len(again), again[0].image)
			}
		}
	})
}

// randomCensus is of namespaces of which some opted in, and some of those are rewritten, with workloads and pods that
// share a few images and a few pins of them.
func randomCensus(random *rand.Rand) *census {
	var namespaces []string
	for i := range 4 {
		if random.IntN(4) > 0 {
			namespaces = append(namespaces, fmt.Sprintf("ns-%d", i))
		}
	}
	c := censusOf(namespaces...)
	for _, ns := range namespaces {
		if random.IntN(2) == 0 {
			c.namespaces[ns] = workloadtest.Rewritten
		}
	}
	if random.IntN(4) == 0 {
		for _, ns := range namespaces {
			if random.IntN(3) > 0 {
				delete(c.read, ns)
			}
		}
	}
	c.pullSecrets = random.IntN(4) > 0
	for i := range random.IntN(60) {
		if len(namespaces) == 0 {
			break
		}
		image := fmt.Sprintf("image-%d", random.IntN(8))
		meta := metav1.ObjectMeta{Namespace: namespaces[random.IntN(len(namespaces))], Name: fmt.Sprint("w", i), UID: types.UID(fmt.Sprint(i))}
		spec := randomSpec(random, image)
		deployment := &appsv1.Deployment{ObjectMeta: meta}
		deployment.Spec.Template.Spec = spec
		deployment.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationPriority: fmt.Sprint(random.IntN(5) - 2)}
		if random.IntN(2) == 0 {
			pinned := v1alpha1.Pin(fmt.Sprintf("image-%d", random.IntN(8)), workloadtest.DigestA)
			deployment.Spec.Template.Annotations[v1alpha1.AnnotationPin+spec.Containers[0].Name] = pinned
		}
		pod := &corev1.Pod{ObjectMeta: meta, Spec: spec}
		switch random.IntN(3) {
		case 0:
			c.add(deployment)
		case 1:
			c.add(pod)
		case 2:
			// Something may have replaced the image of a pod, and the rollout may be under way.
			replicas := int32(random.IntN(3))
			deployment.Status = appsv1.DeploymentStatus{Replicas: replicas, UpdatedReplicas: int32(random.IntN(int(replicas) + 1))}
			c.add(deployment)
			for range replicas {
				pod := workloadtest.RolledOut(meta.Name, fmt.Sprintf("image-%d", random.IntN(8)))
				pod.Namespace = meta.Namespace
				c.add(pod)
			}
		}
		if random.IntN(8) == 0 {
			hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace}}
			hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: meta.Name}
			c.addScaler(hpa)
		}
	}
	c.settle()
	for _, ns := range namespaces {
		for account := range c.accounts[ns] {
			c.addSecrets(ns, account, workload.SecretsIn(ns, []string{"of-" + account, "shared"}))
		}
	}
	return c
}

// randomSpec is of pods that run in a few places, with a few credentials.
func randomSpec(random *rand.Rand, image string) corev1.PodSpec {
	spec := workloadtest.Spec(image)
	spec.ServiceAccountName = []string{"", "robot"}[random.IntN(2)]
	if random.IntN(3) == 0 {
		spec.NodeSelector = map[string]string{"pool": fmt.Sprint(random.IntN(6))}
	}
	if random.IntN(3) == 0 {
		spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}, {Key: corev1.TaintNodeNotReady}}
	}
	if random.IntN(8) == 0 {
		spec.Affinity = workloadtest.RequireZones([]string{"b", "a"}, []string{"c"})
	}
	if random.IntN(10) == 0 {
		spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	if random.IntN(4) == 0 {
		spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: fmt.Sprint("s", random.IntN(12))}, {Name: "a"}}
	}
	if random.IntN(6) == 0 {
		spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	}
	return spec
}

// carriedOut is what the API server holds after a resync.
func carriedOut(images []v1alpha1.PrepullImage, changes []change) []v1alpha1.PrepullImage {
	stored := map[string]v1alpha1.PrepullImage{}
	for _, o := range images {
		stored[o.Name] = o
	}
	for _, c := range changes {
		switch {
		case c.retire:
			delete(stored, c.object.Name)
		case c.object == nil:
			stored[workload.ObjectName(c.image)] = used(c.image, c.merge(learned{}))
		default:
			o := stored[c.object.Name]
			next, _ := c.replace(learnedOf(o.Status))
			setLearned(&o, next)
			stored[o.Name] = o
		}
	}
	var left []v1alpha1.PrepullImage
	for _, o := range stored {
		left = append(left, o)
	}
	slices.SortFunc(left, func(a, b v1alpha1.PrepullImage) int {
		return workload.CompareUsers(v1alpha1.User{Name: a.Name}, v1alpha1.User{Name: b.Name})
	})
	return left
}

func checkResync(t *testing.T, before, after []v1alpha1.PrepullImage, c *census) {
	t.Helper()
	byImage := map[string]v1alpha1.PrepullImage{}
	for _, o := range after {
		byImage[o.Spec.Image] = o
	}
	known := map[string][]v1alpha1.User{}
	for _, o := range before {
		known[o.Spec.Image] = o.Status.Users
	}
	for image := range c.users {
		o, ok := byImage[image]
		users := c.usersOf(image, known[image])
		if !ok || int(o.Status.UserCount) != inUse(users) && c.whole() {
			t.Errorf("%s has %d users, its object (%t) counts %d", image, inUse(users), ok, o.Status.UserCount)
		}
		if c.whole() && !cmp.Equal(users[:min(len(users), maxUsers)], o.Status.Users, cmpopts.EquateEmpty()) {
			t.Errorf("%s has the users %v, its object names %v", image, users, o.Status.Users)
		}
		asked, stored := c.demandOf(image), learnedOf(o.Status).demand()
		if diff := cmp.Diff(asked, stored, cmp.AllowUnexported(workload.Demand{}), cmpopts.EquateEmpty()); diff != "" && c.whole() {
			t.Errorf("%s: what its users ask for is not what its object says (-want +got):\n%s", image, diff)
		}
		more := learnedOf(o.Status).withDemand(stored.Plus(asked))
		if !c.whole() && !more.equal(learnedOf(o.Status)) {
			t.Errorf("%s: its object says %+v after a partial census that found %+v", image, stored, asked)
		}
		if len(stored.Placements) == 0 && inUse(users) > 0 || len(stored.Placements) > workload.MaxPlacements || len(stored.PullSecrets) > workload.MaxPullSecrets {
			t.Errorf("%s has %d placements and %d pull secrets", image, len(stored.Placements), len(stored.PullSecrets))
		}
	}
	for _, o := range before {
		if _, ok := byImage[o.Spec.Image]; !ok && (!c.whole() || !o.Managed() && o.Spec.TTL == nil) {
			t.Errorf("%s was deleted; partial: %t, managed: %t", o.Spec.Image, !c.whole(), o.Managed())
		}
	}
}

// checkEnds holds what a ttl means: nothing goes before it, or while it is used, and what nothing has ever used goes then.
func checkEnds(t *testing.T, before, after []v1alpha1.PrepullImage, c *census, now time.Time) {
	t.Helper()
	for _, o := range before {
		if o.Spec.TTL == nil {
			continue
		}
		since := o.CreationTimestamp
		if o.Status.LastSeenTime != nil {
			since = *o.Status.LastSeenTime
		}
		over := !now.Before(since.Add(o.Spec.TTL.Duration))
		gone := !slices.ContainsFunc(after, func(other v1alpha1.PrepullImage) bool { return other.Name == o.Name })
		free := len(c.users[o.Spec.Image]) == 0 && o.Status.UserCount == 0
		if gone && !(over && free && c.whole()) {
			t.Errorf("%s went %s after its last use, with a ttl of %s; in use: %t", o.Name, now.Sub(since.Time), o.Spec.TTL.Duration, !free)
		}
		if !gone && over && free && c.whole() && o.Declared() {
			t.Errorf("%s is there %s after it was made, with a ttl of %s", o.Name, now.Sub(since.Time), o.Spec.TTL.Duration)
		}
	}
}

// A census of one namespace is all that there is to know of it, and tells nothing of others.
func TestACensusOfOneNamespace(t *testing.T) {
	t.Parallel()
	in := func(namespace, name, runs string) v1alpha1.User {
		return v1alpha1.User{Kind: "Deployment", Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name), Runs: runs}
	}
	knows := func(count int32, users ...v1alpha1.User) learned {
		return learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), Users: users, UserCount: count, Placements: anyNode}
	}
	for name, test := range map[string]struct {
		before learned
		count  int32
		users  []v1alpha1.User
	}{
		"nobody uses it any more":                 {knows(1, in("shop", "old", "")), 0, []v1alpha1.User{in("shop", "old", "")}},
		"only one of another namespace does":      {knows(2, in("office", "x", ""), in("shop", "old", "")), 1, []v1alpha1.User{in("office", "x", "")}},
		"the last ones were of another namespace": {knows(0, in("office", "x", "")), 0, []v1alpha1.User{in("office", "x", "")}},
		"more users than are named": {
			knows(7, in("shop", "a", ""), in("shop", "b", "")), 7, []v1alpha1.User{in("shop", "a", ""), in("shop", "b", "")},
		},
		"pods of another namespace run another image": {
			knows(1, in("shop", "old", ""), in("office", "x", "proxy:v1")), 0, []v1alpha1.User{in("office", "x", "proxy:v1")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop", "office")
			delete(c.read, "office")
			c.add(workloadtest.Deployment("api", "app:v2"))
			c.settle()
			changes, _ := planResync([]v1alpha1.PrepullImage{used("app:v1", test.before)}, c, testRetention, prepulltest.Noon)
			got := test.before
			for _, ch := range changes {
				if ch.image == "app:v1" && ch.retire {
					t.Error("it is deleted")
				} else if ch.image == "app:v1" {
					got = ch.want
				}
			}
			if got.UserCount != test.count || !cmp.Equal(got.Users, test.users) {
				t.Errorf("%d users, %v", got.UserCount, got.Users)
			}
		})
	}
}

// An image of a namespace that opted out is looked at again when its time is over.
func TestWhatOptedOutGoesInTime(t *testing.T) {
	t.Parallel()
	c := censusOf("shop")
	left := learned{FirstSeenTime: at(yesterday), LastSeenTime: at(yesterday), UserCount: 1, Placements: anyNode,
		Users: []v1alpha1.User{{Kind: "Deployment", Namespace: "left", Name: "api"}}}
	images := []v1alpha1.PrepullImage{used("app:v1", left)}
	changes, again := planResync(images, c, testRetention, prepulltest.Noon)
	if want := prepulltest.Noon.Add(testRetention.optedOut); !again.Equal(want) || len(changes) != 1 || changes[0].retire {
		t.Fatalf("%d changes, and again at %v, want %v", len(changes), again, want)
	}
	images = carriedOut(images, changes)
	if changes, _ := planResync(images, c, testRetention, again.Add(-time.Second)); len(changes) > 0 {
		t.Errorf("it changes before its time")
	}
	wrong := testRetention
	wrong.suspended = true
	if changes, again := planResync(images, c, wrong, again.Add(time.Hour)); len(changes) > 0 || !again.IsZero() {
		t.Errorf("with a clock that is wrong there are %d changes, and again at %v", len(changes), again)
	}
	changes, again = planResync(images, c, testRetention, again)
	if len(changes) != 1 || !changes[0].retire || !again.IsZero() {
		t.Errorf("at its time there are %d changes, and again at %v", len(changes), again)
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	planned := used("app:v1", two)
	c := change{image: "app:v1", object: &planned, want: two.withoutUsers(prepulltest.Noon)}

	counted := two
	counted.Starts = starts("9", prepulltest.Noon)
	got, ok := c.replace(counted)
	want := two.withoutUsers(prepulltest.Noon)
	want.Starts = starts("9", prepulltest.Noon)
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("starts that were flushed meanwhile are kept; ok %t (-want +got):\n%s", ok, diff)
	}

	taught := two.withUse(deployments("new")[0], freely, prepulltest.Noon)
	if got, ok := c.replace(taught); ok || !got.equal(taught) {
		t.Errorf("a user that was learned meanwhile is lost; ok %t:\n%s", ok, cmp.Diff(taught, got))
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	c := change{image: "app:v1", want: learned{}.withUsers(deployments("a", "b"), freely, prepulltest.Noon)}
	if diff := cmp.Diff(c.want, c.merge(learned{})); diff != "" {
		t.Errorf("a new object (-want +got):\n%s", diff)
	}
	taught := learned{}.withUse(deployments("x")[0], gpuDemand, prepulltest.Noon)
	merged := c.merge(taught)
	if diff := cmp.Diff(deployments("a", "b", "x"), merged.Users); diff != "" {
		t.Errorf("the learner was faster (-want +got):\n%s", diff)
	}
	if len(merged.Placements) != 2 || !merged.AlwaysPull {
		t.Errorf("what both ask for is %+v", merged.demand())
	}
}

// A rollout moves a Deployment to other nodes: the learner adds them as soon as it sees the template, and the resync
// takes the old ones away when no pod is there any more.
func TestAChangedNodeSelectorIsAddedAtOnceAndReplacedLater(t *testing.T) {
	t.Parallel()
	before, after := workloadtest.Deployment("api", "app:v1"), workloadtest.Deployment("api", "app:v1")
	before.Spec.Template.Spec.NodeSelector = map[string]string{"pool": "old"}
	after.Spec.Template.Spec.NodeSelector = map[string]string{"pool": "new"}
	o := used("app:v1", learned{}.withUse(workload.UserOf(before), workload.RequirementsOf(before, nil).DemandFor("app:v1"), yesterday))
	setLearned(&o, learnedOf(o.Status).withUse(workload.UserOf(after), workload.RequirementsOf(after, nil).DemandFor("app:v1"), prepulltest.Noon))
	pools := func() (names []string) {
		for _, p := range o.Status.Placements {
			names = append(names, p.NodeSelector["pool"])
		}
		return names
	}
	if diff := cmp.Diff([]string{"new", "old"}, pools()); diff != "" {
		t.Errorf("after the learner (-want +got):\n%s", diff)
	}
	pod := workloadtest.RolledOut("api", "app:v1")
	pod.Spec.NodeSelector = before.Spec.Template.Spec.NodeSelector
	for _, step := range []struct {
		stored []metav1.Object
		want   []string
	}{
		{[]metav1.Object{after, pod}, []string{"new", "old"}},
		{[]metav1.Object{after}, []string{"new"}},
	} {
		c := censusOf("shop")
		for _, s := range step.stored {
			c.add(s)
		}
		c.settle()
		changes, _ := planResync([]v1alpha1.PrepullImage{o}, c, testRetention, prepulltest.Noon)
		o = carriedOut([]v1alpha1.PrepullImage{o}, changes)[0]
		if diff := cmp.Diff(step.want, pools()); diff != "" {
			t.Errorf("after a resync of %d objects (-want +got):\n%s", len(step.stored), diff)
		}
	}
}
