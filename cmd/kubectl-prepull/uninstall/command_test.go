package uninstall

import (
	"bytes"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

func TestWhatIsGoneAndWhatIsLeftToDo(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	meta := func(name string, labels map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "infra", Name: name, Labels: labels}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&appsv1.Deployment{ObjectMeta: meta("kube-prepull", nil)},
		&appsv1.DaemonSet{ObjectMeta: meta("kube-prepull-1", v1alpha1.PrepullLabels())},
		&corev1.Service{ObjectMeta: meta("kube-prepull", map[string]string{v1alpha1.LabelName: v1alpha1.Name, "helm.sh/chart": "kube-prepull-0.1.0"})},
		&corev1.Secret{ObjectMeta: meta("sh.helm.release.v1.kube-prepull.v1", map[string]string{"owner": "helm", "name": "kube-prepull"})},
	).Build()
	const forget = "note: Helm still knows the release: helm uninstall kube-prepull --namespace infra --no-hooks\n"
	for i, want := range []struct{ out, problems string }{
		{"deployment/kube-prepull deleted\ndaemonset/kube-prepull-1 deleted\nservice/kube-prepull deleted\n", forget},
		{"nothing of kube-prepull is left in the cluster and in namespace infra\n", forget},
		{"nothing of kube-prepull is left in the cluster and in namespace infra\n", ""},
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
