package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// says runs the plugin, which must succeed and print some words.
func (p plugin) says(t *testing.T, args []string, words ...string) {
	t.Helper()
	stdout, stderr, code := p.Run(t, args...)
	for _, w := range words {
		if !strings.Contains(stdout, w) {
			t.Errorf("%v ends with %d and does not say %q:\n%s%s", args, code, w, stdout, stderr)
		}
	}
	if code != 0 {
		t.Errorf("%v ends with %d: %s", args, code, stderr)
	}
}

// refuses runs the plugin, which must fail with one sentence that contains some words.
func (p plugin) refuses(t *testing.T, wantCode int, args []string, words string) {
	t.Helper()
	stdout, stderr, code := p.Run(t, args...)
	if code != wantCode || stdout != "" || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, words) {
		t.Errorf("%v ends with %d, want %d and %q:\n%s%s", args, code, wantCode, words, stdout, stderr)
	}
	if wantCode == 1 && strings.Count(stderr, "\n") != 1 {
		t.Errorf("%v says more than a sentence:\n%s", args, stderr)
	}
}

// TestThePluginTellsWhatIsThere asks about an image that is on the nodes and one that cannot be pulled.
func TestThePluginTellsWhatIsThere(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	k := plugin{lab.PluginFor(t, p.Cluster)}
	p.Namespace(t, "plugin", true)
	p.Namespace(t, "plugin-out", false)
	good := p.Push(t, "plugin/good:v1", images.Image{Seed: 301, Size: 8 << 20})
	outside := p.Push(t, "plugin/outside:v1", images.Image{Seed: 302})
	missing := p.Registry.Addr() + "/plugin/missing:v1"
	p.Deploy(t, "plugin", lab.Deployment("good", good, 1))
	p.Deploy(t, "plugin", lab.Deployment("missing", missing, 1))
	p.Deploy(t, "plugin-out", lab.Deployment("outside", outside, 1))
	p.WaitState(t, good, "Ready")
	bad := p.WaitState(t, missing, "PullFailed")
	learned := p.podOf(t, "plugin", "good")
	p.PulledEvent(t, "plugin", learned)
	p.PulledEvent(t, "plugin-out", p.podOf(t, "plugin-out", "outside"))

	var status struct {
		Problems []struct{ Kind, Name, Message string }
		Manager  struct{ Ready int }
		Images   struct{ Total, Ready, Failing int }
		Nodes    struct{ Total int }
		LastHour struct{ Count, Hits int }
	}
	// Other tests delete what is on the nodes meanwhile.
	lab.Eventually(t, "the status", func() error {
		k.Asks(t, &status, "status")
		if status.Images.Ready < 1 || status.Images.Failing < 1 || status.Nodes.Total != 2 || status.Manager.Ready < 1 || status.LastHour.Count < 1 {
			return fmt.Errorf("it is %+v", status)
		}
		return nil
	})
	if !slices.ContainsFunc(status.Problems, func(p struct{ Kind, Name, Message string }) bool {
		return p.Name == missing && strings.HasPrefix(p.Message, "NotFound: ")
	}) {
		t.Errorf("the image that is missing is no problem: %+v", status.Problems)
	}
	k.says(t, []string{"status"}, "image "+missing+": NotFound: ", "NODES       2", "LAST HOUR   ", "CLASS")
	k.says(t, []string{"images"}, good+" ", "Failing: NotFound")
	k.says(t, []string{"nodes", "-o", "wide"}, "node-1", "node-2", "CLASS")
	k.says(t, []string{"images", "-o", "yaml"}, "  image: "+good+"\n", "state: Failing\n")

	var image struct {
		State   string
		Users   []struct{ Kind, Namespace, Name string }
		OnNodes []struct {
			Node, State string
			Seconds     float64
		}
		LastStarts []struct{ Pod string }
	}
	lab.Eventually(t, "the image's explanation", func() error {
		k.Asks(t, &image, "explain", "plugin/good")
		if image.State != "Ready" || len(image.Users) != 1 || image.Users[0].Name != "good" || len(image.LastStarts) < 1 || image.LastStarts[0].Pod != learned {
			return fmt.Errorf("it is %+v", image)
		}
		for _, n := range image.OnNodes {
			if n.State != "Ready" {
				return fmt.Errorf("on %s it is %s", n.Node, n.State)
			}
		}
		return nil
	})
	k.says(t, []string{"explain", bad.GetName()}, "STATE        Failing: NotFound, on 0 of 2 nodes", "1 failure in a row, next try in ", "Deployment plugin/missing", "failed to resolve image")
	k.says(t, []string{"explain", "pod/" + learned, "-n", "plugin"}, "the namespace is opted in", "IMAGE        "+good, "STATE        Ready", "START")
	k.says(t, []string{"explain", "pod/" + p.podOf(t, "plugin-out", "outside"), "-n", "plugin-out"}, "waited", "the namespace is not opted in: kubectl label namespace plugin-out")
	k.says(t, []string{"explain", "node/node-1"}, "CLASS        linux-", good, "LAST STARTS")

	k.refuses(t, 1, []string{"explain", "elsewhere/good:v2"}, "knows no image \"elsewhere/good:v2\"; it knows "+good)
	k.refuses(t, 1, []string{"explain", outside}, "pods use it in namespaces that are not opted in (plugin-out): kubectl label namespace plugin-out kube-prepull.io/enabled=true")
	k.refuses(t, 1, []string{"explain", "/plugin/"}, "is a part of 2 images: ")
	k.refuses(t, 1, []string{"explain", "pod/nobody"}, `there is no pod nobody in namespace default`)
	k.refuses(t, 1, []string{"explain", "node/nobody"}, `nodes "nobody" not found`)
	k.refuses(t, 1, []string{"status", "--as", "somebody"}, `User "somebody" cannot list resource "prepullimages"`)
	k.refuses(t, 2, []string{"status", "-o", "xml"}, "must be one of table, wide, json, yaml")

	stdout, _, _ := k.Run(t, "__complete", "explain", p.Registry.Addr()+"/plugin/")
	if !strings.Contains(stdout, good+"\n") || !strings.Contains(stdout, missing+"\n") {
		t.Errorf("completion of images proposes\n%s", stdout)
	}
	if stdout, _, _ = k.Run(t, "__complete", "explain", "node/"); !strings.Contains(stdout, "node/node-1\nnode/node-2\n") {
		t.Errorf("completion of nodes proposes\n%s", stdout)
	}
	if stdout, _, _ = k.Run(t, "__complete", "-n", "plugin", "explain", "pod/good"); !strings.Contains(stdout, "pod/"+learned+"\n") {
		t.Errorf("completion of pods proposes\n%s", stdout)
	}
	p.viewerSeesAll(t, k, learned)
}

