package explain

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestWhereAPodIsThatIsNotThere(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	pod := func(namespace, name string) client.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(pod("shop", "web"), pod("blog", "web"), pod("shop", "api")).
		WithIndex(&corev1.Pod{}, metav1.ObjectNameField, func(o client.Object) []string { return []string{o.GetName()} }).Build()
	denied := interceptor.NewClient(c, interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return apierrors.NewForbidden(corev1.Resource("pods"), "", nil)
	}})
	for name, test := range map[string]struct {
		client    client.Client
		pod, want string
	}{
		"it is elsewhere":             {c, "api", "there is no pod api in namespace default, and there is one in shop: -n shop"},
		"it is in several":            {c, "web", "there is no pod web in namespace default, and there is one in blog, shop: -n blog"},
		"it is nowhere":               {c, "gone", "there is no pod gone in namespace default"},
		"who may not look everywhere": {denied, "api", "there is no pod api in namespace default"},
	} {
		if _, err := (question{client: test.client}).pod(t.Context(), "default", test.pod); err == nil || err.Error() != test.want {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}
