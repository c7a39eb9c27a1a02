package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// at is the namespace with images in another registry. Each that fails is a test's own: kube-prepull leaves a registry
// alone for a while that does not answer.
func (n pinning) at(r *registry.Registry) pinning {
	p := *n.Product
	p.Registry = r
	return pinning{&lab.Pinning{Product: &p, Name: n.Name}}
}

// admitRestart is kubectl rollout restart.
func (n pinning) admitRestart(t *testing.T, name string) lab.Admitted {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	return n.Admit(t, func(client kubernetes.Interface) (*appsv1.Deployment, error) {
		return client.AppsV1().Deployments(n.Name).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	})
}

// waitObserved waits until the Deployment controller has nothing to write.
func (n pinning) waitObserved(t *testing.T, name string) {
	t.Helper()
	lab.Eventually(t, "Deployment "+name+" to be observed", func() error {
		d, err := n.Client().AppsV1().Deployments(n.Name).Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && (d.Status.ObservedGeneration != d.Generation || len(d.Status.Conditions) < 2) {
			err = fmt.Errorf("its status is %+v", d.Status)
		}
		return err
	})
}

// unanswered are ways in which a registry does not tell where a tag points, with what it says and with what
// kube-prepull says.
var unanswered = map[string]struct {
	fail   func(*registry.Registry)
	repair func(*registry.Registry)
	why    string

	// refuses is set if the registry said no: then a pin is not worth keeping.
	refuses bool
}{
	"401":  {fault(registry.Refuse(401)), lift, "answers 401 Unauthorized", true},
	"403":  {fault(registry.Refuse(403)), lift, "answers 403 Forbidden", true},
	"404":  {fault(registry.Refuse(404)), lift, "answers 404 Not Found", true},
	"429":  {fault(registry.TooManyRequests(time.Minute)), lift, "answers 429 Too Many Requests", false},
	"500":  {fault(registry.Refuse(500)), lift, "answers 500 Internal Server Error", false},
	"503":  {fault(registry.Refuse(503)), lift, "answers 503 Service Unavailable", false},
	"hang": {fault(registry.Hang()), lift, "does not answer in time", false},
	"down": {
		func(r *registry.Registry) { r.SetDown(true) }, func(r *registry.Registry) { r.SetDown(false) },
		"connection", false,
	},
}

func fault(f registry.Fault) func(*registry.Registry) {
	return func(r *registry.Registry) { r.SetFault("*", f) }
}

func lift(r *registry.Registry) { r.LiftFault("*") }

// TestARegistryThatFailsHoldsNobodyUp creates a Deployment meanwhile. It stays as it is, whoever creates it is told why,
// and its pods start once nodes can pull.
func TestARegistryThatFailsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "faults", "latest")}
	for name, test := range unanswered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := n.at(lab.NewRegistry(t, n.Cluster, registry.Options{}))
			app := "app-" + name
			n.Versions(t, app, 1)
			n.point(t, app, "latest", "v1")
			image := n.Image(app + ":latest")
			test.fail(n.Registry)
			a := n.AdmitNew(t, lab.Deployment(app, image, 0))
			a.WantPins(t, nil)
			a.WantWarning(t, "container app ", image, test.why)
			test.repair(n.Registry)
			n.kubectl(t, "scale", "--replicas=1", "deployment/"+app)
			n.waitPods(t, app, 1, image)
		})
	}
}

// TestARestartWhileTheRegistryFails keeps the digest that the Deployment has, unless the registry says that it is nothing
// for it.
func TestARestartWhileTheRegistryFails(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "restarts", "latest")}
	for name, test := range unanswered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := n.at(lab.NewRegistry(t, n.Cluster, registry.Options{}))
			app := "app-" + name
			digests := n.Versions(t, app, 2)
			image := n.Image(app + ":latest")
			n.point(t, app, "latest", "v1")
			a := n.AdmitNew(t, lab.Deployment(app, image, 0))
			a.WantPins(t, appPin(image, digests[0]))
			if len(a.Warnings) > 0 {
				t.Errorf("there are warnings: %q", a.Warnings)
			}
			n.point(t, app, "latest", "v2")
			n.waitObserved(t, app) // the API server admits a patch twice that meets another change
			test.fail(n.Registry)
			a = n.admitRestart(t, app)
			if test.refuses {
				a.WantPins(t, nil)
				a.WantWarning(t, "container app ", "stays a tag", image, test.why)
			} else {
				a.WantPins(t, appPin(image, digests[0]))
				a.WantWarning(t, "container app ", "keeps its digest", image, test.why)
			}
			n.wantPins(t, "deployment", app, lab.PinsOf(a.Template.Annotations))
		})
	}
}

