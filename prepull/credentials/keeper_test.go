package credentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// vault is a cluster with pull secrets, and what was asked of it.
type vault struct {
	client.Client
	*Keeper
	gets          atomic.Int64 // several are read at the same time
	lists, writes int

	// refuses is the answer to a read of a Secret; nil lets it through.
	refuses error
	log     bytes.Buffer
}

func newVault(t *testing.T, objects ...client.Object) *vault {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	v := &vault{}
	for _, name := range []string{"shop", "web"} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelEnabled: v1alpha1.Enabled}}})
	}
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "private"}})
	v.Client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, secret := o.(*corev1.Secret); secret {
				v.gets.Add(1)
				if v.refuses != nil {
					return v.refuses
				}
			}
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			o := (&client.ListOptions{}).ApplyOptions(opts)
			if _, secrets := list.(*corev1.SecretList); secrets && (o.Namespace != "kube-prepull" || o.LabelSelector == nil) {
				return errors.New("secrets of another namespace are listed")
			}
			v.lists++
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			v.writes++
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			v.writes++
			return c.Patch(ctx, o, p, opts...)
		},
	}).Build()
	v.newLeader()
	return v
}

// newLeader forgets what is remembered.
func (v *vault) newLeader() {
	v.Keeper = newKeeper(v.Client, v.Client, Options{Namespace: "kube-prepull", Enabled: true, Clocks: clock.Production()})
}

func loginSecret(namespace, name, password string) *corev1.Secret {
	s := secretOf(fmt.Sprintf(`{"auths":{"r.test":{"username":"u","password":%q}}}`, password))
	s.Namespace, s.Name = namespace, name
	return s
}

func secretRef(namespace, name string) v1alpha1.SecretReference {
	return v1alpha1.SecretReference{Namespace: namespace, Name: name}
}

