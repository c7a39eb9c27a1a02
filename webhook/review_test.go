package webhook

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/pins"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

func encode(t testing.TB, request admissionv1.AdmissionRequest) []byte {
	t.Helper()
	raw, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request:  &request,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func yes() *bool { b := true; return &b }

// podReview is the admission of a pod that a ReplicaSet creates: it has no name yet.
func podReview(t testing.TB) []byte {
	t.Helper()
	return encode(t, admissionv1.AdmissionRequest{
		UID:       "0b7c",
		Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Namespace: "shop",
		Operation: admissionv1.Create,
		Object: runtime.RawExtension{Object: &corev1.Pod{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: "api-5d9c7b-",
				Labels:       map[string]string{"app": "api", "quote": `a "b" \`},
				Annotations:  map[string]string{"config": `{"metadata":{"labels":{"app":"not this"}}} \\"`},
				OwnerReferences: []metav1.OwnerReference{
					{Kind: "ReplicaSet", Name: "api-5d9c7b", UID: "2", Controller: yes()},
					{Kind: "Node", Name: "not-the-controller", UID: "1"},
				},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "metadata", Image: "nginx"}}},
		}},
	})
}

// deploymentReview is the admission of a Deployment of about this many bytes, twice over if it is an update.
func deploymentReview(t testing.TB, size int, operation admissionv1.Operation) []byte {
	t.Helper()
	env := make([]corev1.EnvVar, 0, size/80)
	for len(env) < size/80 {
		env = append(env, corev1.EnvVar{Name: "SETTING_OF_THE_SHOP", Value: `{"key": "value", "n": 1}`})
	}
	object := runtime.RawExtension{Object: &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: "api", Namespace: "shop", Labels: map[string]string{"app": "api"}},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "api:v1", Env: env}}},
		}},
	}}
	request := admissionv1.AdmissionRequest{
		UID:       "9a1f",
		Kind:      metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Namespace: "shop", Name: "api",
		Operation: operation,
		Object:    object,
	}
	if operation == admissionv1.Update {
		request.OldObject = object
	}
	return encode(t, request)
}

func TestAReviewBecomesAHint(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body []byte
		want review
	}{
		"a pod without a name is found by its controller and labels": {podReview(t), review{
			uid: "0b7c", operation: "CREATE",
			hint: workload.Hint{
				Kind: "Pod", Namespace: "shop", GenerateName: "api-5d9c7b-",
				OwnerKind: "ReplicaSet", OwnerName: "api-5d9c7b", OwnerUID: types.UID("2"),
				Labels: map[string]string{"app": "api", "quote": `a "b" \`},
			},
		}},
		"a Deployment is found by its name": {deploymentReview(t, 10_000, admissionv1.Update), review{
			uid: "9a1f", group: "apps", operation: "UPDATE",
			hint: workload.Hint{Kind: "Deployment", Namespace: "shop", Name: "api", Labels: map[string]string{"app": "api"}},
		}},
		"the name in the object counts if the request has none": {
			[]byte(`{"request":{"uid":"1","object":{"metadata":{"name":"api"}}}}`),
			review{uid: "1", hint: workload.Hint{Name: "api"}},
		},
		"metadata that is not the object's is not read": {
			[]byte(`{"request":{"uid":"1","oldObject":{"metadata":{"name":"old"}},"object":{"spec":{"metadata":{"name":"deep"}}}},"object":{"metadata":{"name":"top"}}}`),
			review{uid: "1"},
		},
		"white space anywhere": {
			[]byte(" {\n\t\"request\" : { \"uid\" : \"1\" , \"dryRun\" : true , \"n\" : -1.5e3 , \"l\" : [ 1 , [ ] ] } } \n"),
			review{uid: "1", dryRun: true},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got review
			if err := got.parse(test.body); err != nil {
				t.Fatal(err)
			}
			got.object, got.old = nil, nil // they are what came
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(review{})); diff != "" {
				t.Errorf("review (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMalformedReviewsAreErrors(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		``, `{`, `{"`, `{"request"`, `{"request":`, `{"request":}`, `{"request":{"uid":"1"`, `{"request":{"uid":"1","x":"`, `{"request":{"uid":"1","x":"\"`,
		`{"request":{"uid":"1","x":[}`, `{"request":{"uid":"1","x":{"y":[1,2}`, `{"request":{"uid":"1"},1}`, `[]`, `"request"`, `{}`,
	} {
		var r review
		if err := r.parse([]byte(body)); err == nil {
			t.Errorf("no error for %s", body)
		}
	}
}

func TestADeepReviewCostsNoStack(t *testing.T) {
	t.Parallel()
	deep := `{"request":{"uid":"1","object":` + strings.Repeat(`{"a":[`, 500_000) + strings.Repeat(`]}`, 500_000) + `}}`
	var r review
	if err := r.parse([]byte(deep)); err != nil || r.uid != "1" {
		t.Errorf("uid %q, error %v", r.uid, err)
	}
}

// One pass over the bytes finds what a full decoding finds.
func FuzzCursorAgreesWithFullDecoding(f *testing.F) {
	for _, seed := range []string{
		`{"a":1}`, `{"b":{"a":"x"},"a":[{"b":"]"}]}`, `{"a":"\\","b":"\""}`, `{"a":null}`, `{}`, `{"a":{},"a":[]}`, ` {"a" : true}`, `{"a":"\\\"}"}`, `{"":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) != nil || want == nil {
			return
		}
		got := map[string]json.RawMessage{}
		c := &pins.Cursor{Raw: raw}
		err := c.Members(func(key []byte) error {
			var name string
			if err := json.Unmarshal([]byte(`"`+string(key)+`"`), &name); err != nil {
				return err
			}
			c.Peek()
			start := c.At
			if err := c.Skip(); err != nil {
				return err
			}
			got[name] = raw[start:c.At]
			return nil
		})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%s: error %v (-want +got):\n%s", raw, err, diff)
		}
		if c.Peek() != 0 {
			t.Fatalf("%s: stopped at %d", raw, c.At)
		}
	})
}

func TestAVisitorsErrorStopsTheScan(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	visited := 0
	c := &pins.Cursor{Raw: []byte(`{"a":1,"b":2}`)}
	err := c.Members(func([]byte) error { visited++; return stop })
	if !errors.Is(err, stop) || visited != 1 {
		t.Errorf("error %v after %d members", err, visited)
	}
}
