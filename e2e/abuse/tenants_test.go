package abuse

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// bystander has a namespace that is pinned and one that is learned, whose users do as ever while others attack.
type bystander struct {
	*siege
	pinned *lab.Pinning
	before []corev1.Pod // the managers
	images uint64
}

// TestTenantsWhoAttackOthers have what a user of an opted-in namespace has: workloads and Secrets of that namespace. What others
// see of it are admissions that are served, images that are on all nodes, and managers that neither restart nor grow.
func TestTenantsWhoAttackOthers(t *testing.T) {
	p := lab.Lease(t)
	b := &bystander{siege: &siege{Product: p}, pinned: p.Pinning(t, "bystander-pins", "tags"), before: p.Managers(t)}
	p.Namespace(t, "bystander", true)
	b.pinned.Versions(t, "app", 1)
	for i := range versions {
		lab.Retag(t, p.Registry, b.pinned.Name+"/app:v1", fmt.Sprint("v", i))
	}
	b.beside(t, "all at once", map[string]func(*testing.T, *lab.Product){
		"huge names":                      hugeNames,
		"huge objects":                    hugeObjects,
		"wrong logins":                    wrongLogins,
		"a secret that changes":           changedSecret,
		"many secrets for one image":      manySecrets,
		"more secrets than there is room": hoardedSecrets,
	})
	// These divide the nodes for all.
	b.beside(t, "alone", map[string]func(*testing.T, *lab.Product){"many labels": manyLabels})
}

// beside runs attacks at the same time, while the bystander's namespaces are used.
func (b *bystander) beside(t *testing.T, name string, attacks map[string]func(*testing.T, *lab.Product)) {
	ctx, end := context.WithCancel(t.Context())
	var h honest
	admitted := make(chan struct{})
	go func() {
		defer close(admitted)
		h.admit(ctx, t, b.pinned, b.pinned.Image("app"))
	}()
	stop := func() {
		end()
		<-admitted
	}
	defer stop()
	t.Run(name, func(t *testing.T) {
		for name, attack := range attacks {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				attack(t, b.Product)
			})
		}
		t.Run("bystander", func(t *testing.T) {
			t.Parallel()
			for i := range 3 {
				b.images++
				image := b.Push(t, fmt.Sprint("bystander/app:v", b.images), images.Image{Seed: 950 + b.images})
				b.Deploy(t, "bystander", lab.Deployment(fmt.Sprint("app-", b.images), image, 0))
				watch := lab.StartStopwatch()
				b.WaitState(t, image, "Ready")
				watch.Within(t, time.Minute, fmt.Sprintf("image %d of the bystander", i+1))
			}
		})
	})
	stop()
	h.check(t, b.AdmissionTime())
	b.wellRunning(t, b.before, maxPeak)
}

// hugeNames are of a pull secret and of an owner. They would be in the status of each image, another tenant's among them.
func hugeNames(t *testing.T, p *lab.Product) {
	p.Namespace(t, "long", true)
	p.Namespace(t, "longs-neighbour", true)
	shared := p.Push(t, "long/shared:v1", images.Image{Seed: 920})
	var all []string
	for i := range 4 {
		lab.Retag(t, p.Registry, "long/shared:v1", fmt.Sprint("own-", i))
		all = append(all, fmt.Sprintf("%s/long/shared:own-%d", p.Registry.Addr(), i))
	}
	d := withImages("long", append(all, shared)...)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: strings.Repeat("s", 300_000)}, {Name: strings.Repeat("t", 300_000)}}
	p.Deploy(t, "long", d)
	yes := true
	owned := lab.PodOn("", "owned", shared)
	owned.Namespace = "long"
	owned.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "none.test/v1", Kind: strings.Repeat("K", 150_000), Name: strings.Repeat("n", 150_000), UID: types.UID(strings.Repeat("u", 150_000)), Controller: &yes,
	}}
	if _, err := p.Client().CoreV1().Pods("long").Create(t.Context(), owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.Deploy(t, "longs-neighbour", lab.Deployment("app", shared, 0))
	for _, image := range append(all, shared) {
		o := p.WaitState(t, image, "Ready")
		if content, err := json.Marshal(o); err != nil || len(content) > 64<<10 {
			t.Errorf("the PrepullImage of %s has %d bytes (%v)", image, len(content), err)
		}
	}
	p.WaitUsers(t, shared, "3")
}

