package workload

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// named gives containers names, as the API server demands.
func named(spec corev1.PodSpec, names ...string) corev1.PodSpec {
	for i := range spec.Containers {
		spec.Containers[i].Name = names[i]
	}
	return spec
}

func TestPodsCorrectTheirTemplate(t *testing.T) {
	t.Parallel()
	template := workloadtest.Job("sum", "auto", "app:v1")
	template.Spec.Template.Spec = named(template.Spec.Template.Spec, "proxy", "app")
	pinned := workloadtest.Job("sum", "app:v1")
	pinned.Spec.Template = workloadtest.PinnedDeployment("sum", "app:v1").Spec.Template
	withVolume := workloadtest.Job("sum", "app:v1")
	withVolume.Spec.Template.Spec = named(withVolume.Spec.Template.Spec, "app")
	volume := func(image string) []corev1.Volume {
		return []corev1.Volume{{Name: "app", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}}}
	}
	withVolume.Spec.Template.Spec.Volumes = volume("model:v1")
	pod := func(proxy, app string) *corev1.Pod {
		p := workloadtest.Pod("sum-x", proxy, app)
		p.Spec = named(p.Spec, "proxy", "app")
		return p
	}
	one := func(app string) *corev1.Pod {
		p := workloadtest.Pod("sum-x", app)
		p.Spec = named(p.Spec, "app")
		return p
	}
	mirrored := one("app:v1")
	mirrored.Spec.Volumes = volume("mirror/model:v1")
	never := one("mirror/app:v1")
	never.Spec.Containers[0].ImagePullPolicy = corev1.PullNever

	rewritten := func(app, model string, originals string) *corev1.Pod {
		p := one(app)
		p.Spec.Volumes = volume(model)
		p.Annotations = map[string]string{v1alpha1.AnnotationRewritten: originals}
		return p
	}

	for name, test := range map[string]struct {
		template metav1.Object
		pods     []*corev1.Pod
		want     map[string]string
	}{
		"no pods":                       {template: template},
		"pods as the template says":     {template, []*corev1.Pod{pod("auto", "app:v1")}, nil},
		"an injector fills in an image": {template, []*corev1.Pod{pod("proxy:v1", "app:v1")}, map[string]string{"auto": "proxy:v1"}},
		"a mirror for all":              {template, []*corev1.Pod{pod("m/auto", "m/app:v1")}, map[string]string{"auto": "m/auto", "app:v1": "m/app:v1"}},
		"one pod of two is injected":    {template, []*corev1.Pod{pod("proxy:v1", "app:v1"), pod("auto", "app:v1")}, nil},
		"two injectors in turn":         {template, []*corev1.Pod{pod("proxy:v2", "app:v1"), pod("proxy:v1", "app:v1")}, map[string]string{"auto": "proxy:v1"}},
		"the images change places":      {template, []*corev1.Pod{pod("app:v1", "auto")}, nil},
		"a container is taken away":     {template, []*corev1.Pod{one("app:v1")}, nil},
		"a pinned pod":                  {pinned, []*corev1.Pod{one("app@" + workloadtest.DigestA)}, nil},
		"a pod that missed its pin":     {pinned, []*corev1.Pod{one("app:v1")}, nil},
		"another image in place of the pinned one": {
			pinned, []*corev1.Pod{one("mirror/app:v1")}, map[string]string{"app@" + workloadtest.DigestA: "mirror/app:v1"},
		},
		"a pod that was pinned before its namespace wanted no more pins": {
			withVolume, []*corev1.Pod{rewritten("app@"+workloadtest.DigestA, "model@"+workloadtest.DigestA, "app=app:v1,volume/app=model:v1")}, nil,
		},
		"one that was pinned when the template named another image": {
			withVolume, []*corev1.Pod{rewritten("app@"+workloadtest.DigestA, "model:v1", "app=mirror/app:v1")}, map[string]string{"app:v1": "app@" + workloadtest.DigestA},
		},
		"a digest that somebody else gave it": {
			withVolume, []*corev1.Pod{rewritten("app@"+workloadtest.DigestA, "model:v1", "")}, map[string]string{"app:v1": "app@" + workloadtest.DigestA},
		},
		"an image volume":         {withVolume, []*corev1.Pod{mirrored}, map[string]string{"model:v1": "mirror/model:v1"}},
		"one that is not pulled":  {withVolume, []*corev1.Pod{never}, nil},
		"a revision is corrected": {&appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Template: template.Spec.Template}}, []*corev1.Pod{pod("proxy:v1", "app:v1")}, map[string]string{"auto": "proxy:v1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := TemplateOf(test.template, workloadtest.Rewritten)
			var c Correction
			for _, p := range test.pods {
				c = c.With(of, PullsOf(p))
			}
			if diff := cmp.Diff(test.want, c.Replaced(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("replaced (-want +got):\n%s", diff)
			}
			for image, by := range test.want {
				if got := c.InPlaceOf(image); got != by || c.Runs(image) {
					t.Errorf("in the place of %s there is %q (it runs: %t)", image, got, c.Runs(image))
				}
			}
		})
	}
}

