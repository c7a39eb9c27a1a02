package prepull

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/credentials"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestDueQuestions(t *testing.T) {
	t.Parallel()
	const interval = time.Hour
	always := func(o v1alpha1.PrepullImage) v1alpha1.PrepullImage {
		o.Status.AlwaysPull = true
		return o
	}
	sized := func(o v1alpha1.PrepullImage) v1alpha1.PrepullImage {
		o.Status.DownloadBytes = 5
		return o
	}
	used := func(o v1alpha1.PrepullImage, namespaces ...string) v1alpha1.PrepullImage {
		for _, ns := range namespaces {
			o.Status.Users = append(o.Status.Users, v1alpha1.User{Kind: "Deployment", Namespace: ns, Name: "web"})
		}
		return o
	}
	excluded := prepulltest.Learned("a:debug", 1)
	excluded.Status.State = "Skipped: Excluded"
	ago := func(d time.Duration) map[string]time.Time {
		return map[string]time.Time{workload.ObjectName("a:1"): prepulltest.Noon.Add(-d)}
	}
	for name, tc := range map[string]struct {
		images []v1alpha1.PrepullImage
		asked  map[string]time.Time
		want   []string
	}{
		"the size of an image that nobody told": {images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}, want: []string{"a:1 size"}},
		"not again at once":                     {images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}, asked: ago(9 * time.Minute)},
		"again later":                           {images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}, asked: ago(10 * time.Minute), want: []string{"a:1 size"}},
		"a known size is not asked for":         {images: []v1alpha1.PrepullImage{sized(prepulltest.Learned("a:1", 1))}},
		"where a tag points that is always pulled": {
			images: []v1alpha1.PrepullImage{sized(always(prepulltest.Learned("a:1", 1)))}, want: []string{"a:1 digest"},
		},
		"both in one":                    {images: []v1alpha1.PrepullImage{always(prepulltest.Learned("a:1", 1))}, want: []string{"a:1 size digest"}},
		"a digest is asked at intervals": {images: []v1alpha1.PrepullImage{sized(always(prepulltest.Learned("a:1", 1)))}, asked: ago(interval - 1)},
		"a digest is asked again":        {images: []v1alpha1.PrepullImage{sized(always(prepulltest.Learned("a:1", 1)))}, asked: ago(interval), want: []string{"a:1 digest"}},
		"a digest does not move":         {images: []v1alpha1.PrepullImage{sized(always(prepulltest.Learned("a@sha256:"+strings.Repeat("a", 64), 1)))}},
		"what is excluded is not asked":  {images: []v1alpha1.PrepullImage{excluded}},
		"what cannot be parsed is not":   {images: []v1alpha1.PrepullImage{prepulltest.Learned("Not An Image", 1)}},
		"namespaces take turns": {images: []v1alpha1.PrepullImage{
			used(prepulltest.Learned("a:1", 1), "alpha"), used(prepulltest.Learned("b:1", 1), "alpha"), used(prepulltest.Learned("c:1", 1), "alpha", "shop"), prepulltest.Learned("d:1", 1),
		}, want: []string{"a:1 size", "c:1 size", "d:1 size", "b:1 size"}},
		"the longest unasked comes first": {images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("z:1", 1)}, asked: ago(time.Hour), want: []string{"z:1 size", "a:1 size"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, q := range dueQuestions(tc.images, tc.asked, interval, prepulltest.Noon) {
				words := q.object.Spec.Image
				if q.size {
					words += " size"
				}
				if q.digest {
					words += " digest"
				}
				got = append(got, words)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("questions (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSlowRegistriesOfANamespaceDelayNoOther has rounds that take as long as a registry may, and a namespace that names its images as
// another one too.
func TestSlowRegistriesOfANamespaceDelayNoOther(t *testing.T) {
	t.Parallel()
	const interval, round, modest = 10 * time.Minute, 10 * time.Second, 100
	user := func(namespace string) v1alpha1.User {
		return v1alpha1.User{Kind: "Deployment", Namespace: namespace, Name: "web"}
	}
	var images []v1alpha1.PrepullImage
	for i := range 2000 {
		o := prepulltest.Learned(fmt.Sprintf("%d.slow.test/a:1", i), 1)
		o.Status.Users = []v1alpha1.User{user("alpha")}
		images = append(images, o)
	}
	for i := range modest {
		o := prepulltest.Learned(fmt.Sprintf("z:%d", i), 1)
		o.Status.DownloadBytes, o.Status.AlwaysPull = 5, true
		o.Status.Users = []v1alpha1.User{user("alpha"), user("shop")}
		images = append(images, o)
	}
	asked := map[string]time.Time{}
	for now := prepulltest.Noon; now.Before(prepulltest.Noon.Add(interval)); now = now.Add(round) {
		for _, q := range dueQuestions(images, asked, interval, now)[:refreshBatch] {
			asked[q.object.Name] = now
		}
	}
	for i := range modest {
		if name := workload.ObjectName(fmt.Sprintf("z:%d", i)); asked[name].IsZero() {
			t.Errorf("nobody asked about z:%d for %v", i, interval)
		}
	}
}

func TestCommonArchitecture(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		architectures []string
		want          string
	}{
		"no nodes":                          {nil, "amd64"},
		"the most":                          {[]string{"arm64", "amd64", "arm64"}, "arm64"},
		"as many of amd64":                  {[]string{"386", "arm64", "amd64"}, "amd64"},
		"as many of others":                 {[]string{"s390x", "arm64"}, "arm64"},
		"nodes that have not got the label": {[]string{"", "", "arm64"}, "arm64"},
	} {
		var nodes []corev1.Node
		for _, arch := range tc.architectures {
			nodes = append(nodes, prepulltest.Node("a", arch))
		}
		windows := prepulltest.Node("a", "windows-arch")
		windows.Labels[corev1.LabelOSStable] = "windows"
		if got := commonArchitecture(append(nodes, windows, windows, windows)); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// The credentials of all namespaces are read only where a question needs them, page by page, and none but those are kept.
func TestPullSecretsAreReadForQuestionsThatNeedThem(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	source := v1alpha1.SecretReference{Namespace: "shop", Name: "registry"}
	stored := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "kube-prepull", Name: v1alpha1.CopyPrefix + "a", Labels: v1alpha1.PrepullLabels(), Annotations: map[string]string{credentials.AnnotationSource: "shop/registry"},
		},
		Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("{}")},
	}
	unneeded := stored.DeepCopy()
	unneeded.Name, unneeded.Annotations[credentials.AnnotationSource] = v1alpha1.CopyPrefix+"b", "other/registry"
	open, private := prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 1)
	private.Status.PullSecrets = []v1alpha1.SecretReference{source}
	for name, tc := range map[string]struct {
		pullSecrets bool
		questions   []question
		lists       int
		want        map[v1alpha1.SecretReference][]byte
	}{
		"one of two images has a pull secret": {true, []question{{object: &open}, {object: &private}}, 1, map[v1alpha1.SecretReference][]byte{source: []byte("{}")}},
		"none has":                            {true, []question{{object: &open}}, 0, nil},
		"they are not copied":                 {false, []question{{object: &private}}, 0, nil},
	} {
		lists := 0
		live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(stored, unneeded).WithInterceptorFuncs(interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if lists++; (&client.ListOptions{}).ApplyOptions(opts).Limit == 0 {
					t.Error("all copies are read at once")
				}
				return c.List(ctx, list, opts...)
			},
		}).Build()
		r := &refresher{live: live, namespace: "kube-prepull", pullSecrets: tc.pullSecrets}
		got, err := r.keys(t.Context(), tc.questions)
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil || lists != tc.lists {
			t.Errorf("%s: error %v, %d lists (-want +got):\n%s", name, err, lists, diff)
		}
	}
}

