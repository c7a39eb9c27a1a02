package wait

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/generate"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// clusterOf has these objects. It has no events, gives what is created a UID, and does nothing for those who have given up.
func clusterOf(t *testing.T, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if _, events := list.(*corev1.EventList); events || ctx.Err() != nil {
				return ctx.Err()
			}
			return c.List(ctx, list, options...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			o.SetUID(types.UID("uid of " + o.GetName()))
			return c.Create(ctx, o, options...)
		},
	}).Build()
}

// stored are the names of the PrepullImages in a cluster.
func stored(t *testing.T, c client.Client) []string {
	t.Helper()
	var list v1alpha1.PrepullImageList
	if err := c.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// waiterFor waits for images by name.
func waiterFor(t *testing.T, c client.Client, selector string, names ...string) *waiter {
	t.Helper()
	parsed, err := labels.Parse(selector)
	if err != nil {
		t.Fatal(err)
	}
	images, _, err := named(names, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return newWaiter(c, v1alpha1.Name, images, goal{percent: 100}, parsed)
}

// declaredAs is the name of the object with which an image is declared.
func declaredAs(t *testing.T, w *waiter, image string) string {
	t.Helper()
	for _, known := range w.images {
		if known.Name == image {
			objects, _ := objectsOf(known)
			return objects[0].Name
		}
	}
	t.Fatalf("nobody waits for %s", image)
	return ""
}

func TestWhatIsNotKnownIsDeclaredWithAnEnd(t *testing.T) {
	t.Parallel()
	const known, remembered, unknown = "shop/known:v1", "shop/remembered:v1", "shop/unknown:v1"
	learned := func(image, state string) *v1alpha1.PrepullImage {
		o := object(2, 2)
		o.Name, o.Spec.Image, o.Status.State = workload.ObjectName(image), image, state
		o.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}
		return o
	}
	c := clusterOf(t, learned(known, "Ready"), learned(remembered, "Skipped: Remembered"))
	w := waiterFor(t, c, "pool=web", known, remembered, unknown)
	w.selector = labels.Everything()
	first, err := w.look(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if of(first, met) != 1 || of(first, open) != 2 {
		t.Errorf("at first it is %+v", first)
	}
	var declared v1alpha1.PrepullImage
	name := declaredAs(t, w, unknown)
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &declared); err != nil {
		t.Fatal(err)
	}
	want := v1alpha1.PrepullImageSpec{Image: unknown, NodeSelector: map[string]v1alpha1.LabelValue{"pool": "web"}, TTL: &metav1.Duration{Duration: 24 * time.Hour}}
	if diff := cmp.Diff(want, declared.Spec); diff != "" || declared.Labels[v1alpha1.LabelDeclaredBy] != "wait" || declared.Managed() {
		t.Errorf("it has the labels %v and the spec (-want +got):\n%s", declared.Labels, diff)
	}
	before := stored(t, c)
	if len(before) != 4 {
		t.Errorf("there are %q", before)
	}
	if _, err := w.look(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Errorf("the second look makes (-before +after):\n%s", diff)
	}
	// Somebody takes it away while it is waited for.
	if err := c.Delete(t.Context(), &declared); err != nil {
		t.Fatal(err)
	}
	if _, err := w.look(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, stored(t, c)); diff != "" {
		t.Errorf("what is gone comes back (-before +after):\n%s", diff)
	}
}

func TestWhatIsTakenBack(t *testing.T) {
	t.Parallel()
	theirs := &v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{UID: "theirs"}}
	theirs.Spec.Image = "shop/theirs:v1"
	w := waiterFor(t, nil, "", "shop/theirs:v1", "shop/ours:v1", "shop/used:v1")
	theirs.Name = declaredAs(t, w, theirs.Spec.Image)
	c := clusterOf(t, theirs)
	w.client = c
	ctx, interrupt := context.WithCancel(t.Context())
	if _, err := w.look(ctx, noon); err != nil {
		t.Fatal(err)
	}
	used := &v1alpha1.PrepullImage{}
	key := client.ObjectKey{Name: declaredAs(t, w, "shop/used:v1")}
	if err := c.Get(t.Context(), key, used); err != nil {
		t.Fatal(err)
	}
	used.Status.FirstSeenTime = &metav1.Time{Time: noon}
	if err := c.Update(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	interrupt()
	const want = "interrupted: what this command declared is deleted, unless a workload uses it"
	if err := w.ours.takenBack(ctx, c, errInterrupted); err.Error() != want {
		t.Errorf("it ends with %q", err)
	}
	if diff := cmp.Diff([]string{theirs.Name, key.Name}, stored(t, c)); diff != "" {
		t.Errorf("what stays (-want +got):\n%s", diff)
	}
}

// Who may declare, and not delete, is told what stays and until when.
func TestWhatMayNotBeTakenBackIsNamed(t *testing.T) {
	t.Parallel()
	denied := apierrors.NewForbidden(schema.GroupResource{Group: "kube-prepull.io", Resource: "prepullimages"}, "a", errors.New("no"))
	for name, funcs := range map[string]interceptor.Funcs{
		"nothing may be deleted": {Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return denied }},
		"nothing may be listed":  {List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return denied }},
	} {
		c := clusterOf(t)
		w := waiterFor(t, c, "", "shop/a:v1", "shop/b:v1")
		if _, err := w.look(t.Context(), noon); err != nil {
			t.Fatal(err)
		}
		err := w.ours.takenBack(t.Context(), interceptor.NewClient(c, funcs), errInterrupted)
		for _, words := range []string{"interrupted; ", "ends by itself 24 h 0 min after", declaredAs(t, w, "shop/a:v1") + " " + declaredAs(t, w, "shop/b:v1")} {
			if !strings.Contains(err.Error(), words) || !apierrors.IsForbidden(err) {
				t.Errorf("%s: it does not say %q: %v", name, words, err)
			}
		}
	}
}

