package plugin

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// waiting is a cluster whose nodes have room for 250 MiB, and the plugin with the role of those who wait.
type waiting struct {
	product
	plugin
}

// TestARolloutWaits waits for images that are there, that come, and that do not, and lets helm wait.
func TestARolloutWaits(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "wait.enabled=true", "--set", "config.maxBytesPerNode=250Mi")}
	w := waiting{p, plugin{lab.PluginFor(t, p.Cluster)}}
	admin := w.plugin
	w.Kubeconfig = w.kubeconfigOfWaiters(t)
	p.Namespace(t, "rollout", true)
	w.declarationsAreChecked(t)
	made := w.declareWithEnds(t)

	there := p.Push(t, "rollout/there:v1", images.Image{Seed: 311})
	p.Deploy(t, "rollout", lab.Deployment("there", there, 1))
	p.WaitState(t, there, "Ready")
	w.says(t, []string{"wait", there}, there+": 2 of 2 nodes, ready\n1 image is on its nodes after ")
	w.declared(t)

	w.comes(t)
	w.doesNotCome(t, there)
	w.isInterrupted(t)
	w.runsOutOfTime(t)

	k := waiting{p, admin}
	k.says(t, []string{"wait", there, "--node-selector", "kubernetes.io/hostname=node-1", "--for", "1"}, there+": 1 of 1 nodes, ready")
	k.refuses(t, 1, []string{"wait", there, "--node-selector", "pool=none"}, "no node matches --node-selector pool=none")
	k.refuses(t, 1, []string{"wait", there, "--as", "somebody"}, `User "somebody" cannot list resource "prepullimages"`)
	w.hasNoRoom(t)
	w.helmWaits(t)
	w.endsCome(t, made)
}

// kubeconfigOfWaiters is that of the service account that the chart makes.
func (w waiting) kubeconfigOfWaiters(t *testing.T) string {
	t.Helper()
	token, err := w.product.Kubectl(t.Context(), "create", "token", "kube-prepull-wait", "--namespace="+lab.System)
	if err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(w.Config())
	if err := rest.LoadTLSFiles(config); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err = clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: strings.TrimSpace(token)}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// declared holds which images are declared by those who wait.
