package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// auditedCluster holds namespaces, pods in pages of two, and workloads by kind and name.
type auditedCluster struct {
	client.Reader
	mu         sync.Mutex
	namespaces []metav1.PartialObjectMetadata
	pods       []*corev1.Pod
	workloads  map[string]*metav1.PartialObjectMetadata
	broken     string // a namespace, or a kind and name, that cannot be read
	lists      []string
	reads      int
}

func (c *auditedCluster) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var o client.ListOptions
	o.ApplyOptions(options)
	if list, ok := into.(*metav1.PartialObjectMetadataList); ok {
		for _, ns := range c.namespaces {
			if o.LabelSelector.Matches(labels.Set(ns.Labels)) {
				list.Items = append(list.Items, ns)
			}
		}
		return nil
	}
	if o.Namespace == c.broken {
		return errors.New("broken")
	}
	if o.Continue == "" {
		c.lists = append(c.lists, o.Namespace+" "+o.FieldSelector.String())
	}
	var found []*corev1.Pod
	for _, p := range c.pods {
		if p.Namespace == o.Namespace && o.FieldSelector.Matches(fields.Set{"status.phase": string(p.Status.Phase)}) {
			found = append(found, p)
		}
	}
	list := into.(*corev1.PodList)
	var from int
	_, _ = fmt.Sscanf(o.Continue, "%d", &from)
	for _, p := range found[from:min(from+2, len(found))] {
		list.Items = append(list.Items, *p)
	}
	if from+2 < len(found) {
		list.Continue = fmt.Sprint(from + 2)
	}
	return nil
}

func (c *auditedCluster) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	o := into.(*metav1.PartialObjectMetadata)
	name := o.Kind + "/" + key.Name
	if name == c.broken {
		return errors.New("broken")
	}
	found := c.workloads[name]
	if found == nil {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	kind := o.TypeMeta
	found.DeepCopyInto(o)
	o.TypeMeta = kind
	return nil
}

// listed are the lists of pods since it was last asked.
func (c *auditedCluster) listed() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lists := c.lists
	c.lists = nil
	return lists
}

func metadataOf(name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, UID: types.UID(uid)}
}

func rewritingNamespaces(names ...string) []metav1.PartialObjectMetadata {
	var list []metav1.PartialObjectMetadata
	for _, name := range names {
		ns := metav1.PartialObjectMetadata{ObjectMeta: metadataOf(name, "")}
		ns.Labels = map[string]string{v1alpha1.LabelRewrite: "latest"}
		list = append(list, ns)
	}
	return list
}

func named(name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Name, pod.UID = name, types.UID(name) }
}

func auditing(t *testing.T, c *auditedCluster) (*auditor, *notedEvents) {
	t.Helper()
	events, noted := testEvents(t)
	return &auditor{
		namespaces: c, live: c, reads: rate.NewLimiter(auditRate, auditBurst), own: "kube-prepull", interval: 10 * time.Minute,
		events: events, log: logr.Discard(),
	}, noted
}

func told(noted *notedEvents) []string {
	var list []string
	for _, w := range noted.all() {
		list = append(list, fmt.Sprintf("%s/%s(%s): %s: %s", w.workload.Kind, w.workload.Name, w.workload.UID, w.reason, w.note))
	}
	return list
}

