package wait

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestNobodyWaitsWhereNobodyPulls(t *testing.T) {
	t.Parallel()
	managers := func(replicas *int32) *appsv1.Deployment {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "kube-prepull"}, Spec: appsv1.DeploymentSpec{Replicas: replicas}}
	}
	for name, test := range map[string]struct {
		there *appsv1.Deployment
		err   error
		want  string
	}{
		"managers":               {managers(ptr.To[int32](2)), nil, ""},
		"as many as by default":  {managers(nil), nil, ""},
		"none":                   {managers(ptr.To[int32](0)), nil, "Deployment infra/kube-prepull has 0 replicas"},
		"no installation":        {nil, nil, "there is no manager in namespace infra"},
		"who may not look":       {nil, apierrors.NewForbidden(schema.GroupResource{}, "kube-prepull", nil), ""},
		"a cluster that is away": {nil, errors.New("no answer"), "looking for the managers: no answer"},
	} {
		builder := fake.NewClientBuilder()
		if test.there != nil {
			builder = builder.WithObjects(test.there)
		}
		if test.err != nil {
			builder = builder.WithInterceptorFuncs(interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
				return test.err
			}})
		}
		err := pulls(t.Context(), builder.Build(), "infra")
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