// pass syncs with references that are needed; those with a ! belong to an image that is denied.
func (v *vault) pass(t *testing.T, now time.Time, daemonSets []*appsv1.DaemonSet, refs ...string) (time.Time, error) {
	t.Helper()
	needed := map[plan.Key]plan.Use{}
	for _, text := range refs {
		ref, _ := parseReference(strings.TrimSuffix(text, "!"))
		needed[plan.Key{Secret: ref, Repository: "r.test/app"}] = plan.UseLogin
		if strings.HasSuffix(text, "!") {
			needed[plan.Key{Secret: ref, Repository: "r.test/app"}] = plan.UseDenied
		}
	}
	ctx := log.IntoContext(t.Context(), logr.FromSlogHandler(slog.NewTextHandler(&v.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return v.sync(ctx, need{keys: needed, named: namedCopies(daemonSets), current: true}, now)
}

func (v *vault) mustPass(t *testing.T, now time.Time, daemonSets []*appsv1.DaemonSet, refs ...string) time.Time {
	t.Helper()
	next, err := v.pass(t, now, daemonSets, refs...)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// contents are those of the copies.
func (v *vault) contents(t *testing.T) []string {
	t.Helper()
	var list corev1.SecretList
	if err := v.Client.List(t.Context(), &list, client.InNamespace("kube-prepull"), client.MatchingLabels(v1alpha1.PrepullLabels())); err != nil {
		t.Fatal(err)
	}
	var contents []string
	for i := range list.Items {
		if s := &list.Items[i]; s.Type != corev1.SecretTypeDockerConfigJson {
			t.Errorf("%s has type %s", s.Name, s.Type)
		}
		contents = append(contents, string(list.Items[i].Data[corev1.DockerConfigJsonKey]))
	}
	return contents
}

func (v *vault) rotate(t *testing.T, namespace, name, password string) {
	t.Helper()
	if err := v.Client.Update(t.Context(), loginSecret(namespace, name, password)); err != nil {
		t.Fatal(err)
	}
}

func TestAPullSecretIsCopiedAndFollowed(t *testing.T) {
	t.Parallel()
	v := newVault(t, loginSecret("shop", "login", "old"), loginSecret("web", "login", "old"))
	v.mustPass(t, prepulltest.Noon, nil, "shop/login", "web/login")
	first := v.contents(t)
	name := v.pulls.Copies[secretRef("shop", "login")]
	if len(first) != 2 || first[0] != `{"auths":{"r.test/app":{"username":"u","password":"old"}}}` || name == "" || v.pulls.Copies[secretRef("web", "login")] == name {
		t.Fatalf("copies %d, %+v", len(first), v.pulls)
	}
	gets, writes := v.gets.Load(), v.writes
	for second := range 299 {
		v.mustPass(t, prepulltest.Noon.Add(time.Duration(second)*time.Second), nil, "shop/login", "web/login")
	}
	if v.gets.Load() != gets || v.writes != writes {
		t.Errorf("%d reads and %d writes while nothing is due", v.gets.Load()-gets, v.writes-writes)
	}
	v.rotate(t, "shop", "login", "new")
	now := prepulltest.Noon.Add(clock.Production().SecretInterval)
	v.mustPass(t, now, nil, "shop/login", "web/login")
	if got := strings.Join(v.contents(t), ""); strings.Count(got, "new") != 1 || strings.Count(got, "old") != 1 {
		t.Errorf("not just the one copy follows")
	}
	if got := v.pulls; got.Copies[secretRef("shop", "login")] != name || !got.Changed[name].Equal(now) {
		t.Errorf("the copy is another one, or not known to have changed: %+v", got)
	}

	// Another leader finds everything as it should be.
	before := v.pulls
	v.newLeader()
	writes = v.writes
	v.mustPass(t, now.Add(time.Minute), nil, "shop/login", "web/login")
	if !v.pulls.Equal(before) || v.writes != writes {
		t.Errorf("a new leader has %+v, want %+v, after %d writes", v.pulls, before, v.writes-writes)
	}
}

func TestADeniedImagesPullSecretIsReadEveryMinute(t *testing.T) {
	t.Parallel()
	v := newVault(t, loginSecret("shop", "login", "old"))
	v.mustPass(t, prepulltest.Noon, nil, "shop/login")
	v.rotate(t, "shop", "login", "new")
	if next := v.mustPass(t, prepulltest.Noon.Add(30*time.Second), nil, "shop/login!"); !next.Equal(prepulltest.Noon.Add(time.Minute)) {
		t.Errorf("it is read next at %v", next)
	}
	v.mustPass(t, prepulltest.Noon.Add(time.Minute), nil, "shop/login!")
	if got := v.contents(t); len(got) != 1 || !strings.Contains(got[0], "new") || v.gets.Load() != 2 {
		t.Errorf("%d reads, and the copy does not follow", v.gets.Load())
	}
}

func TestWhyAPullSecretCannotBeHad(t *testing.T) {
	t.Parallel()
	opaque := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "opaque"}, Type: corev1.SecretTypeOpaque}
	v := newVault(t, loginSecret("private", "login", "planted"), opaque)
	v.mustPass(t, prepulltest.Noon, nil, "shop/none", "shop/opaque", "private/login", "nowhere/login", "kube-prepull/login")
	for ref, want := range map[v1alpha1.SecretReference]string{
		secretRef("shop", "none"):          "does not exist",
		secretRef("shop", "opaque"):        "is not of a type for pulling images",
		secretRef("private", "login"):      "is in a namespace that is not opted in",
		secretRef("nowhere", "login"):      "is in a namespace that is not opted in",
		secretRef("kube-prepull", "login"): "is in a namespace that is not opted in",
	} {
		if got := v.pulls.Problems[ref]; got != want {
			t.Errorf("%v %q, want %q", ref, got, want)
		}
	}
	if v.gets.Load() != 2 || len(v.contents(t)) != 0 {
		t.Errorf("%d Secrets were read and %d copied, want the 2 of opted-in namespaces read", v.gets.Load(), len(v.contents(t)))
	}
	v.refuses = apierrors.NewForbidden(corev1.Resource("secrets"), "login", errors.New("no"))
	v.mustPass(t, prepulltest.Noon, nil, "shop/login")
	if got := v.pulls.Problems[secretRef("shop", "login")]; got != "may not be read by kube-prepull" {
		t.Errorf("it %q", got)
	}
}

func TestAReadThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	v := newVault(t, loginSecret("shop", "login", "old"), loginSecret("web", "other", "other"))
	v.mustPass(t, prepulltest.Noon, nil, "shop/login")
	before := v.pulls
	v.refuses = apierrors.NewInternalError(errors.New("etcd is slow"))
	next, err := v.pass(t, prepulltest.Noon.Add(clock.Production().SecretInterval), nil, "shop/login", "web/other")
	if err == nil || !strings.Contains(err.Error(), "reading the pull secret shop/login: ") || !next.Equal(prepulltest.Noon.Add(clock.Production().SecretInterval+clock.Production().SecretRetry)) {
		t.Errorf("next at %v, error %v", next, err)
	}
	if !v.pulls.Equal(before) {
		t.Errorf("%+v, want %+v", v.pulls, before)
	}
	c := &plan.Candidate{PullSecrets: []v1alpha1.SecretReference{secretRef("web", "other")}}
	if !v.pulls.Access(c).Awaited {
		t.Error("an image does not wait for a pull secret that is yet to be read")
	}
}

func TestACopyGoesWhenNoDaemonSetNamesIt(t *testing.T) {
	t.Parallel()
	foreign := loginSecret("kube-prepull", "somebody-elses", "x")
	foreign.Labels = v1alpha1.PrepullLabels()
	v := newVault(t, loginSecret("shop", "login", "old"), foreign)
	v.mustPass(t, prepulltest.Noon, nil, "shop/login")
	name := v.pulls.Copies[secretRef("shop", "login")]
	ds := &appsv1.DaemonSet{}
	ds.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: name}}
	v.mustPass(t, prepulltest.Noon, []*appsv1.DaemonSet{ds})
	if len(v.contents(t)) != 2 || len(v.pulls.Copies) != 0 {
		t.Errorf("the copy is gone, or still used: %+v", v.pulls)
	}
	v.mustPass(t, prepulltest.Noon, nil)
	if got := v.contents(t); len(got) != 1 || !strings.Contains(got[0], "x") {
		t.Errorf("%d copies are left", len(got))
	}
}

