package webhook

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	taggedApp = "r.test:5000/app:latest"
	aDigest   = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	bDigest   = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	pinnedApp = "r.test:5000/app@" + aDigest

	missingApp = `Back-off pulling image "` + pinnedApp + `": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "` +
		pinnedApp + `": failed to resolve reference "` + pinnedApp + `": ` + pinnedApp + `: not found`
)

// replicaPod is a pod of the Deployment api, whose container app has an image and a pin for taggedApp.
func replicaPod(image string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "api-5d9c7b-x2x4", UID: "pod",
			Labels:      map[string]string{"pod-template-hash": "5d9c7b"},
			Annotations: map[string]string{v1alpha1.AnnotationPin + "app": v1alpha1.Pin(taggedApp, aDigest)},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullAlways}}},
	}
	controlledBy("apps/v1", "ReplicaSet", "api-5d9c7b")(pod)
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func controlledBy(version, kind, name string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: name, UID: "owner", Controller: ptr.To(true)}}
	}
}

func bare(pod *corev1.Pod) { pod.OwnerReferences, pod.Annotations = nil, nil }

func marked(marker string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, v1alpha1.AnnotationRewritten, marker)
	}
}

func podLabel(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { metav1.SetMetaDataLabel(&pod.ObjectMeta, key, value) }
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}

func waitsFor(container, reason, message string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodPending
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: container, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		})
	}
}

// mounts adds an image volume models that was replaced by a digest.
func mounts(digest string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Annotations[v1alpha1.AnnotationVolumePin+"models"] = "r.test/models:v1@" + digest
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "models", VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: "r.test/models@" + digest},
		}})
	}
}

