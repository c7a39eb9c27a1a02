package webhook

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// written is an event as it came to the recorder.
type written struct {
	workload, pod corev1.ObjectReference
	reason, note  string
}

// notedEvents keeps what would be written.
type notedEvents struct {
	recorder.EventRecorder
	mu   sync.Mutex
	list []written
}

func (e *notedEvents) Eventf(regarding, related runtime.Object, _, reason, _, note string, args ...any) {
	w := written{workload: *regarding.(*corev1.ObjectReference), reason: reason, note: args[0].(string)}
	if related != nil {
		w.pod = *related.(*corev1.ObjectReference)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, w)
}

func (e *notedEvents) all() []written {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

func testEvents(t *testing.T) (*eventWriter, *notedEvents) {
	t.Helper()
	m, err := newPinMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	noted := &notedEvents{}
	return &eventWriter{recorder: noted, metrics: m, told: cache.NewLRUExpireCache(maxTold)}, noted
}

func problemsCounted(t *testing.T, m *pinMetrics, reason string) float64 {
	t.Helper()
	var metric dto.Metric
	if err := m.problems.WithLabelValues(reason).Write(&metric); err != nil {
		t.Fatal(err)
	}
	return metric.GetCounter().GetValue()
}

// labelled holds one namespace that has the label for rewriting.
type labelled struct {
	client.Reader
	value string
}

func (l labelled) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	into.SetLabels(map[string]string{v1alpha1.LabelRewrite: l.value})
	return nil
}

// oneWorkload holds at most one Deployment, and may fail.
type oneWorkload struct {
	client.Reader
	mu         sync.Mutex
	deployment *appsv1.Deployment
	err        error
	reads      int
}

func (o *oneWorkload) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reads++
	if o.err != nil {
		return o.err
	}
	if o.deployment == nil {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	o.deployment.DeepCopyInto(into.(*appsv1.Deployment))
	return nil
}

func (o *oneWorkload) change(deployment *appsv1.Deployment, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deployment, o.err = deployment, err
}

func apiDeployment(image string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api", UID: "uid", ResourceVersion: "7"}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: image}}
	return d
}

func apiReport() unpinned {
	return unpinned{"apps", "Deployment", "shop", "api", "app", taggedApp, "r.test:5000 answers 404 Not Found"}
}

func TestWhatIsReportedHasToBeSo(t *testing.T) {
	t.Parallel()
	deployment := func(change func(*appsv1.Deployment)) *appsv1.Deployment {
		d := apiDeployment(taggedApp)
		change(d)
		return d
	}
	annotate := func(value string) *appsv1.Deployment {
		return deployment(func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationPin + "app": value}
		})
	}
	label := func(key, value string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Spec.Template.Labels = map[string]string{key: value} }
	}
	owned := func(d *appsv1.Deployment) {
		d.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "App", Name: "a", Controller: ptr.To(true)}}
	}
	for name, test := range map[string]struct {
		mode   string
		stored *appsv1.Deployment
		want   bool
	}{
		"a tag that stays one":   {"latest", apiDeployment(taggedApp), true},
		"another image":          {"latest", apiDeployment("r.test:5000/app"), false},
		"a pin":                  {"latest", annotate(v1alpha1.Pin(taggedApp, aDigest)), false},
		"a pin of another image": {"latest", annotate("r.test:5000/app:v1@" + aDigest), true},
		"another container":      {"latest", deployment(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Name = "a" }), false},
		"an init container": {"latest", deployment(func(d *appsv1.Deployment) {
			s := &d.Spec.Template.Spec
			s.InitContainers, s.Containers = s.Containers, nil
		}), true},
		"an image that is never pulled":         {"latest", deployment(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullNever }), false},
		"a namespace that does not ask for it":  {"", apiDeployment(taggedApp), false},
		"a template that opted out":             {"latest", deployment(label(v1alpha1.LabelRewrite, "off")), false},
		"a template that opted out of all":      {"latest", deployment(label(v1alpha1.LabelEnabled, "false")), false},
		"a Deployment of another controller":    {"latest", deployment(owned), false},
		"one whose template asks for it":        {"latest", deployment(func(d *appsv1.Deployment) { owned(d); label(v1alpha1.LabelRewrite, "latest")(d) }), true},
		"a Deployment that is being deleted":    {"latest", deployment(func(d *appsv1.Deployment) { d.DeletionTimestamp = ptr.To(metav1.Now()) }), false},
		"every tag is pinned, latest among all": {"tags", apiDeployment(taggedApp), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := problemOf(apiReport(), test.stored, map[string]string{v1alpha1.LabelRewrite: test.mode})
			if got != test.want {
				t.Errorf("believed: %t", got)
			}
		})
	}
}