func TestACopyThatSomebodyDeletesOrChangesIsMadeAgain(t *testing.T) {
	t.Parallel()
	v := newVault(t, loginSecret("shop", "login", "right"))
	v.mustPass(t, prepulltest.Noon, nil, "shop/login")
	name := v.pulls.Copies[secretRef("shop", "login")]
	copied := &corev1.Secret{}
	if err := v.Client.Get(t.Context(), client.ObjectKey{Namespace: "kube-prepull", Name: name}, copied); err != nil {
		t.Fatal(err)
	}
	copied.Data[corev1.DockerConfigJsonKey] = []byte(`{"auths":{}}`)
	if err := v.Client.Update(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	v.mustPass(t, prepulltest.Noon.Add(clock.Production().SecretInterval), nil, "shop/login")
	if got := v.contents(t); len(got) != 1 || !strings.Contains(got[0], "right") {
		t.Error("a changed copy stays")
	}
	if err := v.Client.Delete(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	v.mustPass(t, prepulltest.Noon.Add(2*clock.Production().SecretInterval), nil, "shop/login")
	if got := v.contents(t); len(got) != 1 || v.pulls.Copies[secretRef("shop", "login")] != name {
		t.Error("a deleted copy is not made again")
	}
}

func TestNotMorePullSecretsThanTheLimit(t *testing.T) {
	t.Parallel()
	var refs []string
	for i := range maxSources + 1 {
		refs = append(refs, fmt.Sprintf("shop/login-%04d", i))
	}
	last := secretRef("shop", fmt.Sprintf("login-%04d", maxSources))
	v := newVault(t, loginSecret(last.Namespace, last.Name, "x"))
	v.mustPass(t, prepulltest.Noon, nil, last.String())
	v.gets.Store(0)
	v.newLeader()
	v.mustPass(t, prepulltest.Noon, nil, refs...)
	if v.gets.Load() != maxSources || v.pulls.Copies[last] == "" {
		t.Errorf("%d reads; what is copied must stay", v.gets.Load())
	}
	if got := v.pulls.Problems[secretRef("shop", fmt.Sprintf("login-%04d", maxSources-1))]; got != "is one too many: 500 are used at most" {
		t.Errorf("the one too many %q", got)
	}
}

func TestNobodyTakesThePullSecretsOfOthers(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	needed := map[v1alpha1.SecretReference]bool{secretRef("web", "login"): false}
	v.copies = map[string]pullCopy{}
	for i := range 600 {
		ref := secretRef("shop", fmt.Sprintf("login-%04d", i))
		needed[ref] = true
		v.copies[ref.Name] = pullCopy{name: ref.Name, Source: ref}
	}
	refs, excess := v.bounded(needed)
	if len(refs) != maxSources || !slices.Contains(refs, secretRef("web", "login")) || len(excess) != 101 {
		t.Errorf("%d are used, %d are not", len(refs), len(excess))
	}
}

func TestSwitchedOffTheCopiesGo(t *testing.T) {
	t.Parallel()
	v := newVault(t, loginSecret("shop", "login", "old"))
	v.mustPass(t, prepulltest.Noon, nil, "shop/login")
	ds := &appsv1.DaemonSet{}
	ds.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: v.pulls.Copies[secretRef("shop", "login")]}}
	v.newLeader()
	v.off = true
	gets, lists := v.gets.Load(), v.lists
	v.mustPass(t, prepulltest.Noon, []*appsv1.DaemonSet{ds}, "shop/login")
	if len(v.contents(t)) != 1 {
		t.Error("a copy is gone that a DaemonSet names")
	}
	v.mustPass(t, prepulltest.Noon, nil, "shop/login")
	if len(v.contents(t)) != 0 || v.gets.Load() != gets || v.lists != lists+2 || !v.pulls.Off {
		t.Error("the copies stay, or Secrets are read")
	}
}

