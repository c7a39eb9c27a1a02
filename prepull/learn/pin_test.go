package learn

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// pinnery is a cluster in which images are pinned, with a learner and a resync.
type pinnery struct {
	client.Client
	learner *Learner
	resync  *resync
}

func newPinnery(t *testing.T, objects ...client.Object) *pinnery {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	// The fake client knows no field selector that excludes; there are no pods.
	noPods := interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if _, pods := list.(*corev1.PodList); pods {
			return nil
		}
		return c.List(ctx, list, opts...)
	}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.PrepullImage{}).
		WithInterceptorFuncs(noPods).Build()
	store := newImageStore(c, c, logr.Discard(), testMetrics(t))
	unlimited := rate.NewLimiter(rate.Inf, 0)
	return &pinnery{
		Client:  c,
		learner: &Learner{cached: c, live: c, images: store, namespace: "kube-prepull", reads: unlimited, lists: unlimited},
		resync:  &resync{cached: c, live: c, images: store, namespace: "kube-prepull", keep: testRetention},
	}
}

// known are the images that are stored, each with the number of its users.
func (p *pinnery) known(t *testing.T) []string {
	t.Helper()
	var list v1alpha1.PrepullImageList
	if err := p.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	var images []string
	for _, o := range list.Items {
		images = append(images, fmt.Sprintf("%s for %d", o.Spec.Image, o.Status.UserCount))
	}
	slices.Sort(images)
	return images
}

func (p *pinnery) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.known(t)); diff != "" {
		t.Errorf("images %s (-want +got):\n%s", when, diff)
	}
}

func (p *pinnery) label(t *testing.T, labels map[string]string) {
	t.Helper()
	if err := p.Update(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: labels}}); err != nil {
		t.Fatal(err)
	}
}

// see looks at the Deployment api as after an admission.
func (p *pinnery) see(t *testing.T) finding {
	t.Helper()
	found, err := p.learner.learn(t.Context(), firstLookup(lookupKey{kind: "Deployment", namespace: "shop", name: "api"}, clock.Production().FirstList, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (p *pinnery) once(t *testing.T, only string) {
	t.Helper()
	if done, err := p.resync.once(t.Context(), only); err != nil || done.missed {
		t.Fatalf("the resync missed something: %t (%v)", done.missed, err)
	}
}

// A Deployment is learned by its digest before its first pod, and by its tag while its namespace does not ask for pins.
func TestTheLearnedStringFollowsTheNamespace(t *testing.T) {
	t.Parallel()
	plain := map[string]string{v1alpha1.LabelEnabled: v1alpha1.Enabled}
	p := newPinnery(t, workloadtest.PinnedDeployment("api", "app:latest"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: workloadtest.Rewritten}})
	if found := p.see(t); found != fresh {
		t.Errorf("the first look finds %d", found)
	}
	p.expect(t, "before the first pod", "app@"+workloadtest.DigestA+" for 1")
	if found := p.see(t); found != stale {
		t.Errorf("the second look finds %d", found)
	}
	p.once(t, "")
	p.expect(t, "after a resync that agrees", "app@"+workloadtest.DigestA+" for 1")

	p.label(t, plain)
	p.once(t, "shop")
	p.expect(t, "without the label", "app:latest for 1", "app@"+workloadtest.DigestA+" for 0")
	p.once(t, "")
	p.expect(t, "after a resync of all", "app:latest for 1", "app@"+workloadtest.DigestA+" for 0")
	if found := p.see(t); found != stale {
		t.Errorf("a look at what the resync knows finds %d", found)
	}

	p.label(t, workloadtest.Rewritten)
	p.once(t, "shop")
	p.once(t, "")
	p.expect(t, "with the label again", "app:latest for 0", "app@"+workloadtest.DigestA+" for 1")
}

func TestNothingIsForgottenByAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	old := used("app:v1", learned{}.withUsers(deployments("gone"), freely, yesterday).withoutUsers(yesterday))
	p := newPinnery(t, &old, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: workloadtest.Rewritten}})
	wrong := true
	p.resync.clockOff = func() bool { return wrong }
	p.once(t, "")
	p.expect(t, "while the clock is wrong", "app:v1 for 0")
	wrong = false
	p.once(t, "")
	p.expect(t, "once it is right")
}

// A restart that takes the newest image displaces the digest before, which stays for a rollback and then goes.
func TestADisplacedDigestStaysForARollback(t *testing.T) {
	t.Parallel()
	p := newPinnery(t, workloadtest.PinnedDeployment("api", "app"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: workloadtest.Rewritten}})
	p.see(t)
	var d appsv1.Deployment
	if err := p.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "api"}, &d); err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Annotations[v1alpha1.AnnotationPin+"app"] = v1alpha1.Pin("app", workloadtest.DigestB)
	if err := p.Update(t.Context(), &d); err != nil {
		t.Fatal(err)
	}
	if found := p.see(t); found != fresh {
		t.Errorf("the look at the new pin finds %d", found)
	}
	p.once(t, "")
	p.expect(t, "after the restart", "app@"+workloadtest.DigestA+" for 0", "app@"+workloadtest.DigestB+" for 1")
	p.once(t, "")
	p.expect(t, "within the retention", "app@"+workloadtest.DigestA+" for 0", "app@"+workloadtest.DigestB+" for 1")
	p.resync.keep.rollback = 0
	p.once(t, "")
	p.expect(t, "after it", "app@"+workloadtest.DigestB+" for 1")
}
