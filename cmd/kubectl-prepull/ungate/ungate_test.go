package ungate

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestANodeThatOthersWriteAllTheTimeIsUntainted(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	busy := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "busy", UID: "u"}}
	busy.Spec.Taints = []corev1.Taint{{Key: "other", Effect: "NoSchedule"}, {Key: "k", Effect: "NoSchedule"}}
	writes := 0
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(busy).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			var n corev1.Node
			if err := c.Get(ctx, client.ObjectKeyFromObject(o), &n); err != nil {
				return err
			}
			writes++
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, "example.com/writes", fmt.Sprint(writes))
			if err := c.Update(ctx, &n); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
	}).Build()
	had, err := untaintNode(t.Context(), c, "busy", "k")
	if !had || err != nil {
		t.Fatalf("untainted: %t, %v", had, err)
	}
	var n corev1.Node
	if err := c.Get(t.Context(), client.ObjectKey{Name: "busy"}, &n); err != nil {
		t.Fatal(err)
	}
	if len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != "other" || n.Annotations["example.com/writes"] != fmt.Sprint(writes) {
		t.Errorf("the node has the taints %v and the annotations %v after %d writes", n.Spec.Taints, n.Annotations, writes)
	}
}
