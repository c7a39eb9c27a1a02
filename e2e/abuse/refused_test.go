package abuse

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestWhatAPolicyRefusesIsNotPulled where images are learned from pods: a policy that looks at pods alone lets the Deployment through,
// and kube-prepull would bring the image all the same.
func TestWhatAPolicyRefusesIsNotPulled(t *testing.T) {
	t.Parallel()
	p := lab.Lease(t, "--set", "config.learnFrom=pods")
	label := func(namespace, labels string) {
		t.Helper()
		patch := []byte(`{"metadata":{"labels":{` + labels + `}}}`)
		if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pushed := map[string]string{}
	for i, namespace := range []string{"refused", "accepted"} {
		p.Namespace(t, namespace, false)
		pushed[namespace] = p.Push(t, namespace+"/app:v1", images.Image{Seed: 975 + uint64(i)})
	}
	label("refused", `"pod-security.kubernetes.io/enforce":"restricted"`)
	for namespace, image := range pushed {
		p.Deploy(t, namespace, lab.Deployment("app", image, 1))
	}
	lab.Eventually(t, "the pods to be refused", func() error {
		events, err := p.Client().CoreV1().Events("refused").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedCreate"})
		if err == nil && len(events.Items) == 0 {
			err = errors.New("no event says so")
		}
		return err
	})
	// The namespaces are read as a whole, that of the refused pods first; then admissions tell.
	label("refused", `"kube-prepull.io/enabled":"true"`)
	label("accepted", `"kube-prepull.io/enabled":"true"`)
	p.WaitState(t, pushed["accepted"], "Ready")
	p.Deploy(t, "refused", lab.Deployment("again", pushed["refused"], 1))
	later := p.Push(t, "accepted/app:v2", images.Image{Seed: 977})
	p.Deploy(t, "accepted", lab.Deployment("later", later, 1))
	p.WaitState(t, later, "Ready")
	if p.PrepullImage(t, pushed["refused"]) != nil || p.Listed(t, pushed["refused"]) {
		t.Errorf("%s was learned", pushed["refused"])
	}
	if asked := p.Registry.Counts("refused/app"); asked.BlobGets > 0 {
		t.Errorf("the image was pulled: %+v", asked)
	}
}
