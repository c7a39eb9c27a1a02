package audit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	taggedApp  = "r.test:5000/app:latest"
	pinnedApp  = "r.test:5000/app@" + one
	another    = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	missingApp = `Back-off pulling image "` + pinnedApp + `": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "` +
		pinnedApp + `": failed to resolve reference "` + pinnedApp + `": ` + pinnedApp + `: not found`
)

// apiPod is a pod of the Deployment api, with a pin for taggedApp.
func apiPod(image string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "api-5d9c7b-x2x4", UID: "pod",
			Labels:      map[string]string{"pod-template-hash": "5d9c7b"},
			Annotations: map[string]string{v1alpha1.AnnotationPin + "app": v1alpha1.Pin(taggedApp, one)},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
	}
	if image == pinnedApp {
		pod.Annotations[v1alpha1.AnnotationRewritten] = "app=" + taggedApp
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

func waitsFor(message string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.Phase = corev1.PodPending
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: message}},
		}}
	}
}

// mounts adds an image volume that was replaced by a digest.
func mounts(digest string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Annotations[v1alpha1.AnnotationRewritten] += ",volume/models=r.test/models:v1"
		pod.Spec.Volumes = []corev1.Volume{{Name: "models", VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: "r.test/models@" + digest},
		}}}
	}
}

// Pods have up to a megabyte wherever the API server does not bound it, and many may have something wrong.
func TestAFindingIsSmall(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		found  int
	}{
		"as usual":    {func(*corev1.Pod) {}, 1},
		"labels":      {func(p *corev1.Pod) { p.Labels[huge] = "" }, 1},
		"finalizers":  {func(p *corev1.Pod) { p.Finalizers = []string{huge} }, 1},
		"annotations": {func(p *corev1.Pod) { p.Annotations[huge] = "" }, 1},
		"other owners": {func(p *corev1.Pod) {
			p.OwnerReferences = append(p.OwnerReferences, metav1.OwnerReference{Kind: "ConfigMap", Name: huge})
		}, 1},
		"the name of the controller": {controlledBy("apps/v1", "ReplicaSet", huge), 0},
		"its UID":                    {func(p *corev1.Pod) { p.OwnerReferences[0].UID = types.UID(huge) }, 0},
		"the image": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Image = huge
			p.Annotations[v1alpha1.AnnotationPin+"app"] = v1alpha1.Pin(huge, one)
		}, 0},
	} {
		found := auditPod(apiPod(taggedApp, test.change))
		if len(found) != test.found {
			t.Errorf("%s: %d findings, want %d", name, len(found), test.found)
		}
		for _, f := range found {
			if size := f.pod.Size() + len(f.image) + len(f.pinned); size > 4<<10 {
				t.Errorf("%s: a finding of %d bytes", name, size)
			}
		}
	}
}

func TestWhichDigestIsGone(t *testing.T) {
	t.Parallel()
	const app, models = "PinnedDigestGone app", "PinnedDigestGone volume/models"
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"the container's":                                         {apiPod(pinnedApp, waitsFor(missingApp)), app},
		"words that do not name it":                               {apiPod(pinnedApp, waitsFor("manifest unknown: manifest unknown")), app},
		"a bare pod's":                                            {apiPod(pinnedApp, waitsFor(missingApp), func(p *corev1.Pod) { p.OwnerReferences = nil }), app},
		"opting out does not bring it back":                       {apiPod(pinnedApp, waitsFor(missingApp), func(p *corev1.Pod) { p.Labels[v1alpha1.LabelEnabled] = "false" }), app},
		"the image volume's, not the container's":                 {apiPod(pinnedApp, mounts(another), waitsFor("r.test/models@"+another+": not found")), models},
		"the container's, not the image volume's":                 {apiPod(pinnedApp, mounts(another), waitsFor(missingApp)), app},
		"one digest for both is the container's":                  {apiPod(pinnedApp, mounts(one), waitsFor(missingApp)), app},
		"with an image volume words have to name what is missing": {apiPod(pinnedApp, mounts(another), waitsFor("manifest unknown")), ""},
		"a platform is missing":                                   {apiPod(pinnedApp, waitsFor("no match for platform in manifest: not found")), ""},
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
