package credentials

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// woken takes the event out of a channel, if there is one.
func woken(c chan event.GenericEvent) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (v *vault) reconcile(t *testing.T) {
	t.Helper()
	if _, err := v.Reconcile(t.Context(), reconcile.Request{}); err != nil {
		t.Fatal(err)
	}
}

func naming(copies ...string) []*appsv1.DaemonSet {
	ds := &appsv1.DaemonSet{}
	for _, name := range copies {
		ds.Spec.Template.Spec.ImagePullSecrets = append(ds.Spec.Template.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return []*appsv1.DaemonSet{ds}
}

func TestNobodyIsWokenForWhatIsKnown(t *testing.T) {
	t.Parallel()
	v := newVault(t, loginSecret("shop", "login", "old"))
	v.reconcile(t)
	if v.gets.Load()+int64(v.lists) > 0 || v.Known().Complete {
		t.Error("it is looked for pull secrets before anybody needs one")
	}
	needed := map[plan.Key]plan.Use{{Secret: secretRef("shop", "login"), Repository: "r.test/app"}: plan.UseLogin}
	v.Need(v.Known(), needed, nil)
	if !woken(v.asks) {
		t.Error("a new need wakes nobody")
	}
	v.Need(v.Known(), needed, nil)
	if woken(v.asks) {
		t.Error("the same need wakes the keeper")
	}
	v.reconcile(t)
	known := v.Known()
	if name := known.Pulls.Copies[secretRef("shop", "login")]; !woken(v.changes) || !known.Complete || name == "" {
		t.Errorf("known is %+v", known)
	}
	v.reconcile(t)
	if woken(v.changes) {
		t.Error("whoever plans is woken for nothing")
	}
}

// A plan may be made with what was known a moment ago, and its DaemonSet name a copy that nobody needs any more.
func TestACopyStaysUntilAPlanWasMadeWithoutIt(t *testing.T) {
	t.Parallel()
	v := newVault(t, loginSecret("shop", "login", "old"))
	needed := map[plan.Key]plan.Use{{Secret: secretRef("shop", "login"), Repository: "r.test/app"}: plan.UseLogin}
	v.Need(v.Known(), needed, nil)
	v.reconcile(t)
	before := v.Known()
	name := before.Pulls.Copies[secretRef("shop", "login")]
	v.Need(before, nil, nil)
	v.reconcile(t)
	if v.Known().Pulls.Copies[secretRef("shop", "login")] != "" || len(v.contents(t)) != 1 {
		t.Error("the copy is known still, or gone while a plan may name it that was made before")
	}
	woken(v.asks)
	v.Need(v.Known(), nil, nil)
	if !woken(v.asks) {
		t.Error("a plan without the copy does not wake the keeper")
	}
	v.reconcile(t)
	if len(v.contents(t)) != 0 {
		t.Error("the copy stays")
	}

	v.Need(v.Known(), needed, nil)
	v.reconcile(t)
	old := v.Known()
	v.rotate(t, "shop", "login", "new")
	v.Need(old, nil, naming(name))
	v.reconcile(t)
	if len(v.contents(t)) != 1 {
		t.Fatal("a copy is gone that a DaemonSet names")
	}
	v.Need(old, nil, nil)
	v.reconcile(t)
	if len(v.contents(t)) != 1 {
		t.Error("a copy is gone that a plan may name which was made before")
	}
	v.Need(v.Known(), nil, nil)
	v.reconcile(t)
	if left := v.contents(t); len(left) != 0 {
		t.Errorf("the copy stays: %s", strings.Join(left, " "))
	}
}