func (w waiting) declared(t *testing.T, want ...string) {
	t.Helper()
	list, err := w.Images.List(t.Context(), metav1.ListOptions{LabelSelector: "kube-prepull.io/declared-by=wait"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range list.Items {
		got = append(got, lab.Field(&list.Items[i], "spec", "image"))
		if ttl := lab.Field(&list.Items[i], "spec", "ttl"); ttl != "24h0m0s" {
			t.Errorf("%s has the ttl %q", got[i], ttl)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("declared are %q, want %q", got, want)
	}
}

// comes waits for the image of a manifest, which is there for its first pod, and is learned from then on in the same object.
func (w waiting) comes(t *testing.T) {
	t.Helper()
	image := w.Push(t, "rollout/comes:v1", images.Image{Seed: 312, Size: 4 << 20})
	d := lab.Deployment("comes", image, 1)
	d.APIVersion, d.Kind = "apps/v1", "Deployment"
	text, err := yaml.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "comes.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.says(t, []string{"wait", "-f", file, "-n", "rollout"}, image+": it is declared\n", image+": 2 of 2 nodes, ready\n")
	w.declared(t, image)
	w.Deploy(t, "rollout", d)
	if event := w.PulledEvent(t, "rollout", w.podOf(t, "rollout", "comes")); !strings.Contains(event, "already present") {
		t.Errorf("the first pod waits: %s", event)
	}
	w.WaitUsers(t, image, "1")
	if list, err := w.Images.List(t.Context(), metav1.ListOptions{}); err != nil || strings.Count(fmt.Sprint(list.Items), "image:"+image+" ") > 1 {
		t.Errorf("there is another object of %s (%v)", image, err)
	}
}

// doesNotCome waits for what the registry does not have, and for more nodes than there are.
func (w waiting) doesNotCome(t *testing.T, there string) {
	t.Helper()
	missing := w.Registry.Addr() + "/rollout/missing:v1"
	w.refusesToWait(t, missing, missing+": NotFound: Node node-")
	if _, stderr, code := w.Run(t, "wait", there, "--for", "3"); code != 1 || !strings.Contains(stderr, "2 nodes are to have it, and --for asks for 3") {
		t.Errorf("waiting for 3 of 2 nodes ends with %d: %s", code, stderr)
	}
}

// refusesToWait waits for an image that does not come, and of which nothing is left.
func (w waiting) refusesToWait(t *testing.T, image, words string) {
	t.Helper()
	start := time.Now()
	stdout, stderr, code := w.Run(t, "wait", image)
	if code != 1 || !strings.Contains(stderr, words) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("waiting for %s ends with %d:\n%s%s", image, code, stdout, stderr)
	}
	if w.PrepullImage(t, image) != nil {
		t.Errorf("%s is still declared", image)
	}
	t.Logf("waiting for %s took %s: %s", image, time.Since(start).Round(time.Millisecond), stderr)
}

// hasNoRoom fills the nodes: what is too large is refused as soon as its size is known, and what is small has room then.
func (w waiting) hasNoRoom(t *testing.T) {
	t.Helper()
	filler := w.Push(t, "rollout/filler:v1", images.Image{Seed: 318, Size: 130 << 20})
	huge := w.Push(t, "rollout/huge:v1", images.Image{Seed: 313, Size: 125 << 20})
	small := w.Push(t, "rollout/small:v1", images.Image{Seed: 319})
	w.says(t, []string{"wait", filler}, filler+": 2 of 2 nodes, ready\n")
	w.refusesToWait(t, huge, huge+": OverBudget: ")
	w.says(t, []string{"wait", small}, small+": 2 of 2 nodes, ready\n")
	if counts := w.Registry.Counts("rollout/huge"); counts.BlobGets > 0 {
		t.Errorf("%d blobs of what has no room were pulled", counts.BlobGets)
	}
}

// isInterrupted leaves nothing, whichever signal it was.
func (w waiting) isInterrupted(t *testing.T) {
	t.Helper()
	image := w.Push(t, "rollout/hangs:v1", images.Image{Seed: 314})
	w.Registry.SetFault("rollout/hangs", registry.Hang())
	defer w.Registry.LiftFault("rollout/hangs")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, w.Binary, "wait", image)
		cmd.Env, cmd.Stderr = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig), &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lab.Eventually(t, "the image to be declared", func() error {
			if w.PrepullImage(t, image) == nil {
				return fmt.Errorf("it is not known")
			}
			return nil
		})
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its exit code is looked at
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.HasPrefix(stderr.String(), "error: interrupted") {
			t.Errorf("after %s it ends with %d: %s", signal, code, &stderr)
		}
		if w.PrepullImage(t, image) != nil {
			t.Errorf("after %s the image is still declared", signal)
		}
	}
}

// runsOutOfTime leaves what it declared, and the next one finds it.
func (w waiting) runsOutOfTime(t *testing.T) {
	t.Helper()
	image := w.Push(t, "rollout/slow:v1", images.Image{Seed: 315})
	w.Registry.SetFault("rollout/slow", registry.Hang())
	_, stderr, code := w.Run(t, "wait", image, "--timeout", "3s")
	w.Registry.LiftFault("rollout/slow")
	if code != 3 || !strings.Contains(stderr, "not everything came within 3s: "+image) {
		t.Errorf("it ends with %d: %s", code, stderr)
	}
	object := w.PrepullImage(t, image)
	if object == nil {
		t.Fatal("what it declared is gone")
	}
	w.says(t, []string{"wait", image}, image+": 2 of 2 nodes, ready\n")
	if again := w.PrepullImage(t, image); again == nil || again.GetUID() != object.GetUID() {
		t.Error("it was declared again")
	}
}