func TestTheImagesThatAModePins(t *testing.T) {
	t.Parallel()
	for image, want := range map[string][2]bool{ // with latest, with tags
		"r.test:5000/app":            {true, true},
		taggedApp:                    {true, true},
		"app:v1":                     {false, true},
		pinnedApp:                    {false, false},
		"app:latest@" + aDigest:      {false, false},
		"":                           {false, false},
		"r.test:5000/latest/app:old": {false, true},
	} {
		if got := [2]bool{isTag(image, v1alpha1.RewriteLatest), isTag(image, v1alpha1.RewriteTags)}; got != want {
			t.Errorf("%q: %v", image, got)
		}
	}
}

func TestAProblemNamesTheStoredObject(t *testing.T) {
	t.Parallel()
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "a", UID: "uid", ResourceVersion: "7"}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}, Volumes: []corev1.Volume{{
		Name: "models", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "models"}},
	}}}
	template := corev1.PodTemplateSpec{Spec: spec}
	ofCronJob := meta
	ofCronJob.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Controller: ptr.To(true)}}
	asking := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelRewrite: "latest"}}, Spec: spec}
	for name, test := range map[string]struct {
		u       unpinned
		obj     client.Object
		version string
		field   string
		note    string
	}{
		"a pod": {
			unpinned{kind: "Pod", container: "app", image: "app", why: "no"}, &corev1.Pod{ObjectMeta: meta, Spec: spec},
			"v1", "spec.containers{app}", "container app: app stays a tag: no",
		},
		"an image volume": {
			unpinned{kind: "Pod", container: "volume/models", image: "models", why: "no"}, &corev1.Pod{ObjectMeta: meta, Spec: spec},
			"v1", "spec.volumes{models}", "volume models: models stays a tag: no",
		},
		"a StatefulSet": {
			unpinned{group: "apps", kind: "StatefulSet", container: "app", image: "app", why: "no"},
			&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Template: template}},
			"apps/v1", "spec.template.spec.containers{app}", "container app: app stays a tag: no",
		},
		"a DaemonSet": {
			unpinned{group: "apps", kind: "DaemonSet", container: "app", image: "app", why: "no"},
			&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: template}},
			"apps/v1", "spec.template.spec.containers{app}", "container app: app stays a tag: no",
		},
		"a job": {
			unpinned{group: "batch", kind: "Job", container: "app", image: "app", why: "no"},
			&batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template}},
			"batch/v1", "spec.template.spec.containers{app}", "container app: app stays a tag: no",
		},
		"a job of a CronJob is pinned there": {
			unpinned{group: "batch", kind: "Job", container: "app", image: "app", why: "no"},
			&batchv1.Job{ObjectMeta: ofCronJob, Spec: batchv1.JobSpec{Template: asking}}, "", "", "",
		},
		"a CronJob": {
			unpinned{group: "batch", kind: "CronJob", container: "app", image: "app", why: "no"},
			&batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}}},
			"batch/v1", "spec.jobTemplate.spec.template.spec.containers{app}", "container app: app stays a tag: no",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if made := newWorkload(test.u.group, test.u.kind); made == nil || templateIn(made).spec == nil {
				t.Fatalf("%s cannot be read", test.u.kind)
			}
			p, ok := problemOf(test.u, test.obj, map[string]string{v1alpha1.LabelRewrite: "latest"})
			if !ok && test.version != "" {
				t.Fatal("not believed")
			}
			var want problem
			if test.version != "" {
				want = problem{reason: tagNotPinned, container: test.u.container, image: test.u.image, note: test.note, workload: corev1.ObjectReference{
					APIVersion: test.version, Kind: test.u.kind, Namespace: "shop", Name: "a", UID: "uid", ResourceVersion: "7", FieldPath: test.field,
				}}
			}
			if diff := cmp.Diff(want, p, cmp.AllowUnexported(problem{})); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoTemplateOfAnotherKindIsRead(t *testing.T) {
	t.Parallel()
	for _, kind := range [][2]string{{"", "Deployment"}, {"apps", "Pod"}, {"apps", "ReplicaSet"}, {"example.com", "Job"}, {"", ""}} {
		if newWorkload(kind[0], kind[1]) != nil {
			t.Errorf("%v", kind)
		}
	}
}

