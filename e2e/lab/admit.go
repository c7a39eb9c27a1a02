package lab

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// AdmissionTime is what nobody who creates a workload waits longer for: 2 s as shipped. The webhook itself stops at 1.2 s.
func (p *Product) AdmissionTime() time.Duration { return 2 * time.Second * time.Duration(p.clockSpeed) }

// Admitted is what who sends a request gets.
type Admitted struct {
	Template metav1.ObjectMeta // of the pods
	Warnings []string
	Took     time.Duration // less what the machine stalled
}

// Warned keeps the warnings of requests.
type Warned struct {
	Mu    sync.Mutex
	Texts []string
}

// Admit sends a request about a Deployment, which must be admitted in time whatever the registry does.
func (n *Pinning) Admit(t *testing.T, request func(kubernetes.Interface) (*appsv1.Deployment, error)) Admitted {
	t.Helper()
	w := &Warned{}
	config := n.Config()
	config.WarningHandler = w
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	watch := StartStopwatch()
	d, err := request(client)
	took := watch.Elapsed()
	if err != nil {
		t.Fatal(err)
	}
	if limit := n.AdmissionTime(); took > limit {
		t.Errorf("Deployment %s took %s, want %s at most", d.Name, took, limit)
	}
	return Admitted{d.Spec.Template.ObjectMeta, w.Texts, took}
}

// AdmitNew creates a Deployment without replicas.
func (n *Pinning) AdmitNew(t *testing.T, d *appsv1.Deployment) Admitted {
	t.Helper()
	return n.Admit(t, func(client kubernetes.Interface) (*appsv1.Deployment, error) {
		return client.AppsV1().Deployments(n.Name).Create(t.Context(), d, metav1.CreateOptions{})
	})
}

// HandleWarningHeader is called by the client for each warning.
func (w *Warned) HandleWarningHeader(_ int, _, text string) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Texts = append(w.Texts, text)
}

// WantPins compares the pins of a template. None is nil.
func (a Admitted) WantPins(t *testing.T, want map[string]string) {
	t.Helper()
	if want == nil {
		want = map[string]string{}
	}
	if diff := cmp.Diff(want, PinsOf(a.Template.Annotations)); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
}

// WantWarning wants one warning, with all of these words.
func (a Admitted) WantWarning(t *testing.T, words ...string) {
	t.Helper()
	if len(a.Warnings) != 1 {
		t.Errorf("there are the warnings %q, want one", a.Warnings)
		return
	}
	for _, word := range words {
		if !strings.Contains(a.Warnings[0], word) {
			t.Errorf("the warning is %q, want %q in it", a.Warnings[0], word)
		}
	}
}
