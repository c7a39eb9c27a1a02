package uninstall

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

// clusterOf has these objects, and the kinds of these.
func clusterOf(t *testing.T, kinds []func(*runtime.Scheme) error, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range kinds {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
}

var kinds = []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme}

func TestWhatIsGoneAndWhatIsLeftToDo(t *testing.T) {
	t.Parallel()
	meta := func(name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "infra", Name: name, Labels: labels}
	}
	c := clusterOf(t, kinds,
		&appsv1.Deployment{ObjectMeta: meta("kube-prepull", nil)},
		&appsv1.DaemonSet{ObjectMeta: meta("kube-prepull-1", v1alpha1.PrepullLabels())},
		&corev1.Service{ObjectMeta: meta("kube-prepull", map[string]string{v1alpha1.LabelName: v1alpha1.Name, "helm.sh/chart": "kube-prepull-0.1.0"})},
		&corev1.Secret{ObjectMeta: meta("sh.helm.release.v1.kube-prepull.v1", map[string]string{"owner": "helm", "name": "kube-prepull"})},
	)
	const (
		forget  = "note: Helm still knows the release: helm uninstall kube-prepull --namespace infra --no-hooks\n"
		nothing = "nothing of kube-prepull is left to delete in the cluster and in namespace infra\n"
		stays   = "the CRD prepullimages.kube-prepull.io stays, with no image in it: --crds deletes it\n"
	)
	for i, want := range []struct{ out, problems string }{
		{"deployment/kube-prepull deleted\ndaemonset/kube-prepull-1 deleted\nservice/kube-prepull deleted\n" + stays, forget},
		{nothing + stays, forget},
		{nothing + stays, ""},
	} {
		var out, problems bytes.Buffer
		env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out, ErrOut: &problems})
		o := uninstall.Options{Namespace: "infra", Condition: true, TaintKey: "kube-prepull.io/warming", Installed: true}
		if err := remove(t.Context(), env, c, o); err != nil {
			t.Fatal(err)
		}
		if out.String() != want.out || problems.String() != want.problems {
			t.Errorf("the %d. time it prints\n%s%s", i+1, &out, &problems)
		}
		if i == 1 {
			if err := c.Delete(t.Context(), &corev1.Secret{ObjectMeta: meta("sh.helm.release.v1.kube-prepull.v1", nil)}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// declaredImages are one for good and one with an end, and what nobody declared by hand.
func declaredImages() []client.Object {
	image := func(name string, labels map[string]string, ttl time.Duration) *v1alpha1.PrepullImage {
		o := &v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: v1alpha1.PrepullImageSpec{Image: name}}
		if ttl > 0 {
			o.Spec.TTL = &metav1.Duration{Duration: ttl}
		}
		return o
	}
	return []client.Object{
		image("base", nil, 0), image("learned", map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}, 0), image("passing", nil, time.Hour),
		image("waited", map[string]string{v1alpha1.LabelDeclaredBy: v1alpha1.DeclaredByWait}, time.Hour),
		&apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "prepullimages.kube-prepull.io"}},
	}
}

func TestWhatPeopleDeclaredIsNamed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options uninstall.Options
		kinds   []func(*runtime.Scheme) error
		want    string
		left    int
	}{
		"they stay": {uninstall.Options{}, kinds, `prepullimage/learned deleted
prepullimage/waited deleted
the CRD prepullimages.kube-prepull.io stays, and what people declared, which nobody ends at its ttl: base, passing (ttl 1h0m0s); --crds deletes all of it
`, 2},
		"they go with the CRD": {uninstall.Options{CRD: true}, kinds, `prepullimage/learned deleted
prepullimage/waited deleted
customresourcedefinition/prepullimages.kube-prepull.io deleted
prepullimage/base deleted with the CRD
prepullimage/passing deleted with the CRD
`, 2},
		"nothing changes": {uninstall.Options{CRD: true, DryRun: true}, kinds, `prepullimage/learned deleted (dry run)
prepullimage/waited deleted (dry run)
customresourcedefinition/prepullimages.kube-prepull.io deleted (dry run)
prepullimage/base deleted with the CRD (dry run)
prepullimage/passing deleted with the CRD (dry run)
`, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clusterOf(t, test.kinds, declaredImages()...)
			existing := interceptor.NewClient(c, interceptor.Funcs{Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				// The fake one does not look whether there is something to delete in a dry run.
				if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
					return err
				}
				return c.Delete(ctx, o, opts...)
			}})
			var out bytes.Buffer
			env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &out, ErrOut: &out})
			test.options.Namespace, test.options.Installed = "infra", true
			if err := remove(t.Context(), env, existing, test.options); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			var images v1alpha1.PrepullImageList
			if err := c.List(t.Context(), &images); err != nil || len(images.Items) != test.left {
				t.Errorf("%d images are left, want %d (%v)", len(images.Items), test.left, err)
			}
		})
	}
}

// With the namespace the configuration is gone, and with it the key of the taint. Others have startup taints, too.
func TestTaintsThatMayBeTheGatesAreNamed(t *testing.T) {
	t.Parallel()
	const startup = "startup-taint.cluster-autoscaler.kubernetes.io/images"
	node := func(name string, keys ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u"}}
		for _, key := range keys {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute})
		}
		return n
	}
	configured := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-prepull", Name: "kube-prepull"}, Data: map[string]string{"config.yaml": ""}}
	note := func(key string) string {
		return "note: the configuration is not there, or may not be read, and nodes have the taint " + key + ": if it was that of the gate, --taint " + key + " takes it away\n"
	}
	for name, test := range map[string]struct {
		key     string
		objects []client.Object
		want    string
	}{
		"there is no configuration": {"", nil, note("kube-prepull.io/new") + note(startup)},
		"there is one":              {"", []client.Object{configured}, ""},
		"the key is given":          {startup, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clusterOf(t, kinds, append(test.objects, node("a", startup, "kube-prepull.io/warming", "dedicated"), node("b", startup, "kube-prepull.io/new"))...)
			var problems bytes.Buffer
			env := cli.NewEnvironment(genericiooptions.IOStreams{Out: io.Discard, ErrOut: &problems})
			if err := find(t.Context(), env, c, uninstall.Options{Namespace: "kube-prepull", TaintKey: test.key}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, problems.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The cluster is named before anything is done, and nothing is done without a word for it.
func TestTheClusterIsNamed(t *testing.T) {
	t.Setenv("KUBECONFIG", "testdata/kubeconfig.yaml")
	for args, want := range map[string]string{
		"":                       "error: kube-prepull would go from the whole of the cluster at http://127.0.0.1:1 (context production): --dry-run lists what that is, --yes does it\n",
		"--yes":                  "note: kube-prepull goes from the cluster at http://127.0.0.1:1 (context production)\n",
		"--dry-run":              "note: this is what would go from the cluster at http://127.0.0.1:1 (context production)\n",
		"--dry-run --taint a=b:": "error: --taint \"a=b:\" cannot be the key of a taint, such as kube-prepull.io/warming",
	} {
		var problems bytes.Buffer
		env := cli.NewEnvironment(genericiooptions.IOStreams{Out: &problems, ErrOut: &problems})
		c := Command(env)
		c.SetErr(&problems)
		if code := cli.Execute(t.Context(), c, strings.Fields(args)); code == 0 || !strings.HasPrefix(problems.String(), want) {
			t.Errorf("%q ends with %d and prints\n%s", args, code, &problems)
		}
	}
}
