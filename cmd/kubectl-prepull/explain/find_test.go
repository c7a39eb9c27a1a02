package explain

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestFind(t *testing.T) {
	t.Parallel()
	object := func(name, image string, learned bool) v1alpha1.PrepullImage {
		o := v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.PrepullImageSpec{Image: image}}
		if learned {
			o.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}
		}
		return o
	}
	objects := []v1alpha1.PrepullImage{
		object("api-v1-1", "reg/shop/api:v1", true), object("api-v10-1", "reg/shop/api:v10", true), object("web-v1-1", "reg/shop/web:v1", true),
		object("web", "reg/shop/web:v1", false), object("redis-1", "redis:7", true),
	}
	tests := map[string]struct{ argument, name, problem string }{
		"the image, though it is a part of another": {"reg/shop/api:v1", "api-v1-1", ""},
		"the name":                         {"api-v10-1", "api-v10-1", ""},
		"a part":                           {"redis", "redis-1", ""},
		"a part of two objects' one image": {"shop/web", "web", ""},
		"a part of two images":             {"api", "", `"api" is a part of 2 images: reg/shop/api:v1, reg/shop/api:v10`},
		"a part of three":                  {"shop", "", `"shop" is a part of 3 images: reg/shop/api:v1, reg/shop/api:v10, reg/shop/web:v1`},
		"another tag of a known image":     {"reg/shop/web:v9", "", `kube-prepull knows no image "reg/shop/web:v9"; it knows reg/shop/web:v1`},
		"a name that is a part of others":  {"shop/reg:v9", "", `kube-prepull knows no image "shop/reg:v9"`},
		"a known image elsewhere":          {"mirror/api@sha256:1", "", `kube-prepull knows no image "mirror/api@sha256:1"; it knows reg/shop/api:v1, reg/shop/api:v10`},
		"something else altogether":        {"nginx", "", `kube-prepull knows no image "nginx"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := find(objects, test.argument)
			switch {
			case err != nil && err.Error() != test.problem, err == nil && test.problem != "":
				t.Errorf("the error is %v, want %q", err, test.problem)
			case err == nil && got.Name != test.name:
				t.Errorf("found %s, want %s", got.Name, test.name)
			}
		})
	}
}