// TestOneOfTwoRegistriesHangs, and many containers have their images there: the one with the other registry is pinned.
func TestOneOfTwoRegistriesHangs(t *testing.T) {
	t.Parallel()
	good := pinning{lab.NewPinning(t, "halves", "latest")}
	digest := good.Versions(t, "app", 1)[0]
	good.point(t, "app", "latest", "v1")
	bad := good.at(lab.NewRegistry(t, good.Cluster, registry.Options{}))
	bad.Registry.SetFault("*", registry.Hang())
	d := lab.Deployment("halves", good.Image("app:latest"), 0)
	containers := &d.Spec.Template.Spec.Containers
	const others = 12
	for i := range others {
		other := (*containers)[0]
		other.Name, other.Image = fmt.Sprintf("other-%d", i), bad.Image(fmt.Sprintf("app-%d:latest", i))
		*containers = append(*containers, other)
	}
	a := good.AdmitNew(t, d)
	a.WantPins(t, appPin(good.Image("app:latest"), digest))
	if len(a.Warnings) != others {
		t.Errorf("there are the warnings %q, want %d", a.Warnings, others)
	}
}

// TestARegistryThatAsksForRestGetsIt creates many Deployments while a registry does not want to be asked, and then waits
// until it is asked again.
func TestARegistryThatAsksForRestGetsIt(t *testing.T) {
	t.Parallel()
	const rest = 15 * time.Second
	n := pinning{lab.NewPinning(t, "rest", "latest")}
	managers := int64(len(n.Managers(t)))
	n = n.at(lab.NewRegistry(t, n.Cluster, registry.Options{}))
	digest := n.Versions(t, "again", 1)[0]
	n.point(t, "again", "latest", "v1")
	n.Registry.SetFault("*", registry.TooManyRequests(rest))

	start, alone := time.Now(), 0
	var took []time.Duration
	for i := 0; i < 30 && time.Since(start) < rest/2; i++ {
		name := fmt.Sprintf("app-%d", i) // none shares an answer with another
		a := n.AdmitNew(t, lab.Deployment(name, n.Image(name+":latest"), 0))
		a.WantPins(t, nil)
		a.WantWarning(t, "container app ", n.Registry.Addr())
		if strings.Contains(a.Warnings[0], "is left alone until") {
			alone++
		}
		took = append(took, a.Took)
	}
	if asked := n.Questions("*"); asked == 0 || asked > managers {
		t.Errorf("the registry was asked %d times, want once by each of %d managers at most", asked, managers)
	}
	if int64(len(took)-alone) > managers {
		t.Errorf("%d of %d warnings say that the registry is left alone", alone, len(took))
	}
	slices.Sort(took)
	t.Logf("a Deployment took %s, the slowest %s", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if took[len(took)/2] > 500*time.Millisecond {
		t.Errorf("a Deployment took %s while nobody was asked", took[len(took)/2])
	}

	n.Registry.LiftFault("*")
	image := n.Image("again:latest")
	lab.Eventually(t, "the registry to be asked again", func() error {
		a := n.Admit(t, func(client kubernetes.Interface) (*appsv1.Deployment, error) {
			return client.AppsV1().Deployments(n.Name).Create(t.Context(), lab.Deployment("again", image, 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		})
		if a.Template.Annotations["pin.kube-prepull.io/app"] != image+"@"+digest {
			return fmt.Errorf("there are the warnings %q", a.Warnings)
		}
		return nil
	})
}

// TestAWorkloadThatComesWithItsNamespace is pinned: a manifest may begin with a Namespace, and nobody waits after it.
func TestAWorkloadThatComesWithItsNamespace(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "together", "latest")}
	digest := n.Versions(t, "app", 1)[0]
	n.point(t, "app", "latest", "v1")
	image := n.Image("app:latest")
	for i := range 20 {
		now := product{n.Product}.pinning(t, fmt.Sprintf("together-%d", i))
		t.Cleanup(func() {
			if err := n.Client().CoreV1().Namespaces().Delete(context.Background(), now.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		now.AdmitNew(t, lab.Deployment("app", image, 0)).WantPins(t, appPin(image, digest))
	}
}
