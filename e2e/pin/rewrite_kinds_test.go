package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEveryKindIsPinnedInEveryPlace has an init container, a sidecar, an image volume and a container in each kind of
// workload, and looks at its pods as they run.
func TestEveryKindIsPinnedInEveryPlace(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "places", "latest")}
	pins, replaced, marker := map[string]string{}, map[string]string{}, map[string]bool{}
	keys := map[string]string{"app": "pin.kube-prepull.io/app", "init": "pin.kube-prepull.io/init", "sidecar": "pin.kube-prepull.io/sidecar", "volume": "pinvol.kube-prepull.io/data"}
	for _, place := range places(t) {
		key := keys[place]
		digest := n.Versions(t, place, 1)[0]
		n.point(t, place, "latest", "v1")
		pins[key] = n.Image(place+":latest") + "@" + digest
		replaced[n.Image(place+":latest")] = n.digested(place, digest)
		name := strings.TrimPrefix(key, "pin.kube-prepull.io/")
		marker[strings.Replace(name, "pinvol.kube-prepull.io/", "volume/", 1)+"="+n.Image(place+":latest")] = true
	}
	asWritten := slices.Sorted(maps.Keys(replaced))
	for _, kind := range []string{"deployment", "statefulset", "daemonset", "job", "cronjob"} {
		t.Run(kind, func(t *testing.T) {
			template := n.everyPlace(t, kind)
			if kind == "job" || kind == "cronjob" {
				untilStarted(&template)
			}
			n.create(t, kind, kind, template)
			n.wantPins(t, kind, kind, pins)
			_, stored := n.stored(t, kind, kind)
			if diff := cmp.Diff(asWritten, imagesOf(&stored.Spec)); diff != "" {
				t.Errorf("the images of the template (-want +got):\n%s", diff)
			}
			if policy := stored.Spec.Containers[0].ImagePullPolicy; policy != corev1.PullAlways {
				t.Errorf("the template's pull policy is %s, want Always as it was", policy)
			}
			if kind == "cronjob" {
				n.kubectl(t, "create", "job", kind+"-1", "--from=cronjob/cronjob")
				n.wantPins(t, "job", kind+"-1", pins)
			}
			pod := n.waitPods(t, kind, 1, replaced[n.Image("app:latest")])[0]
			if diff := cmp.Diff(slices.Sorted(maps.Values(replaced)), imagesOf(&pod.Spec)); diff != "" {
				t.Errorf("the images of the pod (-want +got):\n%s", diff)
			}
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				if c.ImagePullPolicy != corev1.PullIfNotPresent {
					t.Errorf("container %s has the policy %s", c.Name, c.ImagePullPolicy)
				}
			}
			got := map[string]bool{}
			for _, entry := range strings.Split(pod.Annotations["kube-prepull.io/rewritten"], ",") {
				got[entry] = true
			}
			if diff := cmp.Diff(marker, got); diff != "" {
				t.Errorf("the marker (-want +got):\n%s", diff)
			}
		})
	}
}

// places are where the pods of this cluster name images.
func places(t *testing.T) []string {
	all := []string{"app", "init", "sidecar"}
	if lab.Kubernetes(t) >= lab.ImageVolumes {
		all = append(all, "volume")
	}
	return all
}

// everyPlace is a template with an image in each place of a pod, for pods on one node.
func (n pinning) everyPlace(t *testing.T, name string) corev1.PodTemplateSpec {
	template := on1(podTemplate(name, n.Image("app:latest")))
	always := corev1.ContainerRestartPolicyAlways
	template.Spec.InitContainers = []corev1.Container{
		{Name: "init", Image: n.Image("init:latest"), Args: []string{"get", "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)/healthz"}},
		{Name: "sidecar", Image: n.Image("sidecar:latest"), RestartPolicy: &always},
	}
	if slices.Contains(places(t), "volume") {
		template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: n.Image("volume:latest")}}}}
		template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	}
	return template
}

// imagesOf are all images of a pod, sorted.
func imagesOf(spec *corev1.PodSpec) []string {
	var images []string
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		images = append(images, c.Image)
	}
	for _, v := range spec.Volumes {
		if v.Image != nil {
			images = append(images, v.Image.Reference)
		}
	}
	slices.Sort(images)
	return images
}