// A pull secret has a namespace: that of the kubeconfig, where the manifest has none and -n does not say one.
func TestTheNamespaceOfAPullSecretIsSaid(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	const pod = "kind: Pod\nmetadata: {name: a%s}\nspec: {imagePullSecrets: [{name: login}], containers: [{name: a, image: shop/a:v1}]}"
	for name, test := range map[string]struct{ in, flag, namespace, note string }{
		"the manifest says it": {", namespace: shop", "", "shop", ""},
		"the flag says it":     {"", "infra", "infra", ""},
		"nobody says it":       {"", "", "default", "pull secrets whose namespace the manifests do not say are taken from default, that of the kubeconfig (-n says another): login"},
	} {
		env := cli.NewEnvironment(genericiooptions.IOStreams{In: strings.NewReader(fmt.Sprintf(pod, test.in))})
		env.Kube.Namespace = &test.flag
		o := options{source: generate.Source{Files: []string{"-"}}}
		images, notes, err := o.images(env, nil, labels.Everything())
		if err != nil || len(images) != 1 || images[0].PullSecrets[0].String() != test.namespace+"/login" || strings.Join(notes, "\n") != test.note {
			t.Errorf("%s: %+v with the notes %q: %v", name, images, notes, err)
		}
	}
}

// An image with pods in two places is declared for both, and a pull secret goes with it.
func TestAManifestsConstraintsAreDeclared(t *testing.T) {
	t.Parallel()
	image := workload.Image{
		Name: "shop/app:v1", PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "login"}},
		Placements: []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "web"}}, {NodeSelector: map[string]string{"pool": "db"}}},
	}
	objects, notes := objectsOf(image)
	if len(objects) != 2 || len(notes) != 0 || objects[0].Name == objects[1].Name {
		t.Fatalf("it is declared as %+v, with the notes %q", objects, notes)
	}
	for _, o := range objects {
		if o.Spec.TTL == nil || len(o.Spec.ImagePullSecrets) != 1 || o.Labels[v1alpha1.LabelDeclaredBy] != declaredBy {
			t.Errorf("one is %+v", o)
		}
	}
}

// An image that is on other nodes is declared for those that were chosen, once. Where nothing starts it is refused.
func TestWhatIsKnownElsewhereIsDeclaredForTheChosenNodes(t *testing.T) {
	t.Parallel()
	const image = "shop/app:v1"
	elsewhere := object(1, 1)
	elsewhere.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}
	elsewhere.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "db"}}}
	for selector, test := range map[string]struct {
		first, second outcome
		objects       int
	}{
		"pool=db": {open, open, 1}, "pool=web": {open, open, 2},
		"pool=web,kubernetes.io/hostname=web-1":       {open, met, 2},
		"pool=web,kubernetes.io/hostname=web-tainted": {open, refused, 2},
	} {
		t.Run(selector, func(t *testing.T) {
			t.Parallel()
			c := clusterOf(t, append(nodesOf(), elsewhere.DeepCopy())...)
			w := waiterFor(t, c, selector, image)
			for i, want := range []outcome{test.first, test.second, test.second} {
				all, err := w.look(t.Context(), noon)
				if err != nil || all[0].outcome != want {
					t.Errorf("look %d: it is %+v (%v), want %q", i, all, err, want)
				}
			}
			if got := stored(t, c); len(got) != test.objects {
				t.Errorf("there are %q", got)
			}
		})
	}
}
