package audit

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
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// auditedCluster holds namespaces, pods in pages of two, and workloads by kind and name. It notes Events.
type auditedCluster struct {
	client.Client
	mu         sync.Mutex
	namespaces []metav1.PartialObjectMetadata
	pods       []*corev1.Pod
	workloads  map[string]*metav1.PartialObjectMetadata
	broken     string // a namespace, or a kind and name, that cannot be read
	lists      []string
	reads      int
	events     []*corev1.Event
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
	if found := c.workloads[name]; found != nil {
		found.DeepCopyInto(o)
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (c *auditedCluster) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, obj.(*corev1.Event))
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

func (c *auditedCluster) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, e := range c.events {
		list = append(list, fmt.Sprintf("%s/%s/%s(%s): %s: %s", e.Namespace, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.InvolvedObject.UID, e.Reason, e.Message))
	}
	return list
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

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}

func auditing(t *testing.T, c *auditedCluster) *auditor {
	t.Helper()
	recorder, err := newRecorder(c, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return &auditor{
		namespaces: c, live: c, own: "kube-prepull", interval: 10 * time.Minute, pending: clock.Production().PendingInterval, recorder: recorder, log: logr.Discard(),
		recorded: map[findingKey]time.Time{},
	}
}

func cronJobs(names ...string) map[string]*metav1.PartialObjectMetadata {
	jobs := map[string]*metav1.PartialObjectMetadata{}
	for _, name := range names {
		job := &metav1.PartialObjectMetadata{ObjectMeta: metadataOf(name, "owner")}
		job.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", UID: "cron", Controller: ptr.To(true)}}
		jobs["Job/"+name] = job
	}
	return jobs
}

func TestAnAuditTellsTheWorkload(t *testing.T) {
	t.Parallel()
	const gone, anew = pinnedApp + " is gone from the registry: ", " to pin what " + taggedApp + " points to now"
	workloads := cronJobs("nightly-1")
	workloads["Deployment/api"] = &metav1.PartialObjectMetadata{ObjectMeta: metadataOf("api", "deploy")}
	workloads["Job/once"] = &metav1.PartialObjectMetadata{ObjectMeta: metadataOf("once", "owner")}
	workloads["Job/new"] = cronJobs("new")["Job/new"]
	workloads["Job/new"].UID = "another"
	missing := waitsFor(missingApp)
	job := func(name string) func(*corev1.Pod) { return controlledBy("batch/v1", "Job", name) }
	for name, test := range map[string]struct {
		pods       []*corev1.Pod
		start, end string // of the only Event
	}{
		"a pod that slipped through": {
			[]*corev1.Pod{apiPod(taggedApp)},
			"shop/Deployment/api(deploy): PodNotPinned: container app of pod api-5d9c7b-x2x4: " + taggedApp, "; delete it to have it replaced",
		},
		"many pods are one event": {
			[]*corev1.Pod{apiPod(taggedApp, named("a")), apiPod(pinnedApp, named("b")), apiPod(taggedApp, named("c")), apiPod(taggedApp, named("d"))},
			"shop/Deployment/api(deploy): PodNotPinned: container app of pod a and 2 more: ", "",
		},
		"a pod of a Deployment that is gone": {
			[]*corev1.Pod{apiPod(taggedApp, controlledBy("apps/v1", "ReplicaSet", "gone-5d9c7b"))}, "shop/ReplicaSet/gone-5d9c7b(owner): PodNotPinned: ", "",
		},
		"a pod of a job": {[]*corev1.Pod{apiPod(taggedApp, job("once"))}, "shop/Job/once(owner): PodNotPinned: ", "; run the job again if that matters"},
		"a digest of a Deployment": {
			[]*corev1.Pod{apiPod(pinnedApp, named("a"), missing), apiPod(pinnedApp, named("b"), missing)},
			"shop/Deployment/api(deploy): PinnedDigestGone: ", gone + "restart the rollout" + anew,
		},
		"of a StatefulSet": {
			[]*corev1.Pod{apiPod(pinnedApp, controlledBy("apps/v1", "StatefulSet", "db"), named("db-0"), missing)},
			"shop/StatefulSet/db(owner): PinnedDigestGone: ", gone + "restart the rollout and delete pod db-0" + anew,
		},
		"of a CronJob": {
			[]*corev1.Pod{apiPod(pinnedApp, job("nightly-1"), missing)},
			"shop/CronJob/nightly(cron): PinnedDigestGone: ", gone + "change the CronJob's pod template, an annotation is enough," + anew,
		},
		"of a job": {[]*corev1.Pod{apiPod(pinnedApp, job("once"), missing)}, "shop/Job/once(owner): ", gone + "create the job again" + anew},
		"of a job that another one took the place of": {
			[]*corev1.Pod{apiPod(pinnedApp, job("new"), missing)}, "shop/Job/new(owner): ", gone + "create the job again" + anew,
		},
		"of a bare pod": {
			[]*corev1.Pod{apiPod(pinnedApp, missing, func(p *corev1.Pod) { p.OwnerReferences = nil })},
			"shop/Pod/api-5d9c7b-x2x4(pod): ", gone + "create the pod again" + anew,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &auditedCluster{namespaces: rewritingNamespaces("shop"), pods: test.pods, workloads: workloads}
			a := auditing(t, c)
			for range 3 {
				if err := a.look(t.Context(), false, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			got := strings.Join(c.told(), "\n")
			if len(c.events) != 1 || !strings.HasPrefix(got, test.start) || !strings.HasSuffix(got, test.end) || c.reads > 1 {
				t.Errorf("%d reads, told:\n%s", c.reads, got)
			}
		})
	}
}

func TestJobsOfACronJobAreOneEvent(t *testing.T) {
	t.Parallel()
	c := &auditedCluster{namespaces: rewritingNamespaces("shop"), workloads: cronJobs("nightly-1", "nightly-2")}
	for name, job := range c.workloads {
		job.UID = types.UID(name)
		c.pods = append(c.pods, apiPod(pinnedApp, named(name), controlledBy("batch/v1", "Job", job.Name), waitsFor(missingApp),
			func(p *corev1.Pod) { p.OwnerReferences[0].UID = job.UID }))
	}
	if err := auditing(t, c).look(t.Context(), false, time.Now()); err != nil || len(c.events) != 1 {
		t.Errorf("%v, told: %v", err, c.told())
	}
}

// A look keeps some of very many findings, and the next ones the others.
func TestManyFindingsAreToldBitByBit(t *testing.T) {
	t.Parallel()
	c := &auditedCluster{namespaces: rewritingNamespaces("shop")}
	for i := range 2*maxFindings + 7 {
		c.pods = append(c.pods, apiPod(taggedApp, named(fmt.Sprint("app-", i)), controlledBy("apps/v1", "ReplicaSet", fmt.Sprint("set-", i)),
			func(p *corev1.Pod) { p.OwnerReferences[0].UID = types.UID(fmt.Sprint("set-", i)) }))
	}
	a := auditing(t, c)
	for look, want := range []int{maxFindings, maxFindings, 7, 0} {
		found, err := a.findings(t.Context(), "shop", unfinishedPods)
		if err != nil || len(found) != want {
			t.Errorf("look %d finds %d, want %d (%v)", look, len(found), want, err)
		}
		for _, f := range found {
			a.recorded[f.key()] = time.Now()
		}
	}
}

func TestOnlyNamespacesWhoseImagesArePinnedAreAudited(t *testing.T) {
	t.Parallel()
	namespaces := rewritingNamespaces("shop", "kube-system", "kube-public", "kube-node-lease", "kube-prepull", "off", "going", "plain")
	namespaces[5].Labels[v1alpha1.LabelRewrite] = "off"
	namespaces[6].DeletionTimestamp = ptr.To(metav1.Now())
	namespaces[7].Labels = nil
	c := &auditedCluster{namespaces: namespaces}
	if err := auditing(t, c).look(t.Context(), true, time.Now()); err != nil {
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
			db := apiPod(taggedApp, named("db-0"), controlledBy("apps/v1", "StatefulSet", "db"), func(p *corev1.Pod) { p.OwnerReferences[0].UID = "db" })
			other := db.DeepCopy()
			other.Namespace, other.OwnerReferences[0].UID = "till", "other"
			c := &auditedCluster{namespaces: rewritingNamespaces("shop", "till"), broken: broken, pods: []*corev1.Pod{apiPod(taggedApp), db, other}}
			a := auditing(t, c)
			if err := a.look(t.Context(), false, time.Now()); err == nil {
				t.Error("no error")
			}
			if !slices.ContainsFunc(c.events, func(e *corev1.Event) bool { return e.Namespace == "till" }) {
				t.Errorf("told: %v", c.told())
			}
			c.broken = ""
			if err := a.look(t.Context(), false, time.Now()); err != nil || len(c.events) != 3 {
				t.Errorf("%v, told: %v", err, c.told())
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
		c := &auditedCluster{namespaces: rewritingNamespaces("shop")}
		a := auditing(t, c)
		a.interval = 75 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Start(ctx) }()
		time.Sleep(80 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{all, pending, pending, all}, c.listed()); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		// One of two pods that slipped through has started: the Event counts it too, and that list is read only once.
		c.mu.Lock()
		c.pods = []*corev1.Pod{
			apiPod(taggedApp, named("a"), inPhase(corev1.PodRunning)), apiPod(taggedApp, named("b"), inPhase(corev1.PodPending)),
		}
		c.mu.Unlock()
		time.Sleep(45 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{pending, all, pending}, c.listed()); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
		if got := c.told(); len(got) != 1 || !strings.Contains(got[0], "of pod a and 1 more: ") {
			t.Errorf("told: %v", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := c.told(); len(got) != 2 {
			t.Errorf("told in an hour: %v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