// hugeObjects are nearly as large as etcd takes them. Most are there when their namespace is opted in and read as a whole; the others
// come then. Suspended CronJobs cost the rest of the cluster least: no controller writes them again.
func hugeObjects(t *testing.T, p *lab.Product) {
	const many = 100
	p.Namespace(t, "huge", false)
	image := p.Push(t, "huge/app:v1", images.Image{Seed: 925})
	long := strings.Repeat("x", 1_200_000)
	create := func(i int) error {
		job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("app-", i)}}
		job.Spec.Schedule, job.Spec.Suspend = "0 0 1 1 *", new(bool)
		*job.Spec.Suspend = true
		spec := &job.Spec.JobTemplate.Spec.Template.Spec
		*spec = lab.PodOn("", "app", image).Spec
		spec.RestartPolicy = corev1.RestartPolicyNever
		if i%5 == 0 { // two bytes each in the API server, and eight times as many in memory
			spec.Containers[0].Args = make([]string, 500_000)
		} else {
			spec.Containers[0].Env = []corev1.EnvVar{{Name: "LARGE", Value: long}}
		}
		_, err := p.Client().BatchV1().CronJobs("huge").Create(t.Context(), job, metav1.CreateOptions{})
		return err
	}
	createAll := func(from, to int) {
		var creating errgroup.Group
		creating.SetLimit(4)
		for i := from; i < to; i++ {
			creating.Go(func() error { return create(i) })
		}
		if err := creating.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	createAll(0, many-20)
	optIn := []byte(`{"metadata":{"labels":{"kube-prepull.io/enabled":"true"}}}`)
	if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), "huge", types.MergePatchType, optIn, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	p.WaitUsers(t, image, fmt.Sprint(many-20))
	createAll(many-20, many)
}

// wrongLogins are those of twelve tenants for one registry, of which one is right. Nobody else's image is asked for with any of
// them, on a node that joins either.
func wrongLogins(t *testing.T, p *lab.Product) {
	const tenants = 12
	p.Registry.Private("guarded/*", registry.Auth{User: "tenant-00", Password: "planted-00", Token: true})
	p.Registry.Private("public/*", registry.Auth{User: "tenant-00", Password: "planted-00", Token: true, Anonymous: true})
	guarded := p.Push(t, "guarded/app:v1", images.Image{Seed: 930})
	other := p.Push(t, "elsewhere/app:v1", images.Image{Seed: 931})
	for i := range tenants {
		tenant := fmt.Sprintf("tenant-%02d", i)
		p.Namespace(t, tenant, true)
		password := "planted-00"
		if i > 0 {
			password = "wrong"
		}
		login := map[string]string{"username": tenant, "password": password}
		pullSecret(t, p, tenant, "logins", map[string]any{"*.*": login, "*.*.*.*": login, p.Registry.Addr(): login})
		image := other
		if i == 0 {
			image = guarded
		}
		d := lab.Deployment("app", image, 0)
		d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "logins"}}
		p.Deploy(t, tenant, d)
	}
	p.WaitState(t, guarded, "Ready")
	p.Namespace(t, "everybody", true)
	public := p.Push(t, "public/app:v1", images.Image{Seed: 932})
	p.Deploy(t, "everybody", lab.Deployment("app", public, 0))
	p.WaitState(t, public, "Ready")
	if err := p.AddNode(t.Context(), cluster.Node{Name: "node-3"}); err != nil {
		t.Fatal(err)
	}
	for _, image := range []string{public, guarded} {
		p.WaitOnNodes(t, image, "node-3")
	}
	if err := p.RemoveNode(t.Context(), "node-3"); err != nil {
		t.Fatal(err)
	}
	users := p.Registry.Users()
	for user, requests := range users["public/app"] {
		if user != "" {
			t.Errorf("everybody's image was asked for %d times by %s", requests, user)
		}
	}
	for user, requests := range users["guarded/app"] {
		if user != "" && user != "tenant-00" {
			t.Errorf("the image of tenant-00 was asked for %d times by %s", requests, user)
		}
	}
	// Three nodes ask once before they have a token for anybody and once with it; so does the manager for the size.
	if c := p.Registry.Counts("public/app"); c.ManifestHeads > 8 {
		t.Errorf("everybody's image was asked for %d times, by three nodes and a manager", c.ManifestHeads)
	}
	p.NeverTold(t, "planted-00")
}