func TestAuditPod(t *testing.T) {
	t.Parallel()
	const (
		slip    = "PodNotPinned app"
		missing = "PinnedDigestGone app"
	)
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"a pod with the digest is fine":                           {replicaPod(pinnedApp), ""},
		"a pod with the tag slipped through":                      {replicaPod(taggedApp), slip},
		"a pod that runs is no better":                            {replicaPod(taggedApp, inPhase(corev1.PodRunning)), slip},
		"one of a StatefulSet":                                    {replicaPod(taggedApp, controlledBy("apps/v1", "StatefulSet", "db")), slip},
		"one of a DaemonSet":                                      {replicaPod(taggedApp, controlledBy("apps/v1", "DaemonSet", "agent")), slip},
		"one of a job":                                            {replicaPod(taggedApp, controlledBy("batch/v1", "Job", "report")), slip},
		"a controller that is not built in":                       {replicaPod(taggedApp, controlledBy("apps.kruise.io/v1", "StatefulSet", "db")), ""},
		"a job of another group":                                  {replicaPod(taggedApp, controlledBy("batch.volcano.sh/v1", "Job", "report")), ""},
		"a ReplicationController's template has no pins":          {replicaPod(taggedApp, controlledBy("v1", "ReplicationController", "old")), ""},
		"a static pod":                                            {replicaPod(taggedApp, controlledBy("v1", "Node", "n1")), ""},
		"a bare pod inherits nothing":                             {replicaPod(taggedApp, func(p *corev1.Pod) { p.OwnerReferences = nil }), ""},
		"a pod without pins was never to be pinned":               {replicaPod(taggedApp, func(p *corev1.Pod) { p.Annotations = nil }), ""},
		"a pin of another image means nothing":                    {replicaPod("r.test:5000/app:v2"), ""},
		"a pin that is malformed means nothing":                   {replicaPod(taggedApp, func(p *corev1.Pod) { p.Annotations[v1alpha1.AnnotationPin+"app"] += "0" }), ""},
		"a pod that opted out of everything":                      {replicaPod(taggedApp, podLabel(v1alpha1.LabelEnabled, "false")), ""},
		"a pod that opted out of pinning":                         {replicaPod(taggedApp, podLabel(v1alpha1.LabelRewrite, "off")), ""},
		"a pod that asks for it":                                  {replicaPod(taggedApp, podLabel(v1alpha1.LabelRewrite, "latest")), slip},
		"an image that is never pulled":                           {replicaPod(taggedApp, func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever }), ""},
		"a pod that ended well":                                   {replicaPod(taggedApp, inPhase(corev1.PodSucceeded)), ""},
		"a pod that failed":                                       {replicaPod(taggedApp, inPhase(corev1.PodFailed)), ""},
		"a pod that is being deleted":                             {replicaPod(taggedApp, func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }), ""},
		"a tag that somebody put back did not slip through":       {replicaPod(taggedApp, marked("app="+taggedApp)), ""},
		"the marker of another container":                         {replicaPod(taggedApp, marked("application="+taggedApp)), slip},
		"a digest that is gone":                                   {replicaPod(pinnedApp, waitsFor("app", "ImagePullBackOff", missingApp)), missing},
		"it is seen at the first failure":                         {replicaPod(pinnedApp, waitsFor("app", "ErrImagePull", "reading manifest "+aDigest+" in r.test:5000/app: manifest unknown")), missing},
		"words that do not name it":                               {replicaPod(pinnedApp, waitsFor("app", "ErrImagePull", "manifest unknown: manifest unknown")), missing},
		"a back-off without words may be anything":                {replicaPod(pinnedApp, waitsFor("app", "ImagePullBackOff", `Back-off pulling image "`+pinnedApp+`"`)), ""},
		"a registry that is not there":                            {replicaPod(pinnedApp, waitsFor("app", "ErrImagePull", "dial tcp 10.0.0.1:443: connection refused")), ""},
		"a container that waits for something else":               {replicaPod(pinnedApp, waitsFor("app", "CreateContainerConfigError", `secret "a" not found`)), ""},
		"a tag that is gone is not ours":                          {replicaPod("r.test:5000/app:v2", waitsFor("app", "ErrImagePull", "not found")), ""},
		"a digest that somebody wrote is not ours":                {replicaPod("r.test/other@"+aDigest, waitsFor("app", "ErrImagePull", "not found")), ""},
		"another digest than that of the pin is not ours":         {replicaPod("r.test:5000/app@"+bDigest, waitsFor("app", "ErrImagePull", "not found")), ""},
		"a bare pod that was rewritten":                           {replicaPod(pinnedApp, bare, marked("app="+taggedApp), waitsFor("app", "ErrImagePull", missingApp)), missing},
		"a bare pod that was not":                                 {replicaPod(pinnedApp, bare, waitsFor("app", "ErrImagePull", missingApp)), ""},
		"a marker of another repository":                          {replicaPod(pinnedApp, bare, marked("app=r.test/other:latest"), waitsFor("app", "ErrImagePull", missingApp)), ""},
		"a pod that is being deleted waits for nothing":           {replicaPod(pinnedApp, waitsFor("app", "ErrImagePull", missingApp), func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }), ""},
		"opting out does not bring a digest back":                 {replicaPod(pinnedApp, podLabel(v1alpha1.LabelEnabled, "false"), waitsFor("app", "ErrImagePull", missingApp)), missing},
		"an image volume that is gone is not the container's":     {replicaPod(pinnedApp, mounts(bDigest), waitsFor("app", "ErrImagePull", "r.test/models@"+bDigest+": not found")), "PinnedDigestGone volume/models"},
		"an image that is gone is not the volume's":               {replicaPod(pinnedApp, mounts(bDigest), waitsFor("app", "ErrImagePull", missingApp)), missing},
		"one digest for both is the container's":                  {replicaPod(pinnedApp, mounts(aDigest), waitsFor("app", "ErrImagePull", missingApp)), missing},
		"with an image volume words have to name what is missing": {replicaPod(pinnedApp, mounts(bDigest), waitsFor("app", "ErrImagePull", "manifest unknown")), ""},
		"an image volume that slipped through": {replicaPod(pinnedApp, mounts(aDigest), func(p *corev1.Pod) {
			p.Spec.Volumes[0].Image.Reference = "r.test/models:v1"
		}), "PodNotPinned volume/models"},
		"an init container that slipped through, and a container that waits": {replicaPod(pinnedApp, func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: taggedApp}}
			p.Annotations[v1alpha1.AnnotationPin+"migrate"] = v1alpha1.Pin(taggedApp, bDigest)
		}, waitsFor("app", "ErrImagePull", missingApp)), "PodNotPinned migrate, " + missing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range auditPod(test.pod) {
				got = append(got, f.reason+" "+f.container)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFindingNamesWhatItIsAbout(t *testing.T) {
	t.Parallel()
	pod := corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "api-5d9c7b-x2x4", UID: "pod", FieldPath: "spec.containers{app}",
	}
	of := corev1.ObjectReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Namespace: "shop", Name: "api-5d9c7b", UID: "owner"}
	itself := pod
	itself.FieldPath = ""
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want finding
	}{
		"a pod of a Deployment": {
			replicaPod(taggedApp),
			finding{podNotPinned, pod, of, "api", "app", taggedApp, pinnedApp},
		},
		"a pod of a ReplicaSet without a Deployment": {
			replicaPod(taggedApp, func(p *corev1.Pod) { p.Labels = nil }),
			finding{podNotPinned, pod, of, "", "app", taggedApp, pinnedApp},
		},
		"a digest that is gone, by its pin": {
			replicaPod(pinnedApp, waitsFor("app", "ErrImagePull", missingApp)),
			finding{pinnedDigestGone, pod, of, "api", "app", taggedApp, pinnedApp},
		},
		"a digest that is gone, by the marker": {
			replicaPod(pinnedApp, bare, marked("other=x,app=r.test:5000/app"), waitsFor("app", "ErrImagePull", missingApp)),
			finding{pinnedDigestGone, pod, itself, "", "app", "r.test:5000/app", pinnedApp},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]finding{test.want}, auditPod(test.pod), cmp.AllowUnexported(finding{})); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWordsAboutAManifestThatIsGone(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]bool{
		missingApp: true,
		"reading manifest sha256:aa in r.test/app: manifest unknown":                                                      true,
		"Error response from daemon: manifest for r.test/app@sha256:aa not found: manifest unknown":                       true,
		`unexpected status from HEAD request to https://r.test/v2/app/manifests/sha256:aa: 404 Not Found`:                 true,
		`failed to resolve reference "r.test/timeout/denied@sha256:aa": r.test/timeout/denied@sha256:aa: not found`:       true,
		"no match for platform in manifest: not found":                                                                    false,
		"pull access denied, repository does not exist or may require authorization: server message: insufficient_scope":  false,
		"429 Too Many Requests - Server message: toomanyrequests":                                                         false,
		"dial tcp: lookup r.test: no such host":                                                                           false,
		"failed to do request: Head: net/http: TLS handshake timeout":                                                     false,
		`failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized: repository not found`: false,
		"": false,
	} {
		if got := saysGone(message); got != want {
			t.Errorf("%q: %t", message, got)
		}
	}
}
