package audit

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

const one = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func pinOf(container, image, digest string) map[string]string {
	return map[string]string{v1alpha1.AnnotationPin + container: v1alpha1.Pin(image, digest)}
}

// templateOf reads the template of a Deployment with these annotations and containers, written as name=image.
func templateOf(t *testing.T, annotations map[string]string, containers ...string) *pins.Template {
	t.Helper()
	spec := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	for _, c := range containers {
		name, image, _ := strings.Cut(c, "=")
		spec.Spec.Containers = append(spec.Spec.Containers, corev1.Container{Name: name, Image: image})
	}
	raw, err := json.Marshal(map[string]any{"spec": map[string]any{"template": spec}})
	if err != nil {
		t.Fatal(err)
	}
	object, err := pins.Parse(raw, "Deployment")
	if err != nil {
		t.Fatal(err)
	}
	return &object.Template
}

func TestWhatIsWrongWithPods(t *testing.T) {
	t.Parallel()
	const (
		bySet   = `"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"api-1","uid":"r","controller":true}],`
		byShop  = `"ownerReferences":[{"apiVersion":"example.com/v1","kind":"ReplicaSet","name":"s","uid":"r","controller":true}],`
		pin     = `"annotations":{"pin.kube-prepull.io/a":"app@` + one + `"}`
		stale   = `"annotations":{"pin.kube-prepull.io/a":"app:v1@` + one + `"}`
		marked  = `"annotations":{"pin.kube-prepull.io/a":"app@` + one + `","kube-prepull.io/rewritten":"a=app"}`
		digest  = `"spec":{"containers":[{"name":"a","image":"app@` + one + `"}]}`
		tag     = `"spec":{"containers":[{"name":"a","image":"app"},{"name":"b","image":"b"}]}`
		waits   = `"status":{"phase":"Pending","containerStatuses":[{"name":"a","state":{"waiting":{"reason":"`
		missing = `rpc error: code = NotFound desc = failed to resolve reference \"app\": app: not found`
	)
	for name, test := range map[string]struct {
		pod  string
		want []string
	}{
		"a pod that slipped through":        {`{"metadata":{` + bySet + pin + `},` + tag + `}`, []string{"PodNotPinned a app@" + one}},
		"a rewritten one":                   {`{"metadata":{` + bySet + marked + `},` + digest + `}`, nil},
		"one whose pin is for another":      {`{"metadata":{` + bySet + stale + `},` + tag + `}`, nil},
		"one of an unknown controller":      {`{"metadata":{` + byShop + pin + `},` + tag + `}`, nil},
		"one that nobody controls":          {`{"metadata":{` + pin + `},` + tag + `}`, nil},
		"one that opted out":                {`{"metadata":{` + bySet + pin + `,"labels":{"kube-prepull.io/rewrite":"off"}},` + tag + `}`, nil},
		"one that is done":                  {`{"metadata":{` + bySet + pin + `},` + tag + `,"status":{"phase":"Succeeded"}}`, nil},
		"one that goes":                     {`{"metadata":{` + bySet + pin + `,"deletionTimestamp":"2026-01-01T00:00:00Z"},` + tag + `}`, nil},
		"one that never pulls":              {`{"metadata":{` + bySet + pin + `},` + strings.Replace(tag, `"app"`, `"app","imagePullPolicy":"Never"`, 1) + `}`, nil},
		"one whose digest is gone":          {`{"metadata":{` + bySet + marked + `},` + digest + `,` + waits + `ImagePullBackOff","message":"` + missing + `"}}}]}}`, []string{"PinnedDigestGone a app@" + one}},
		"one whose registry says unknown":   {`{"metadata":{` + bySet + marked + `},` + digest + `,` + waits + `ErrImagePull","message":"reading manifest: manifest unknown"}}}]}}`, []string{"PinnedDigestGone a app@" + one}},
		"one whose registry is down":        {`{"metadata":{` + bySet + marked + `},` + digest + `,` + waits + `ImagePullBackOff","message":"connection refused"}}}]}}`, nil},
		"one that was made with a digest":   {`{"metadata":{` + bySet + `"labels":{}},` + digest + `,` + waits + `ErrImagePull","message":"` + missing + `"}}}]}}`, nil},
		"one that is merely being created":  {`{"metadata":{` + bySet + marked + `},` + digest + `,` + waits + `ContainerCreating","message":"` + missing + `"}}}]}}`, nil},
		"an image volume that slipped away": {`{"metadata":{` + bySet + `"annotations":{"pinvol.kube-prepull.io/m":"m@` + one + `"}},"spec":{"volumes":[{"name":"m","image":{"reference":"m"}}]}}`, []string{"PodNotPinned volume/m m@" + one}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pod corev1.Pod
			if err := json.Unmarshal([]byte(test.pod), &pod); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range auditPod(&pod) {
				got = append(got, f.reason+" "+f.container+" "+f.pinned)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAProblemIsToldOnce(t *testing.T) {
	t.Parallel()
	api := fake.NewClientBuilder().Build()
	newOne := func() *recorder {
		recorder, err := newRecorder(api, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		return recorder
	}
	p := Problem{
		workload: corev1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: "api", UID: "u"},
		reason:   podNotPinned, container: "a", about: "x", message: strings.Repeat("long ", 1000),
	}
	other := p
	other.about = "y"
	recorder := newOne()
	for _, one := range []Problem{p, p, other} {
		if err := recorder.record(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	if err := newOne().record(t.Context(), p); err != nil { // after a restart
		t.Fatal(err)
	}
	var events corev1.EventList
	if err := api.List(t.Context(), &events); err != nil {
		t.Fatal(err)
	}
	if len(events.Items) != 2 {
		t.Fatalf("%d Events, want 2", len(events.Items))
	}
	e := events.Items[0]
	if e.InvolvedObject.UID != "u" || e.Namespace != "shop" || e.Reason != podNotPinned || e.Type != "Warning" || len(e.Message) > 1024 {
		t.Errorf("event %+v", e)
	}
}

func TestOnlyWhatIsStoredIsReported(t *testing.T) {
	t.Parallel()
	u := Unpinned{Group: "apps", Kind: "Deployment", Container: "a", Image: "app"}
	for name, test := range map[string]struct {
		template *pins.Template
		want     bool
	}{
		"the same":          {templateOf(t, nil, "a=app"), true},
		"another image":     {templateOf(t, nil, "a=app:v1"), false},
		"another container": {templateOf(t, nil, "b=app"), false},
		"pinned since":      {templateOf(t, pinOf("a", "app", one), "a=app"), false},
		"a stale pin":       {templateOf(t, pinOf("a", "app:v1", one), "a=app"), true},
	} {
		if got := u.in(test.template); got != test.want {
			t.Errorf("%s: reported %t, want %t", name, got, test.want)
		}
	}
	r := newReporter(nil, nil, nil, logr.Discard())
	for range 2 * maxReports {
		r.Report(Unpinned{Name: "a"}) // never blocks
	}
	r = newReporter(nil, nil, nil, logr.Discard())
	r.Report(Unpinned{Kind: "Pod"})
	if len(r.looks) != 0 {
		t.Error("an object without a name is reported")
	}
}

func TestTheEventOfALongNameHasAValidOne(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"a", "-", ".", "-.-"} {
		name := strings.Repeat("a", 200-len(end)) + end + "b"
		event := eventOf(Problem{workload: corev1.ObjectReference{Namespace: "shop", Name: name}}, metav1.Now())
		if wrong := validation.IsDNS1123Subdomain(event.Name); len(wrong) > 0 {
			t.Errorf("%q: %v", event.Name, wrong)
		}
	}
}