// TestAllJobsOfACronJobAreAlike until its template changes, wherever the tag points.
func TestAllJobsOfACronJobAreAlike(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "cron", "latest")}
	digests := n.Versions(t, "app", 2)
	n.point(t, "app", "latest", "v1")
	image := n.Image("app:latest")
	template := podTemplate("cron", image)
	untilStarted(&template)
	n.create(t, "cronjob", "cron", template)
	n.point(t, "app", "latest", "v2")
	n.kubectl(t, "patch", "cronjob", "cron", "--patch", `{"spec":{"schedule":"@every 3s"}}`)
	n.kubectl(t, "create", "job", "early", "--from=cronjob/cron")
	lab.Eventually(t, "two jobs with the pin, one of them by the schedule", func() error {
		list, err := n.Client().BatchV1().Jobs(n.Name).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) < 2 {
			return fmt.Errorf("there are %d jobs (%v)", len(list.Items), err)
		}
		for _, job := range list.Items {
			if diff := cmp.Diff(appPin(image, digests[0]), lab.PinsOf(job.Spec.Template.Annotations)); diff != "" {
				t.Fatalf("the pins of %s (-want +got):\n%s", job.Name, diff)
			}
		}
		return nil
	})
	n.wantPins(t, "cronjob", "cron", appPin(image, digests[0]))
	for _, pod := range n.pods(t, "cron") {
		if got := pod.Spec.Containers[0].Image; got != n.digested("app", digests[0]) {
			t.Errorf("%s has %s", pod.Name, got)
		}
	}
	n.kubectl(t, "patch", "cronjob", "cron", "--patch", `{"spec":{"suspend":true}}`)
	n.wantPins(t, "cronjob", "cron", appPin(image, digests[0]))
	n.kubectl(t, "set", "env", "cronjob/cron", "CHANGED=yes")
	n.wantPins(t, "cronjob", "cron", appPin(image, digests[1]))
	n.point(t, "app", "latest", "v1")
	n.kubectl(t, "create", "job", "later", "--from=cronjob/cron")
	n.wantPins(t, "job", "later", appPin(image, digests[1]))
}

// TestAJobIsPinnedWhenItIsCreated and not when it is resumed later.
func TestAJobIsPinnedWhenItIsCreated(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "job", "latest")}
	digests := n.Versions(t, "app", 2)
	n.point(t, "app", "latest", "v1")
	image, suspended := n.Image("app:latest"), true
	template := podTemplate("job", image)
	untilStarted(&template)
	_, err := n.Client().BatchV1().Jobs(n.Name).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: batchv1.JobSpec{Suspend: &suspended, Template: template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.wantPins(t, "job", "job", appPin(image, digests[0]))
	n.point(t, "app", "latest", "v2")
	// The template of a suspended job may be changed like this, and of any other one not at all.
	n.kubectl(t, "patch", "job", "job", "--patch", `{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/os":"linux"}}}}}`)
	n.kubectl(t, "patch", "job", "job", "--patch", `{"spec":{"suspend":false}}`)
	n.wantPins(t, "job", "job", appPin(image, digests[0]))
	n.waitPods(t, "job", 1, n.digested("app", digests[0]))
}

// TestWhatOthersControlIsLeftAlone: ReplicaSets that somebody made, pods of controllers that may compare them with what
// they asked for, and Deployments that an operator writes again and again.
func TestWhatOthersControlIsLeftAlone(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "others", "latest")}
	digest := n.Versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	image, yes := n.Image("app:latest"), true
	n.create(t, "replicaset", "set", podTemplate("set", image))
	n.wantPins(t, "replicaset", "set", map[string]string{})
	n.waitPods(t, "set", 1, image)

	// An operator's object is there, lest the garbage collector takes what it owns.
	operator, err := n.Client().CoreV1().ConfigMaps(n.Name).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "operator"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: operator.Name, UID: operator.UID, Controller: &yes}
	foreign := metav1.OwnerReference{APIVersion: "postgresql.cnpg.io/v1", Kind: "Cluster", Name: "db", UID: "1", Controller: &yes}
	alike := metav1.OwnerReference{APIVersion: "apps.kruise.io/v1beta1", Kind: "StatefulSet", Name: "db", UID: "1", Controller: &yes}
	for _, ref := range []metav1.OwnerReference{owner, foreign, alike} {
		pod := lab.PodOn("", "pod", image)
		pod.OwnerReferences, pod.Spec.Containers[0].ImagePullPolicy = []metav1.OwnerReference{ref}, ""
		tried := n.tryPod(t, pod)
		if c := tried.Spec.Containers[0]; c.Image != image || c.ImagePullPolicy != corev1.PullAlways || len(tried.Annotations) > 0 {
			t.Errorf("a pod of a %s %s became %s, %s, %v", ref.APIVersion, ref.Kind, c.Image, c.ImagePullPolicy, tried.Annotations)
		}
	}
	for name, want := range map[string]map[string]string{"": {}, "off": {}, "latest": appPin(image, digest)} {
		d := lab.Deployment("owned"+name, image, 1)
		d.OwnerReferences = []metav1.OwnerReference{owner}
		if name != "" {
			d.Spec.Template.Labels["kube-prepull.io/rewrite"] = name
		}
		n.Deploy(t, n.Name, d)
		n.wantPins(t, "deployment", d.Name, want)
		n.kubectl(t, "set", "env", "deployment/"+d.Name, "CHANGED=yes")
		n.wantPins(t, "deployment", d.Name, want)
	}
	n.waitPods(t, "owned", 1, image)
	n.waitPods(t, "ownedlatest", 1, n.digested("app", digest))
}