func TestWhichPodsHaveTheTemplate(t *testing.T) {
	t.Parallel()
	deployment := func(observed int64, updated, all int32) *appsv1.Deployment {
		d := workloadtest.Deployment("api", "app:v1")
		d.Generation = 3
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: observed, UpdatedReplicas: updated, Replicas: all}
		return d
	}
	set := func(observed int64, update, current string) *appsv1.StatefulSet {
		s := &appsv1.StatefulSet{ObjectMeta: workloadtest.InShop("db")}
		s.Generation = 3
		s.Status = appsv1.StatefulSetStatus{ObservedGeneration: observed, UpdateRevision: update, CurrentRevision: current}
		return s
	}
	agent := func(generation string, updated, all int32) *appsv1.DaemonSet {
		d := &appsv1.DaemonSet{ObjectMeta: workloadtest.InShop("agent")}
		d.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: generation}
		d.Status = appsv1.DaemonSetStatus{UpdatedNumberScheduled: updated, CurrentNumberScheduled: all}
		return d
	}
	for name, test := range map[string]struct {
		obj          metav1.Object
		pod          map[string]string
		has, rolling bool
	}{
		"a Deployment that is rolled out":           {deployment(3, 2, 2), nil, true, false},
		"one that rolls out":                        {deployment(3, 1, 2), nil, false, true},
		"one that its controller has not seen":      {deployment(2, 2, 2), nil, false, true},
		"one without pods":                          {deployment(3, 0, 0), nil, false, false},
		"a pod of a StatefulSet's present revision": {set(3, "db-2", "db-2"), map[string]string{"controller-revision-hash": "db-2"}, true, false},
		"one of its former revision":                {set(3, "db-2", "db-1"), map[string]string{"controller-revision-hash": "db-1"}, false, true},
		"a StatefulSet that nobody has seen":        {set(2, "db-1", "db-1"), map[string]string{"controller-revision-hash": "db-1"}, false, true},
		"a StatefulSet without a status":            {set(3, "", ""), nil, false, false},
		"a pod of a DaemonSet's present template":   {agent("2", 3, 3), map[string]string{"pod-template-generation": "2"}, true, false},
		"one of its former template":                {agent("2", 1, 3), map[string]string{"pod-template-generation": "1"}, false, true},
		"a job's":                                   {workloadtest.Job("sum"), nil, true, false},
		"a CronJob, which has no pods of its own":   {&batchv1.CronJob{}, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := revisionOf(test.obj).has(test.pod); got != test.has {
				t.Errorf("the pod has the template: %t", got)
			}
			if got := RollsOut(test.obj); got != test.rolling {
				t.Errorf("it rolls out: %t", got)
			}
		})
	}
}
