package workload

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// everyPlace is a template with an image in each place of a pod, of which each has a pin that fits.
func everyPlace() corev1.PodTemplateSpec {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			"pin.kube-prepull.io/init":     "init@" + workloadtest.DigestA,
			"pin.kube-prepull.io/sidecar":  "reg:5000/sidecar@" + workloadtest.DigestA,
			"pin.kube-prepull.io/app":      "reg:5000/app:v1@" + workloadtest.DigestA,
			"pinvol.kube-prepull.io/model": "model:latest@" + workloadtest.DigestB,
			"pinvol.kube-prepull.io/app":   "reg:5000/app:v1@" + workloadtest.DigestB,
			"pin.kube-prepull.io/gone":     "gone@" + workloadtest.DigestB,
		}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{
				{Name: "init", Image: "init", ImagePullPolicy: corev1.PullAlways},
				{Name: "sidecar", Image: "reg:5000/sidecar", RestartPolicy: &always, ImagePullPolicy: corev1.PullAlways},
			},
			Containers: []corev1.Container{{Name: "app", Image: "reg:5000/app:v1", ImagePullPolicy: corev1.PullIfNotPresent}},
			Volumes: []corev1.Volume{
				{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "model:latest", PullPolicy: corev1.PullAlways}}},
				{Name: "scratch"},
			},
		},
	}
}

func TestAPinnedTemplateTeachesWhatItsPodsPull(t *testing.T) {
	t.Parallel()
	template := everyPlace()
	tags := []string{"init", "model:latest", "reg:5000/app:v1", "reg:5000/sidecar"}
	digests := []string{"init@" + workloadtest.DigestA, "model@" + workloadtest.DigestB, "reg:5000/app@" + workloadtest.DigestA, "reg:5000/sidecar@" + workloadtest.DigestA}
	none := map[string]bool{}
	always := map[string]bool{"init": true, "reg:5000/sidecar": true, "model:latest": true}
	deployment := func(label string) *appsv1.Deployment {
		d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: everyPlace()}}
		d.Spec.Template.Labels = map[string]string{v1alpha1.LabelRewrite: label}
		return d
	}
	plain := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template}}
	mode := func(value string) map[string]string { return map[string]string{v1alpha1.LabelRewrite: value} }

	for name, test := range map[string]struct {
		obj       metav1.Object
		namespace map[string]string
		want      []string
		always    map[string]bool
	}{
		"a Deployment":  {plain, workloadtest.Rewritten, digests, none},
		"a StatefulSet": {&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: template}}, workloadtest.Rewritten, digests, none},
		"a DaemonSet":   {&appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: template}}, workloadtest.Rewritten, digests, none},
		"a Job":         {&batchv1.Job{Spec: batchv1.JobSpec{Template: template}}, workloadtest.Rewritten, digests, none},
		"a CronJob": {
			&batchv1.CronJob{Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}}},
			workloadtest.Rewritten, digests, none,
		},
		"an operator's Deployment, whose pods find the pins all the same": {workloadtest.Controlled(plain.DeepCopy(), "Shop", "s"), workloadtest.Rewritten, digests, none},
		"a pod that was not rewritten has its tags":                       {&corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}, workloadtest.Rewritten, tags, always},
		"another mode than that of the pins":                              {plain, mode(v1alpha1.RewriteTags), digests, none},
		"a namespace without labels":                                      {plain, nil, tags, always},
		"a namespace with another value":                                  {plain, mode("true"), tags, always},
		"a template that is exempt":                                       {deployment("off"), workloadtest.Rewritten, tags, always},
		"a template that asks for it":                                     {deployment(v1alpha1.RewriteTags), workloadtest.Rewritten, digests, none},
		"it cannot in a namespace that does not":                          {deployment(v1alpha1.RewriteTags), nil, tags, always},
		"the label on the Deployment alone is not the template's": {
			workloadtest.Labelled(plain.DeepCopy(), v1alpha1.LabelRewrite, "off"), workloadtest.Rewritten, digests, none,
		},
		"a template that opts out of everything": {
			&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelEnabled: "false"}, Annotations: template.Annotations},
				Spec:       template.Spec,
			}}}, workloadtest.Rewritten, nil, always,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, ImagesOf(test.obj, test.namespace)); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
			f := RequirementsOf(test.obj, test.namespace)
			for _, image := range slices.Concat(tags, digests) {
				if got := f.DemandFor(image).AlwaysPull; got != test.always[image] {
					t.Errorf("%s is always pulled: %t", image, got)
				}
			}
		})
	}
}