// changedSecret is that of one of two tenants who had the same login.
func changedSecret(t *testing.T, p *lab.Product) {
	p.Registry.Private("common/*", registry.Auth{User: "clerk", Password: "planted-01"})
	app := func(tenant, version string, seed uint64) string {
		image := p.Push(t, "common/"+tenant+":"+version, images.Image{Seed: seed})
		d := lab.Deployment("app-"+version, image, 0)
		d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		p.Deploy(t, tenant, d)
		return image
	}
	for i, tenant := range []string{"turncoat", "faithful"} {
		p.Namespace(t, tenant, true)
		p.PullSecret(t, tenant, "registry", corev1.SecretTypeDockerConfigJson, "planted-01")
		p.WaitState(t, app(tenant, "v1", 935+uint64(i)), "Ready")
	}
	wrong := fmt.Sprintf(`{"stringData":{".dockerconfigjson":"{\"auths\":{\"%s\":{\"username\":\"clerk\",\"password\":\"wrong\"}}}"}}`, p.Registry.Addr())
	if _, err := p.Client().CoreV1().Secrets("turncoat").Patch(t.Context(), "registry", types.MergePatchType, []byte(wrong), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the copy of the changed Secret to follow", func() error {
		copies, err := p.Client().CoreV1().Secrets(lab.System).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		changed := base64.StdEncoding.EncodeToString([]byte("clerk:wrong"))
		for _, s := range copies.Items {
			if content := string(s.Data[corev1.DockerConfigJsonKey]); strings.Contains(content, changed) || strings.Contains(content, `"wrong"`) {
				return nil
			}
		}
		return errors.New("none has")
	})
	p.WaitState(t, app("faithful", "v2", 937), "Ready")
}

// manySecrets are named for an image that another tenant's Secret opens.
func manySecrets(t *testing.T, p *lab.Product) {
	p.Namespace(t, "alpha", true)
	p.Namespace(t, "zeta", true)
	p.Registry.Private("coveted/*", registry.Auth{User: "clerk", Password: "planted-02"})
	image := p.Push(t, "coveted/app:v1", images.Image{Seed: 940})
	greedy := lab.Deployment("app", image, 0)
	for i := range 40 {
		greedy.Spec.Template.Spec.ImagePullSecrets = append(greedy.Spec.Template.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: fmt.Sprintf("s%02d", i)})
	}
	p.Deploy(t, "alpha", greedy)
	p.PullSecret(t, "zeta", "registry", corev1.SecretTypeDockerConfigJson, "planted-02")
	d := lab.Deployment("app", image, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	p.Deploy(t, "zeta", d)
	p.WaitState(t, image, "Ready")
}