// TestNoPlantedSecretIsTold goes through everything that can go wrong and looks at all that is said of it.
func TestNoPlantedSecretIsTold(t *testing.T) {
	t.Parallel()
	const planted = "pl4nt3d"
	broken := secretOf(`{"auths": {"r.test": "` + planted + `"}, ` + planted + `}`)
	broken.Namespace, broken.Name = "shop", "broken"
	v := newVault(t, loginSecret("shop", "login", planted), broken)
	var said strings.Builder
	say := func(now time.Time, refs ...string) {
		_, err := v.pass(t, now, nil, refs...)
		fmt.Fprintln(&said, err, v.pulls)
		for _, o := range []string{"shop/login", "shop/broken"} {
			ref, _ := parseReference(o)
			fmt.Fprintln(&said, v.pulls.Access(&plan.Candidate{PullSecrets: []v1alpha1.SecretReference{ref}}))
		}
	}
	say(prepulltest.Noon, "shop/login", "shop/broken")
	v.rotate(t, "shop", "login", planted+"2")
	v.newLeader()
	v.client = interceptor.NewClient(v.client.(client.WithWatch), interceptor.Funcs{
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return errors.New("the API server is full")
		},
	})
	say(prepulltest.Noon.Add(clock.Production().SecretInterval), "shop/login", "shop/broken")
	v.refuses = errors.New("the API server is away")
	say(prepulltest.Noon.Add(2*clock.Production().SecretInterval), "shop/login", "shop/broken")
	if text := said.String() + v.log.String(); strings.Contains(text, planted) || !strings.Contains(text, "full") || !strings.Contains(text, "away") {
		t.Errorf("it was said:\n%s", text)
	}
	if v.log.Len() == 0 {
		t.Error("nothing was logged")
	}
}

func secretOf(content string) *corev1.Secret {
	return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(content)}}
}