func TestAnAuditTellsTheWorkload(t *testing.T) {
	t.Parallel()
	const (
		slippedPod = "runs " + taggedApp + " instead of the digest " + aDigest + " that its revision is pinned to: it was created while kube-prepull did not answer; "
		goneImage  = pinnedApp + " is gone from the registry: "
		pinAnew    = " to pin what " + taggedApp + " points to now"
	)
	ofCronJob := &metav1.PartialObjectMetadata{ObjectMeta: metadataOf("nightly-1", "owner")}
	ofCronJob.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "cron", Controller: ptr.To(true)}}
	workloads := map[string]*metav1.PartialObjectMetadata{
		"Deployment/api": {ObjectMeta: metadataOf("api", "deploy")},
		"Job/once":       {ObjectMeta: metadataOf("once", "owner")},
		"Job/nightly-1":  ofCronJob,
		"Job/new":        {ObjectMeta: metadataOf("new", "another")},
	}
	missing := waitsFor("app", "ImagePullBackOff", missingApp)
	job := func(name string) func(*corev1.Pod) { return controlledBy("batch/v1", "Job", name) }
	for name, test := range map[string]struct {
		pods []*corev1.Pod
		want string
	}{
		"nothing": {[]*corev1.Pod{replicaPod(pinnedApp)}, ""},
		"a pod that slipped through": {
			[]*corev1.Pod{replicaPod(taggedApp)},
			"Deployment/api(deploy): PodNotPinned: pod api-5d9c7b-x2x4 " + slippedPod + "delete the pod to have it replaced",
		},
		"many pods are one event": {
			[]*corev1.Pod{
				replicaPod(taggedApp, named("api-a")), replicaPod(pinnedApp, named("api-b")), replicaPod(taggedApp, named("api-c")),
				replicaPod(taggedApp, named("api-d")), replicaPod(taggedApp, named("api-e"), inPhase(corev1.PodFailed)),
			},
			"Deployment/api(deploy): PodNotPinned: pod api-a and 2 more run " + taggedApp + " instead of the digest " + aDigest +
				" that their revision is pinned to: they were created while kube-prepull did not answer; delete the pods to have them replaced",
		},
		"one of a Deployment that is gone": {
			[]*corev1.Pod{replicaPod(taggedApp, podLabel("pod-template-hash", "1"), controlledBy("apps/v1", "ReplicaSet", "gone-1"))},
			"ReplicaSet/gone-1(owner): PodNotPinned: pod api-5d9c7b-x2x4 " + slippedPod + "delete the pod to have it replaced",
		},
		"one of a job": {
			[]*corev1.Pod{replicaPod(taggedApp, job("once"))},
			"Job/once(owner): PodNotPinned: pod api-5d9c7b-x2x4 " + slippedPod + "run the job again if that matters",
		},
		"one of a CronJob": {
			[]*corev1.Pod{replicaPod(taggedApp, job("nightly-1"))},
			"CronJob/nightly(cron): PodNotPinned: pod api-5d9c7b-x2x4 " + slippedPod + "run the job again if that matters",
		},
		"a digest of a Deployment that is gone": {
			[]*corev1.Pod{replicaPod(pinnedApp, named("api-a"), missing), replicaPod(pinnedApp, named("api-b"), missing)},
			"Deployment/api(deploy): PinnedDigestGone: " + goneImage + "restart the rollout" + pinAnew,
		},
		"of a StatefulSet": {
			[]*corev1.Pod{replicaPod(pinnedApp, controlledBy("apps/v1", "StatefulSet", "db"), named("db-0"), missing)},
			"StatefulSet/db(owner): PinnedDigestGone: " + goneImage + "restart the rollout and delete the pod db-0" + pinAnew,
		},
		"of a CronJob": {
			[]*corev1.Pod{replicaPod(pinnedApp, job("nightly-1"), missing)},
			"CronJob/nightly(cron): PinnedDigestGone: " + goneImage + "change the CronJob's pod template, an annotation is enough," + pinAnew,
		},
		"of a job": {
			[]*corev1.Pod{replicaPod(pinnedApp, job("once"), missing)},
			"Job/once(owner): PinnedDigestGone: " + goneImage + "create the job again" + pinAnew,
		},
		"of a job that is another by now": {
			[]*corev1.Pod{replicaPod(pinnedApp, job("new"), missing)},
			"Job/new(owner): PinnedDigestGone: " + goneImage + "create the job again" + pinAnew,
		},
		"of a bare pod": {
			[]*corev1.Pod{replicaPod(pinnedApp, bare, marked("app="+taggedApp), missing)},
			"Pod/api-5d9c7b-x2x4(pod): PinnedDigestGone: " + goneImage + "create the pod again" + pinAnew,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, noted := auditing(t, &auditedCluster{namespaces: rewritingNamespaces("shop"), pods: test.pods, workloads: workloads})
			for range 3 {
				if err := a.audit(t.Context(), false); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(test.want, strings.Join(told(noted), "\n")); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if len(noted.all()) == 1 {
				w := noted.all()[0]
				if w.pod.Kind != "Pod" || w.pod.FieldPath != "spec.containers{app}" || w.workload.APIVersion == "" || w.workload.Namespace != "shop" {
					t.Errorf("%+v", w)
				}
				if got := problemsCounted(t, a.events.metrics, w.reason); got != 1 {
					t.Errorf("counted %v times", got)
				}
			}
		})
	}
}