// hoardedSecrets are more than are copied at all, for images that need none.
func hoardedSecrets(t *testing.T, p *lab.Product) {
	const many = 17 // with 32 each
	p.Namespace(t, "hoarder", true)
	p.Namespace(t, "poor", true)
	p.Push(t, "hoarder/app:v1", images.Image{Seed: 942})
	for i := range many {
		tag := fmt.Sprint("own-", i)
		lab.Retag(t, p.Registry, "hoarder/app:v1", tag)
		d := lab.Deployment(tag, p.Registry.Addr()+"/hoarder/app:"+tag, 0)
		for j := range 32 {
			d.Spec.Template.Spec.ImagePullSecrets = append(d.Spec.Template.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: fmt.Sprintf("%s-%d", tag, j)})
		}
		p.Deploy(t, "hoarder", d)
	}
	p.Registry.Private("poor/*", registry.Auth{User: "clerk", Password: "planted-03"})
	p.PullSecret(t, "poor", "registry", corev1.SecretTypeDockerConfigJson, "planted-03")
	image := p.Push(t, "poor/app:v1", images.Image{Seed: 943})
	d := lab.Deployment("app", image, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	p.Deploy(t, "poor", d)
	p.WaitState(t, image, "Ready")
}

// manyLabels are asked for by one tenant, on nodes that another one has for itself by a label that nodes may not set.
func manyLabels(t *testing.T, p *lab.Product) {
	const pool = "node-restriction.kubernetes.io/pool"
	common := map[string]any{}
	for i := range 70 {
		common[fmt.Sprintf("common-%02d", i)] = "x"
	}
	gone := map[string]any{pool: nil}
	for key := range common {
		gone[key] = nil
	}
	for node, of := range map[string]string{"node-1": "greedy", "node-2": "own"} {
		label(t, p, node, common)
		label(t, p, node, map[string]any{pool: of})
		t.Cleanup(func() { label(t, p, node, gone) })
	}
	p.Namespace(t, "greedy", true)
	p.Namespace(t, "apart", true)
	greedy := lab.Deployment("app", p.Push(t, "greedy/app:v1", images.Image{Seed: 946}), 0)
	var keys []corev1.NodeSelectorRequirement
	for key := range common {
		keys = append(keys, corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpExists})
	}
	slices.SortFunc(keys, func(a, b corev1.NodeSelectorRequirement) int { return strings.Compare(a.Key, b.Key) })
	// An affinity of 4096 bytes is kept.
	for i := 0; i < len(keys); i += 35 {
		d := greedy.DeepCopy()
		d.Name = fmt.Sprint("app-", i)
		d.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: keys[i:min(i+35, len(keys))]}},
		}}}
		p.Deploy(t, "greedy", d)
	}
	p.WaitState(t, greedy.Spec.Template.Spec.Containers[0].Image, "Ready")
	p.Registry.Private("apart/*", registry.Auth{User: "clerk", Password: "planted-04"})
	p.PullSecret(t, "apart", "registry", corev1.SecretTypeDockerConfigJson, "planted-04")
	image := p.Push(t, "apart/app:v1", images.Image{Seed: 947})
	d := lab.Deployment("app", image, 0)
	d.Spec.Template.Spec.NodeSelector = map[string]string{pool: "own"}
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	p.Deploy(t, "apart", d)
	p.WaitState(t, image, "Ready")
	p.WaitOnNodes(t, image, "node-2")
	for _, pod := range p.PrepullPods(t) {
		if pod.Spec.NodeName == "node-1" && (lab.PullsImage(&pod.Spec, image) || len(pod.Spec.ImagePullSecrets) > 0) {
			t.Errorf("%s on node-1 has the image or a pull secret of those who are apart", pod.Name)
		}
	}
}

// withImages is a Deployment without replicas of several images.
func withImages(name string, all ...string) *appsv1.Deployment {
	d := lab.Deployment(name, all[0], 0)
	for i, image := range all[1:] {
		c := d.Spec.Template.Spec.Containers[0]
		c.Name, c.Image = fmt.Sprint("app-", i), image
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, c)
	}
	return d
}

// pullSecret makes one with entries.
func pullSecret(t *testing.T, p *lab.Product, namespace, name string, entries map[string]any) {
	t.Helper()
	content, err := json.Marshal(map[string]any{"auths": entries})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: content},
	}
	if _, err := p.Client().CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// label gives a node labels, or takes those away whose value is nil.
func label(t *testing.T, p *lab.Product, node string, labels map[string]any) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Client().CoreV1().Nodes().Patch(context.Background(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}