// viewerSeesAll asks as somebody who has the role that the chart offers, and nothing else.
func (p product) viewerSeesAll(t *testing.T, k plugin, pod string) {
	t.Helper()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "plugin-viewer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kube-prepull-view"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "viewer"}},
	}
	if _, err := p.Client().RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Client().RbacV1().ClusterRoleBindings().Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, "the role to be granted", func() error {
		if _, stderr, code := k.Run(t, "images", "--as", "viewer"); code != 0 {
			return errors.New(stderr)
		}
		return nil
	})
	for _, args := range [][]string{{"status"}, {"nodes"}, {"explain", "plugin/good"}, {"explain", "node/node-1"}, {"explain", "pod/" + pod, "-n", "plugin"}} {
		if stdout, stderr, code := k.Run(t, append(args, "--as", "viewer")...); code != 0 || strings.Contains(stdout, "not known: ") {
			t.Errorf("as a viewer, %v ends with %d:\n%s%s", args, code, stdout, stderr)
		}
	}
	k.refuses(t, 1, []string{"ungate", "--all", "--as", "somebody"}, `cannot list resource "nodes"`)
}

// podOf is the name of the only pod of a Deployment.
func (p product) podOf(t *testing.T, namespace, name string) string {
	t.Helper()
	var pod string
	lab.Eventually(t, "the pod of "+name, func() error {
		pods, err := p.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
		if err != nil || len(pods.Items) != 1 {
			return fmt.Errorf("there are %d (%v)", len(pods.Items), err)
		}
		pod = pods.Items[0].Name
		return nil
	})
	return pod
}

// TestThePluginWhereNothingElseIs untaints nodes in a cluster without manager, webhook and CRD, while others write them.
func TestThePluginWhereNothingElseIs(t *testing.T) {
	t.Parallel()
	c := lab.UpCluster(t, cluster.Options{ControlPlaneOnly: true})
	k := plugin{lab.PluginFor(t, c)}
	const ours, theirs, other = "kube-prepull.io/warming", "example.com/theirs", "startup-taint.cluster-autoscaler.kubernetes.io/images"
	node := func(name string, keys ...string) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, key := range keys {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		}
		if _, err := c.Client().CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	node("busy", theirs, ours)
	node("new", ours)
	node("plain", theirs)
	node("named", other)

	for _, args := range [][]string{{"status"}, {"images"}, {"nodes"}, {"explain", "nginx"}, {"explain", "node/new"}, {"export"}, {"wait", "nginx"}} {
		k.refuses(t, 1, args, "kube-prepull is not installed in this cluster: it has no kind PrepullImage. Install it: helm install kube-prepull")
	}
	k.refuses(t, 1, []string{"status", "--server", "https://127.0.0.1:1"}, "is the cluster of the current context running?")
	k.refuses(t, 1, []string{"status", "--context", "nowhere"}, `context "nowhere" does not exist`)
	k.refuses(t, 2, []string{"ungate"}, "name nodes, or give --all")
	k.refuses(t, 2, []string{"ungate", "new", "--all"}, "name nodes, or give --all")

	// Another writer replaces the taints of a node all the time, as controllers do.
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		writes := 0
		defer func() { stopped <- writes }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, err := c.Client().CoreV1().Nodes().Get(t.Context(), "busy", metav1.GetOptions{})
			if err != nil {
				continue
			}
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, "example.com/writes", fmt.Sprint(writes+1))
			if _, err := c.Client().CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err == nil {
				writes++
			}
		}
	}()
	k.says(t, []string{"ungate", "plain"}, "node/plain has no taint "+ours)
	k.says(t, []string{"ungate", "--all"}, "node/busy untainted\nnode/new untainted\n")
	k.says(t, []string{"ungate", "--all"}, "no node has the taint "+ours)
	close(stop)
	writes := <-stopped
	k.says(t, []string{"ungate", "named", "--taint", other}, "node/named untainted")
	if stdout, stderr, code := k.Run(t, "ungate", "nobody", "plain"); code != 1 || !strings.Contains(stderr, `node/nobody: nodes "nobody" not found`) || !strings.Contains(stdout, "node/plain ") {
		t.Errorf("a node that is not there: exit code %d\n%s%s", code, stdout, stderr)
	}
	for name, want := range map[string]bool{"busy": true, "new": false, "plain": true, "named": false} {
		n, err := c.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		has := func(key string) bool {
			return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
		}
		if has(ours) || has(other) || has(theirs) != want {
			t.Errorf("node %s has the taints %v", name, n.Spec.Taints)
		}
		if name == "busy" && n.Annotations["example.com/writes"] != fmt.Sprint(writes) {
			t.Errorf("of %d writes of somebody else, %s are there", writes, n.Annotations["example.com/writes"])
		}
	}
}