// TestWhichImagesArePinned tries each way in which a namespace, a template and an image say so, on Deployments and on
// bare pods.
func TestWhichImagesArePinned(t *testing.T) {
	t.Parallel()
	const enabled, rewrite = "kube-prepull.io/enabled", "kube-prepull.io/rewrite"
	modes := map[string]pinning{"latest": pinning{lab.NewPinning(t, "mode-latest", "latest")}, "tags": pinning{lab.NewPinning(t, "mode-tags", "tags")}}
	digests := map[string]string{}
	for mode, n := range modes {
		digests[mode] = n.Versions(t, "app", 1)[0]
		n.point(t, "app", "latest", "v1")
	}
	for what, c := range map[string]struct {
		mode, image string // DIGEST stands for that of the image
		policy      corev1.PullPolicy
		labels      map[string]string
		pinned      bool
	}{
		"latest":                              {mode: "latest", image: "app:latest", pinned: true},
		"no tag":                              {mode: "latest", image: "app", pinned: true},
		"another tag":                         {mode: "latest", image: "app:v1"},
		"a digest":                            {mode: "latest", image: "app@DIGEST"},
		"latest and a digest":                 {mode: "latest", image: "app:latest@DIGEST"},
		"latest that is pulled if not there":  {mode: "latest", image: "app:latest", policy: corev1.PullIfNotPresent, pinned: true},
		"latest that is always pulled":        {mode: "latest", image: "app:latest", policy: corev1.PullAlways, pinned: true},
		"latest that is never pulled":         {mode: "latest", image: "app:latest", policy: corev1.PullNever},
		"latest of a workload that opts out":  {mode: "latest", image: "app:latest", labels: map[string]string{enabled: "false"}},
		"latest of a workload that is off":    {mode: "latest", image: "app:latest", labels: map[string]string{rewrite: "off"}},
		"a tag of a workload that asks":       {mode: "latest", image: "app:v1", labels: map[string]string{rewrite: "tags"}, pinned: true},
		"any tag where all are":               {mode: "tags", image: "app:v1", pinned: true},
		"any tag that is always pulled":       {mode: "tags", image: "app:v1", policy: corev1.PullAlways, pinned: true},
		"latest where all are":                {mode: "tags", image: "app:latest", pinned: true},
		"no tag where all are":                {mode: "tags", image: "app", pinned: true},
		"a digest where all are":              {mode: "tags", image: "app@DIGEST"},
		"a tag and a digest":                  {mode: "tags", image: "app:v1@DIGEST"},
		"a tag of a workload that wants less": {mode: "tags", image: "app:v1", labels: map[string]string{rewrite: "latest"}},
		"a tag of a workload that opts out":   {mode: "tags", image: "app:v1", labels: map[string]string{enabled: "false", rewrite: "tags"}},
	} {
		t.Run(what, func(t *testing.T) {
			n, digest := modes[c.mode], digests[c.mode]
			image := n.Image(strings.ReplaceAll(c.image, "DIGEST", digest))
			d := lab.Deployment("web", image, 1)
			d.Spec.Template.Spec.Containers[0].ImagePullPolicy = c.policy
			maps.Copy(d.Spec.Template.Labels, c.labels)
			pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
			pod.Name = "web"

			shown, err := n.Client().AppsV1().Deployments(n.Name).Create(t.Context(), d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			if c.pinned {
				want = appPin(image, digest)
			}
			if diff := cmp.Diff(want, lab.PinsOf(shown.Spec.Template.Annotations)); diff != "" {
				t.Errorf("the pins of a Deployment (-want +got):\n%s", diff)
			}
			written := shown.Spec.Template.Spec.Containers[0]
			if written.Image != image {
				t.Errorf("the image of the Deployment became %s", written.Image)
			}

			wantImage, wantPolicy := image, written.ImagePullPolicy
			if c.pinned {
				wantImage, wantPolicy = n.digested("app", digest), corev1.PullIfNotPresent
			}
			got := n.tryPod(t, pod).Spec.Containers[0]
			if got.Image != wantImage || got.ImagePullPolicy != wantPolicy {
				t.Errorf("a bare pod has %s, %s; want %s, %s", got.Image, got.ImagePullPolicy, wantImage, wantPolicy)
			}
		})
	}
}

// TestALabelThatChangesRollsNothing takes the label away, brings it back, and changes the mode.
func TestALabelThatChangesRollsNothing(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "relabel", "latest")}
	digest := n.Versions(t, "app", 2)[0]
	n.point(t, "app", "latest", "v1")
	image := n.Image("app:latest")
	pinned, tagged := podTemplate("pinned", image), podTemplate("tagged", n.Image("app:v1"))
	n.create(t, "deployment", "pinned", on1(pinned))
	n.create(t, "deployment", "tagged", on1(tagged))
	n.waitPods(t, "pinned", 1, n.digested("app", digest))
	n.waitPods(t, "tagged", 1, n.Image("app:v1"))
	before := []deploymentState{n.state(t, "pinned"), n.state(t, "tagged")}

	n.relabel(t, "")
	pod := n.replacePod(t, "pinned")
	if got := pod.Spec.Containers[0]; got.Image != image || got.ImagePullPolicy != corev1.PullAlways {
		t.Errorf("without the label a pod has %s, %s", got.Image, got.ImagePullPolicy)
	}
	n.relabel(t, "tags")
	for _, name := range []string{"pinned", "tagged"} {
		want := map[string]string{"pinned": n.digested("app", digest), "tagged": n.Image("app:v1")}[name]
		if got := n.replacePod(t, name).Spec.Containers[0].Image; got != want {
			t.Errorf("with the other label a pod of %s has %s, want %s", name, got, want)
		}
	}
	after := []deploymentState{n.state(t, "pinned"), n.state(t, "tagged")}
	for i := range before {
		before[i].Pods, after[i].Pods = nil, nil
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the label changed Deployments (-before +after):\n%s", diff)
	}
	n.kubectl(t, "rollout", "restart", "deployment/tagged")
	n.wantPins(t, "deployment", "tagged", appPin(n.Image("app:v1"), digest))

	// A workload's own label is in its template, so it does roll: to the tag, whatever pins are left.
	n.kubectl(t, "patch", "deployment", "pinned", "--patch", `{"spec":{"template":{"metadata":{"labels":{"kube-prepull.io/rewrite":"off"}}}}}`)
	n.waitPods(t, "pinned", 1, image)
}