func TestALookThatPanicsEndsNoLeader(t *testing.T) {
	t.Parallel()
	o := prepulltest.Learned("a:1", 1)
	r := &refresher{registries: Registries{
		Look: func(context.Context, string, string, [][]byte) (string, int64, error) {
			panic("an answer that nobody thought of")
		},
	}}
	if err := r.ask(t.Context(), question{object: &o, size: true}, "amd64", nil); err == nil {
		t.Error("it has no error")
	}
}

// TestARegistryThatGivesNoAnswerChangesNothing has a client that cannot write.
func TestARegistryThatGivesNoAnswerChangesNothing(t *testing.T) {
	t.Parallel()
	o := prepulltest.Learned("a:1", 1)
	o.Status.AlwaysPull, o.Status.Digest = true, "sha256:one"
	r := &refresher{registries: Registries{
		Look: func(context.Context, string, string, [][]byte) (string, int64, error) {
			return "", 0, errors.New("gone")
		},
		Digest: func(context.Context, string, [][]byte) (string, error) { return "sha256:one", nil },
	}}
	if err := r.ask(t.Context(), question{object: &o, size: true, digest: true}, "amd64", nil); err == nil {
		t.Error("no error")
	}
	if err := r.ask(t.Context(), question{object: &o, digest: true}, "amd64", nil); err != nil {
		t.Errorf("the same digest: %v", err)
	}
}