// reporting runs a reporter in the bubble of a test.
func reporting(t *testing.T, mode string, live client.Reader) (*reporter, *notedEvents) {
	t.Helper()
	events, noted := testEvents(t)
	r := &reporter{
		namespaces: labelled{value: mode}, live: live, reads: rate.NewLimiter(reportRate, reportBurst), events: events,
		log: logr.Discard(), looks: map[unpinned]int{}, due: make(chan unpinned, maxReports),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ended error
	done := make(chan struct{})
	go func() { defer close(done); ended = r.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if <-done; ended != nil {
			t.Error(ended)
		}
	})
	return r, noted
}

// waiting is how many reports are not settled.
func waiting(r *reporter) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.looks)
}

func TestAnObjectIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, after *appsv1.Deployment
		want          int
	}{
		"a Deployment that is stored late":        {nil, apiDeployment(taggedApp), 1},
		"one whose update is stored late":         {apiDeployment("r.test:5000/app:v1"), apiDeployment(taggedApp), 1},
		"one that was rejected":                   {nil, nil, 0},
		"one whose update was rejected":           {apiDeployment("r.test:5000/app:v1"), apiDeployment("r.test:5000/app:v1"), 0},
		"one that was stored at once and changed": {apiDeployment(taggedApp), apiDeployment("r.test:5000/app:v1"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				live := &oneWorkload{deployment: test.before}
				r, noted := reporting(t, "latest", live)
				r.report(apiReport())
				time.Sleep(time.Second)
				synctest.Wait()
				live.change(test.after, nil)
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(noted.all()) != test.want || waiting(r) != 0 || live.reads > reportLooks {
					t.Errorf("%d events, %d reports wait, %d reads", len(noted.all()), waiting(r), live.reads)
				}
			})
		})
	}
}

func TestOneProblemIsToldOnceAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, noted := reporting(t, "latest", &oneWorkload{deployment: apiDeployment(taggedApp)})
		for range 61 { // a minute apart
			r.report(apiReport())
			again := apiReport()
			again.why = "another answer"
			r.report(again)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if len(noted.all()) != 1 {
			t.Fatalf("%d events in an hour", len(noted.all()))
		}
		r.report(apiReport())
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := problemsCounted(t, r.events.metrics, tagNotPinned); len(noted.all()) != 2 || got != 2 {
			t.Errorf("%d events, counted %v", len(noted.all()), got)
		}
	})
}

func TestForgedReportsCostLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		live := &oneWorkload{deployment: apiDeployment(taggedApp)}
		r, noted := reporting(t, "", live)
		for range 3 {
			r.report(apiReport())
		}
		u := apiReport()
		u.name = ""
		r.report(u) // generateName
		u.name, u.kind = "api", "ReplicaSet"
		r.report(u)
		u = apiReport()
		u.image = strings.Repeat("a", maxReportField+1)
		r.report(u)
		if waiting(r) != 1 {
			t.Errorf("%d reports wait", waiting(r))
		}
		for i := range 2 * maxReports {
			u := apiReport()
			u.name += strings.Repeat("a", i%maxReportField/8) + string(rune('a'+i%26))
			u.why = strings.Repeat("b", i)
			r.report(u)
		}
		if waiting(r) > maxReports {
			t.Errorf("%d reports wait", waiting(r))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if live.reads > 0 || len(noted.all()) > 0 || waiting(r) > 0 {
			t.Errorf("%d reads, %d events, %d reports wait", live.reads, len(noted.all()), waiting(r))
		}
	})
}

func TestAnAPIServerThatIsAwayIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		live := &oneWorkload{deployment: apiDeployment(taggedApp), err: errors.New("away")}
		r, noted := reporting(t, "latest", live)
		r.report(apiReport())
		time.Sleep(time.Second)
		synctest.Wait()
		live.change(apiDeployment(taggedApp), nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(noted.all()) != 1 {
			t.Errorf("%d events", len(noted.all()))
		}
	})
}