// replacePod deletes the only pod of a Deployment and returns the one that takes its place.
func (n pinning) replacePod(t *testing.T, name string) corev1.Pod {
	t.Helper()
	old := n.pods(t, name)[0].Name
	n.kubectl(t, "delete", "pod", old, "--wait=false")
	var pods []corev1.Pod
	lab.Eventually(t, "another pod than "+old, func() error {
		if pods = n.pods(t, name); len(pods) != 1 || pods[0].Name == old {
			return fmt.Errorf("there are %d", len(pods))
		}
		return nil
	})
	return pods[0]
}

// TestNamespacesPinForThemselves: a tag that moves between two of them stands for two digests.
func TestNamespacesPinForThemselves(t *testing.T) {
	t.Parallel()
	one, two := pinning{lab.NewPinning(t, "one", "latest")}, pinning{lab.NewPinning(t, "two", "tags")}
	digests := one.Versions(t, "app", 2)
	image := one.Image("app:latest")
	one.point(t, "app", "latest", "v1")
	one.create(t, "deployment", "web", podTemplate("web", image))
	one.wantPins(t, "deployment", "web", appPin(image, digests[0]))
	one.point(t, "app", "latest", "v2")
	two.create(t, "deployment", "web", podTemplate("web", image))
	two.kubectl(t, "rollout", "restart", "deployment/web") // whatever was remembered of the tag
	two.wantPins(t, "deployment", "web", appPin(image, digests[1]))
	one.wantPins(t, "deployment", "web", appPin(image, digests[0]))
	one.waitPods(t, "web", 1, one.digested("app", digests[0]))
	two.waitPods(t, "web", 1, one.digested("app", digests[1]))
}