func TestAPinCountsForItsImageAlone(t *testing.T) {
	t.Parallel()
	const pin = v1alpha1.AnnotationPin + "app"
	for name, test := range map[string]struct {
		image  string
		policy corev1.PullPolicy
		key    string
		value  string
		want   pull
	}{
		"a tag":                              {"app:v1", corev1.PullIfNotPresent, pin, "app:v1@" + workloadtest.DigestA, pull{"app", "app@" + workloadtest.DigestA, "app:v1", corev1.PullIfNotPresent}},
		"no tag, always pulled":              {"app", corev1.PullAlways, pin, "app@" + workloadtest.DigestA, pull{"app", "app@" + workloadtest.DigestA, "app", corev1.PullIfNotPresent}},
		"never pulled":                       {"app", corev1.PullNever, pin, "app@" + workloadtest.DigestA, pull{}},
		"a pin of the tag before":            {"app:v2", corev1.PullAlways, pin, "app:v1@" + workloadtest.DigestA, pull{"app", "app:v2", "app:v2", corev1.PullAlways}},
		"another spelling":                   {"app", corev1.PullAlways, pin, "app:latest@" + workloadtest.DigestA, pull{"app", "app", "app", corev1.PullAlways}},
		"a digest that is cut off":           {"app", corev1.PullAlways, pin, "app@" + workloadtest.DigestA[:70], pull{"app", "app", "app", corev1.PullAlways}},
		"a digest in capitals":               {"app", corev1.PullAlways, pin, "app@sha256:" + strings.Repeat("A", 64), pull{"app", "app", "app", corev1.PullAlways}},
		"words":                              {"app", corev1.PullAlways, pin, "none", pull{"app", "app", "app", corev1.PullAlways}},
		"nothing":                            {"app", corev1.PullAlways, pin, "", pull{"app", "app", "app", corev1.PullAlways}},
		"an image with a digest of its own":  {"app@" + workloadtest.DigestA, corev1.PullAlways, pin, "app@" + workloadtest.DigestA + "@" + workloadtest.DigestB, pull{"app", "app@" + workloadtest.DigestA, "app@" + workloadtest.DigestA, corev1.PullAlways}},
		"no image yet":                       {"", corev1.PullAlways, pin, "@" + workloadtest.DigestA, pull{"app", "", "", corev1.PullAlways}},
		"a pin of another container":         {"app", corev1.PullAlways, v1alpha1.AnnotationPin + "web", "app@" + workloadtest.DigestA, pull{"app", "app", "app", corev1.PullAlways}},
		"a pin of a volume of the same name": {"app", corev1.PullAlways, v1alpha1.AnnotationVolumePin + "app", "app@" + workloadtest.DigestA, pull{"app", "app", "app", corev1.PullAlways}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workloadtest.Deployment("api", test.image)
			d.Spec.Template.Annotations = map[string]string{test.key: test.value}
			d.Spec.Template.Spec.Containers[0].Name = "app"
			d.Spec.Template.Spec.Containers[0].ImagePullPolicy = test.policy
			want := slices.DeleteFunc([]pull{test.want}, func(p pull) bool { return p == pull{} })
			if diff := cmp.Diff(want, pullsOf(d, workloadtest.Rewritten), cmp.AllowUnexported(pull{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("pulls (-want +got):\n%s", diff)
			}
		})
	}
}

// Two containers may have one image, of which only one is pinned: both strings are on the nodes, and the tag alone is
// asked about at the registry.
func TestAnImageThatIsPinnedInOneContainerOnly(t *testing.T) {
	t.Parallel()
	d := workloadtest.PinnedDeployment("api", "app")
	d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "web", Image: "app"})
	for i := range d.Spec.Template.Spec.Containers {
		d.Spec.Template.Spec.Containers[i].ImagePullPolicy = corev1.PullAlways
	}
	if diff := cmp.Diff([]string{"app", "app@" + workloadtest.DigestA}, ImagesOf(d, workloadtest.Rewritten)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"app": true}, RequirementsOf(d, workloadtest.Rewritten).Always); diff != "" {
		t.Errorf("always pulled (-want +got):\n%s", diff)
	}
}

// FuzzImagesOf reads any JSON as an object of some kinds: whatever the API server may store, the images are sorted,
// distinct and not empty. In a namespace that is rewritten each is as it is written, or that of a pin of the template.
func FuzzImagesOf(f *testing.F) {
	f.Add([]byte(`{"spec":{"containers":[{"image":"a"},{"image":""}],"volumes":[{"image":{}},{"image":null}]}}`))
	f.Add([]byte(`{"metadata":{"labels":null,"ownerReferences":[{"kind":"ReplicaSet","controller":true}]},"spec":{"template":{"spec":{"initContainers":[{"image":"b"}]}}}}`))
	for _, pin := range []string{"app:v1@" + workloadtest.DigestA, "app@" + workloadtest.DigestA, "@", ""} {
		template := `{"metadata":{"annotations":{"pin.kube-prepull.io/c":"` + pin + `","pinvol.kube-prepull.io/v":"` + pin + `"}},` +
			`"spec":{"containers":[{"name":"c","image":"app:v1","imagePullPolicy":"Always"}],"volumes":[{"name":"v","image":{"reference":"app"}}]}}`
		f.Add([]byte(template))
		f.Add([]byte(`{"spec":{"template":` + template + `}}`))
		f.Add([]byte(`{"spec":{"jobTemplate":{"spec":{"template":` + template + `}}}}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, obj := range []client.Object{&corev1.Pod{}, &appsv1.Deployment{}, &batchv1.CronJob{}} {
			_ = json.Unmarshal(raw, obj)
			for _, namespace := range []map[string]string{nil, workloadtest.Rewritten} {
				images := ImagesOf(obj, namespace)
				distinct := slices.Compact(slices.Sorted(slices.Values(images)))
				if !slices.Equal(images, distinct) || slices.Contains(images, "") {
					t.Errorf("imagesOf(%s) = %q", raw, images)
				}
			}
			checkPulls(t, obj)
		}
	})
}

// checkPulls compares what the pods of an object pull in a namespace that is rewritten with what is written.
func checkPulls(t *testing.T, obj client.Object) {
	t.Helper()
	written, pulls := pullsOf(obj, nil), pullsOf(obj, workloadtest.Rewritten)
	if len(written) != len(pulls) {
		t.Fatalf("%d of %d images are pulled", len(pulls), len(written))
	}
	var pins []string
	for _, value := range templateOf(obj).annotations {
		pins = append(pins, value)
	}
	for i, p := range pulls {
		if p == written[i] {
			continue
		}
		of := func(pin string) bool {
			image, ok := v1alpha1.Pinned(written[i].image, pin)
			return ok && image == p.image
		}
		if !slices.ContainsFunc(pins, of) || written[i].policy == corev1.PullNever || KindOf(obj) == "Pod" {
			t.Errorf("%+v is pulled as %+v with the pins %q", written[i], p, pins)
		}
	}
}