// declareWithEnds declares images with ends that are refused, and one with the shortest that there is. It returns when that was.
func (w waiting) declareWithEnds(t *testing.T) time.Time {
	t.Helper()
	image := w.Push(t, "rollout/passing:v1", images.Image{Seed: 316})
	manifest := func(ttl string) string {
		file := filepath.Join(t.TempDir(), "passing.yaml")
		text := fmt.Sprintf("apiVersion: kube-prepull.io/v1alpha1\nkind: PrepullImage\nmetadata: {name: passing}\nspec: {image: %q, ttl: %q}\n", image, ttl)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, ttl := range []string{"59s", "8760h1s", "1d", "-5m", "", "soon"} {
		output, err := w.product.Kubectl(t.Context(), "create", "--filename", manifest(ttl))
		if text := fmt.Sprint(output, err); err == nil || !strings.Contains(text, "ttl must be from 1m to 8760h, in hours, minutes and seconds") {
			t.Errorf("a ttl of %q: %s", ttl, text)
		}
	}
	if output, err := w.product.Kubectl(t.Context(), "create", "--filename", manifest("99999999999999999999h")); err == nil {
		t.Errorf("a ttl of ages is taken: %s", output)
	}
	if _, err := w.product.Kubectl(t.Context(), "create", "--filename", manifest("1m")); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// endsCome waits until the image with the short end is gone.
func (w waiting) endsCome(t *testing.T, made time.Time) {
	t.Helper()
	lab.Eventually(t, "the end of what was declared", func() error {
		list, err := w.Images.List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=passing"})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("it is there after %s", time.Since(made))
		}
		return err
	})
	t.Logf("what was declared for a minute was gone when looked at after %s", time.Since(made))
}

// hook is the example of a hook for helm.
var hook = regexp.MustCompile("(?s)```yaml\n# templates/warm.yaml[^\n]*\n(.*?)```")

// helmWaits installs a chart that waits, as the documentation shows it.
func (w waiting) helmWaits(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile(lab.Source("docs/warm-before-rollout.md"))
	if err != nil {
		t.Fatal(err)
	}
	example := hook.FindSubmatch(page)
	if example == nil {
		t.Fatal("there is no example")
	}
	job := regexp.MustCompile(`ghcr\.io/kube-prepull/kubectl-prepull:\S+`).ReplaceAllString(string(example[1]), w.pushPlugin(t))
	image := w.Push(t, "rollout/helm:v1", images.Image{Seed: 317, Size: 2 << 20})
	chart := t.TempDir()
	for name, text := range map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.1.0\n", "templates/warm.yaml": job,
		"templates/pod.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: helm}\nspec: {containers: [{name: app, image: \"{{ .Values.image }}\"}]}\n",
	} {
		file := filepath.Join(chart, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.product.Kubectl(t.Context(), "--namespace=rollout", "create", "serviceaccount", "kube-prepull-wait"); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-prepull-wait-rollout"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kube-prepull-wait"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "kube-prepull-wait", Namespace: "rollout"}},
	}
	if _, err := w.Client().RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Client().RbacV1().ClusterRoleBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{}) // the cluster goes
	})
	if err := lab.Helm(t.Context(), w.Cluster, "install", "shop", chart, "--namespace", "rollout", "--set", "image="+image, "--timeout", "4m"); err != nil {
		t.Fatal(err)
	}
	if event := w.PulledEvent(t, "rollout", "helm"); !strings.Contains(event, "already present") {
		t.Errorf("the pod of the release waits: %s", event)
	}
}

// pushPlugin makes an image of the plugin.
func (w waiting) pushPlugin(t *testing.T) string {
	t.Helper()
	reference := w.Registry.Addr() + "/rollout/kubectl-prepull:v1"
	image := images.Image{Binaries: map[string]string{"/kubectl-prepull": w.Binary}, Entrypoint: []string{"/kubectl-prepull"}}
	if _, err := image.Push(t.Context(), reference, remote.WithTransport(w.Registry.Transport())); err != nil {
		t.Fatal(err)
	}
	return reference
}