func TestTwoImagesThatAreGoneAreTwoEvents(t *testing.T) {
	t.Parallel()
	both := replicaPod(pinnedApp, waitsFor("app", "ErrImagePull", missingApp), waitsFor("side", "ErrImagePull", missingApp), func(p *corev1.Pod) {
		p.Annotations[v1alpha1.AnnotationPin+"side"] = v1alpha1.Pin(taggedApp, aDigest)
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side", Image: pinnedApp})
	})
	a, noted := auditing(t, &auditedCluster{namespaces: rewritingNamespaces("shop"), pods: []*corev1.Pod{both}})
	if err := a.audit(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if len(noted.all()) != 2 || noted.all()[0].pod.FieldPath == noted.all()[1].pod.FieldPath {
		t.Errorf("told: %+v", noted.all())
	}
}

func TestJobsOfACronJobAreOneEvent(t *testing.T) {
	t.Parallel()
	c := &auditedCluster{namespaces: rewritingNamespaces("shop"), workloads: map[string]*metav1.PartialObjectMetadata{}}
	for _, name := range []string{"nightly-1", "nightly-2"} {
		job := &metav1.PartialObjectMetadata{ObjectMeta: metadataOf(name, name)}
		job.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "cron", Controller: ptr.To(true)}}
		c.workloads["Job/"+name] = job
		c.pods = append(c.pods, replicaPod(pinnedApp, named(name+"-x"), controlledBy("batch/v1", "Job", name), waitsFor("app", "ErrImagePull", missingApp),
			func(p *corev1.Pod) { p.OwnerReferences[0].UID = job.UID }))
	}
	a, noted := auditing(t, c)
	for range 3 {
		if err := a.audit(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if len(noted.all()) != 1 || c.reads != 2 {
		t.Errorf("%d reads, told: %v", c.reads, told(noted))
	}
}

func TestOnlyNamespacesWhoseImagesArePinnedAreAudited(t *testing.T) {
	t.Parallel()
	namespaces := rewritingNamespaces("shop", "kube-system", "kube-public", "kube-node-lease", "kube-prepull", "off", "going", "plain")
	namespaces[5].Labels[v1alpha1.LabelRewrite] = "off"
	namespaces[6].DeletionTimestamp = ptr.To(metav1.Now())
	namespaces[7].Labels = nil
	c := &auditedCluster{namespaces: namespaces}
	a, _ := auditing(t, c)
	if err := a.audit(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"shop status.phase=Pending"}, c.listed()); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeReadIsReadTheNextTime(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{"shop", "Deployment/api"} {
		t.Run(broken, func(t *testing.T) {
			t.Parallel()
			db := replicaPod(taggedApp, named("db-0"), controlledBy("apps/v1", "StatefulSet", "db"), func(p *corev1.Pod) { p.OwnerReferences[0].UID = "db" })
			other := db.DeepCopy()
			other.Namespace, other.OwnerReferences[0].UID = "till", "other"
			c := &auditedCluster{namespaces: rewritingNamespaces("shop", "till"), broken: broken, pods: []*corev1.Pod{replicaPod(taggedApp), db, other}}
			a, noted := auditing(t, c)
			if err := a.audit(t.Context(), false); err == nil {
				t.Error("no error")
			}
			if !slices.ContainsFunc(noted.all(), func(w written) bool { return w.workload.Namespace == "till" }) {
				t.Errorf("told: %v", told(noted))
			}
			c.broken = ""
			if err := a.audit(t.Context(), false); err != nil || len(noted.all()) != 3 {
				t.Errorf("%v, told: %v", err, told(noted))
			}
		})
	}
}

func TestTheRhythmOfAudits(t *testing.T) {
	t.Parallel()
	const (
		all     = "shop status.phase!=Failed,status.phase!=Succeeded"
		pending = "shop status.phase=Pending"
	)
	synctest.Test(t, func(t *testing.T) {
		c := &auditedCluster{namespaces: rewritingNamespaces("shop"), workloads: map[string]*metav1.PartialObjectMetadata{}}
		a, noted := auditing(t, c)
		a.interval = 75 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Start(ctx) }()
		time.Sleep(80 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{all, pending, pending, all}, c.listed()); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		// One of two pods that slipped through has started: the event counts it too, and the list is read again only once.
		c.mu.Lock()
		c.pods = []*corev1.Pod{
			replicaPod(taggedApp, named("api-a"), inPhase(corev1.PodRunning)), replicaPod(taggedApp, named("api-b"), inPhase(corev1.PodPending)),
		}
		c.mu.Unlock()
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{pending, all, pending}, c.listed()); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		if len(noted.all()) != 1 || !strings.HasPrefix(noted.all()[0].note, "pod api-a and 1 more run ") {
			t.Errorf("told: %v", told(noted))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(noted.all()) != 2 {
			t.Errorf("told in an hour: %v", told(noted))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
