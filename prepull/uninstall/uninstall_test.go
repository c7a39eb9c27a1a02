package uninstall_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

const (
	namespace = "infra"
	taintKey  = "kube-prepull.io/warming"
)

var (
	everything = uninstall.Options{Namespace: namespace, Condition: true, TaintKey: taintKey, Installed: true, CRD: true}
	ofChart    = map[string]string{v1alpha1.LabelName: v1alpha1.Name, "helm.sh/chart": "kube-prepull-0.1.0"}
	manager    = map[string]string{v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentWebhook}
)

// meta is that of an object of ours, or of somebody else.
func meta(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}
}

// cluster has a held node, all that kube-prepull leaves, and as much of others that looks like it.
func cluster() []client.Object {
	learned, declared, waited := prepulltest.Learned("app:v1", 1), prepulltest.Declared("declared", "tool:v1"), prepulltest.Declared("waited", "tool:v2")
	waited.Labels = map[string]string{v1alpha1.LabelDeclaredBy: v1alpha1.DeclaredByWait}
	held := prepulltest.Node("held", "amd64")
	held.UID = "u"
	held.Spec.Taints = []corev1.Taint{{Key: "other", Effect: "NoSchedule"}, {Key: taintKey, Effect: "NoSchedule"}}
	held.Status.Conditions = append(held.Status.Conditions, corev1.NodeCondition{Type: v1alpha1.ConditionImagesReady, Status: "False"})
	plain := prepulltest.Node("plain", "amd64")
	objects := []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta("", v1alpha1.Name, ofChart)},
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta("", "other", nil)},
		&appsv1.Deployment{ObjectMeta: meta(namespace, v1alpha1.Name, ofChart)},
		&appsv1.Deployment{ObjectMeta: meta("shop", v1alpha1.Name, nil)},
		&appsv1.DaemonSet{ObjectMeta: meta(namespace, "kube-prepull-1", v1alpha1.PrepullLabels())},
		&appsv1.DaemonSet{ObjectMeta: meta(namespace, "other", nil)},
		&appsv1.DaemonSet{ObjectMeta: meta("shop", "kube-prepull-1", v1alpha1.PrepullLabels())},
		&corev1.Secret{ObjectMeta: meta(namespace, "kube-prepull-pull-1", v1alpha1.PrepullLabels())},
		&corev1.Secret{ObjectMeta: meta(namespace, "sh.helm.release.v1.kube-prepull.v1", map[string]string{"owner": "helm", "name": v1alpha1.Name})},
		&corev1.Secret{ObjectMeta: meta(namespace, "own", map[string]string{v1alpha1.LabelName: v1alpha1.Name})},
		&corev1.ConfigMap{ObjectMeta: meta(namespace, v1alpha1.Name, ofChart)},
		&corev1.ConfigMap{ObjectMeta: meta(namespace, "other", map[string]string{"helm.sh/chart": "other-1"})},
		&batchv1.Job{ObjectMeta: meta(namespace, "kube-prepull-cleanup", ofChart)},
		&corev1.Pod{ObjectMeta: meta(namespace, "kube-prepull-check", nil)},
		&rbacv1.ClusterRole{ObjectMeta: meta("", "kube-prepull-view", ofChart)},
		&rbacv1.ClusterRole{ObjectMeta: meta("", "other", map[string]string{v1alpha1.LabelName: v1alpha1.Name})},
		&coordinationv1.Lease{ObjectMeta: meta(namespace, v1alpha1.Name, nil)},
		&apiextensionsv1.CustomResourceDefinition{ObjectMeta: meta("", "prepullimages.kube-prepull.io", ofChart)},
		&learned, &declared, &waited, &held, &plain,
	}
	for _, name := range []string{"ca", "serving", "issuer", "trust"} {
		objects = append(objects, &corev1.Secret{ObjectMeta: meta(namespace, "kube-prepull-"+name, manager)})
	}
	return objects
}

// stays are the objects that nobody may touch.
var stays = []string{
	"clusterrole other", "configmap infra/other", "daemonset infra/other", "daemonset shop/kube-prepull-1", "deployment shop/kube-prepull",
	"mutatingwebhookconfiguration other", "node held", "node plain", "prepullimage declared", "secret infra/own", "secret infra/sh.helm.release.v1.kube-prepull.v1",
	"taint other of held",
}

// fakeCluster is an API server with what is in cluster.
func fakeCluster(t *testing.T, funcs interceptor.Funcs) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(cluster()...).WithStatusSubresource(&corev1.Node{}).WithInterceptorFuncs(funcs).Build()
}

// left is all that is in a cluster, and what is on its nodes.
func left(t *testing.T, c client.Client) []string {
	t.Helper()
	found := map[string]bool{}
	for _, list := range []client.ObjectList{
		&admissionregistrationv1.MutatingWebhookConfigurationList{}, &appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &batchv1.JobList{},
		&corev1.PodList{}, &rbacv1.ClusterRoleList{}, &coordinationv1.LeaseList{}, &apiextensionsv1.CustomResourceDefinitionList{}, &v1alpha1.PrepullImageList{}, &corev1.NodeList{},
	} {
		if err := c.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		items, err := apimeta.ExtractList(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			o := item.(client.Object)
			found[typeName(item)+" "+strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")] = true
			if n, ok := item.(*corev1.Node); ok {
				for _, taint := range n.Spec.Taints {
					found["taint "+taint.Key+" of "+n.Name] = true
				}
				for _, condition := range n.Status.Conditions {
					if condition.Type != corev1.NodeReady {
						found["condition "+string(condition.Type)+" of "+n.Name] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// typeName is daemonset of a *v1.DaemonSet.
func typeName(o any) string { return strings.ToLower(reflect.TypeOf(o).Elem().Name()) }

func TestWhatIsOursGoesAndNothingElse(t *testing.T) {
	t.Parallel()
	ours := []string{
		"clusterrole kube-prepull-view", "condition kube-prepull.io/ImagesReady of held", "configmap infra/kube-prepull",
		"customresourcedefinition prepullimages.kube-prepull.io", "job infra/kube-prepull-cleanup", "pod infra/kube-prepull-check", "taint kube-prepull.io/warming of held",
	}
	for name, test := range map[string]struct {
		options uninstall.Options
		stays   []string // of ours
	}{
		"all of it":                            {everything, nil},
		"without the CRD":                      {uninstall.Options{Namespace: namespace, Condition: true, TaintKey: taintKey, Installed: true}, ours[3:4]},
		"before Helm deletes what it installs": {uninstall.Options{Namespace: namespace, Condition: true, TaintKey: taintKey}, []string{ours[0], ours[2], ours[3], ours[4], ours[5]}},
		"where nodes have no marks":            {uninstall.Options{Namespace: namespace}, ours},
		"another taint":                        {uninstall.Options{Namespace: namespace, TaintKey: "another"}, ours},
		"another namespace":                    {uninstall.Options{Namespace: "elsewhere", Condition: true, TaintKey: taintKey, Installed: true, CRD: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fakeCluster(t, interceptor.Funcs{})
			var told []string
			test.options.Tell = func(words string) { told = append(told, words) }
			if err := uninstall.Run(t.Context(), c, test.options); err != nil {
				t.Fatal(err)
			}
			want := slices.Sorted(slices.Values(slices.Concat(stays, test.stays)))
			if test.options.Namespace == "elsewhere" {
				want = slices.Sorted(slices.Values(append(withinNamespace(left(t, fakeCluster(t, interceptor.Funcs{}))), withoutNamespace(stays)...)))
			}
			if diff := cmp.Diff(want, left(t, c)); diff != "" {
				t.Errorf("(-want +left):\n%s", diff)
			}
			told = nil
			if err := uninstall.Run(t.Context(), c, test.options); err != nil || len(told) > 0 {
				t.Errorf("the second time %q goes (%v)", told, err)
			}
		})
	}
}

func withinNamespace(things []string) []string {
	return slices.DeleteFunc(things, func(thing string) bool {
		return !strings.Contains(thing, " infra/") && !strings.Contains(thing, " shop/")
	})
}

func withoutNamespace(things []string) []string {
	return slices.DeleteFunc(slices.Clone(things), func(thing string) bool {
		return strings.Contains(thing, " infra/") || strings.Contains(thing, " shop/")
	})
}

// Each thing that goes is told, once and by its name.
func TestWhatGoesIsTold(t *testing.T) {
	t.Parallel()
	var told []string
	o := everything
	o.Tell = func(words string) { told = append(told, words) }
	if err := uninstall.Run(t.Context(), fakeCluster(t, interceptor.Funcs{}), o); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mutatingwebhookconfiguration/kube-prepull deleted", "node/held untainted", "deployment/kube-prepull deleted", "daemonset/kube-prepull-1 deleted",
		"secret/kube-prepull-pull-1 deleted", "secret/kube-prepull-serving deleted", "secret/kube-prepull-issuer deleted", "secret/kube-prepull-trust deleted",
		"secret/kube-prepull-ca deleted", "lease/kube-prepull deleted", "prepullimage/app-v1-", "prepullimage/waited deleted",
		"node/held has no condition kube-prepull.io/ImagesReady any more", "job/kube-prepull-cleanup deleted", "pod/kube-prepull-check deleted", "configmap/kube-prepull deleted", "clusterrole/kube-prepull-view deleted",
		"customresourcedefinition/prepullimages.kube-prepull.io deleted",
	}
	for i, words := range told {
		if strings.HasPrefix(words, "prepullimage/app-v1-") {
			told[i] = "prepullimage/app-v1-" // a hash follows
		}
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}

// What managers make is deleted once they are gone: they would make it again. Nobody waits for them longer than they have.
func TestManagersGoFirst(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		takes, waits time.Duration
		pending      bool
	}{
		"they are gone":               {0, 0, false},
		"they take their time":        {17 * time.Second, 17 * time.Second, false},
		"their node does not answer":  {time.Hour, 40 * time.Second, false},
		"they are gone between looks": {250 * time.Millisecond, 500 * time.Millisecond, false},
		"they wait for their image":   {time.Hour, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var stopped bool
				var madeGone time.Duration
				c := fakeCluster(t, interceptor.Funcs{
					Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
						stopped = stopped || o.GetObjectKind().GroupVersionKind().Kind == "Deployment"
						return c.Delete(ctx, o, opts...)
					},
					DeleteAllOf: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteAllOfOption) error {
						if o.GetObjectKind().GroupVersionKind().Kind == "DaemonSet" {
							if !stopped {
								t.Error("the DaemonSets go before the managers")
							}
							madeGone = time.Since(start)
						}
						return c.DeleteAllOf(ctx, o, opts...)
					},
					List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
						pods, ok := list.(*corev1.PodList)
						if ok && time.Since(start) < test.takes {
							pod := corev1.Pod{ObjectMeta: meta(namespace, "manager", manager), Status: corev1.PodStatus{Phase: corev1.PodRunning}}
							if pod.DeletionTimestamp = new(metav1.Now()); test.pending {
								pod.Status.Phase = corev1.PodPending
							}
							pods.Items = []corev1.Pod{pod}
							return nil
						}
						return c.List(ctx, list, opts...)
					},
				})
				o := everything
				var told []string
				o.Tell = func(words string) { told = append(told, words) }
				if err := uninstall.Run(t.Context(), c, o); err != nil {
					t.Fatal(err)
				}
				if madeGone < test.waits || madeGone > test.waits+time.Second {
					t.Errorf("they were waited for %s, want %s", madeGone, test.waits)
				}
				if said := slices.Contains(told, "pod/manager is still there"); said != (test.waits == 40*time.Second) {
					t.Errorf("it told %q", told)
				}
			})
		})
	}
}

// A dry run tells what the real one does, asks the API server about each thing, waits for nobody, and changes nothing.
func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	told := map[bool][]string{}
	for _, dry := range []bool{true, false} {
		c := fakeCluster(t, interceptor.Funcs{
			// The fake one does not look whether there is something to delete in a dry run.
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
					return err
				}
				return c.Delete(ctx, o, opts...)
			},
		})
		if dry {
			running := &corev1.Pod{ObjectMeta: meta(namespace, "manager", manager), Status: corev1.PodStatus{Phase: corev1.PodRunning}}
			if err := c.Create(t.Context(), running); err != nil {
				t.Fatal(err)
			}
		}
		before := left(t, c)
		o := everything
		o.DryRun = dry
		o.Tell = func(words string) { told[dry] = append(told[dry], words) }
		if err := uninstall.Run(t.Context(), c, o); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, left(t, c)); (diff == "") != dry {
			t.Errorf("dry: %t, and what changes is (-before +after):\n%s", dry, diff)
		}
	}
	if diff := cmp.Diff(told[false], told[true]); diff != "" || len(told[true]) < 10 {
		t.Errorf("a dry run tells something else (-real +dry):\n%s", diff)
	}
}

// Nodes join with the taint at any time, also while managers go.
func TestANodeThatJoinsMeanwhileIsUntainted(t *testing.T) {
	t.Parallel()
	late := prepulltest.Node("late", "amd64")
	late.UID, late.Spec.Taints = "l", []corev1.Taint{{Key: taintKey, Effect: "NoSchedule"}}
	joined := false
	c := fakeCluster(t, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if _, ok := list.(*corev1.PodList); ok && !joined {
			joined = true
			if err := c.Create(ctx, &late); err != nil {
				return err
			}
		}
		return c.List(ctx, list, opts...)
	}})
	for _, o := range []uninstall.Options{{Namespace: namespace, TaintKey: taintKey}, {Namespace: namespace, TaintKey: taintKey, Condition: true}} {
		o.Tell = func(string) {}
		if err := uninstall.Run(t.Context(), c, o); err != nil {
			t.Fatal(err)
		}
		if things := left(t, c); slices.Contains(things, "taint kube-prepull.io/warming of late") || !slices.Contains(things, "node late") {
			t.Errorf("it is held, or not there: %q", things)
		}
		if err := c.Delete(t.Context(), &late); err != nil {
			t.Fatal(err)
		}
		late.ResourceVersion, joined = "", false
		late.Spec.Taints = []corev1.Taint{{Key: taintKey, Effect: "NoSchedule"}}
	}
}

// Whatever request fails, all else is done, and the next time the rest.
func TestWhatFailsIsDoneTheNextTime(t *testing.T) {
	t.Parallel()
	for request := 1; ; request++ {
		count, failed := 0, ""
		fails := func(verb string, o any) error {
			if count++; count != request {
				return nil
			}
			failed = verb + " " + typeName(o)
			return apierrors.NewInternalError(errors.New("no luck"))
		}
		c := fakeCluster(t, interceptor.Funcs{
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				if err := fails("delete", o); err != nil {
					return err
				}
				return c.Delete(ctx, o, opts...)
			},
			DeleteAllOf: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteAllOfOption) error {
				if err := fails("delete all", o); err != nil {
					return err
				}
				return c.DeleteAllOf(ctx, o, opts...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				if err := fails("list", list); err != nil {
					return err
				}
				return c.List(ctx, list, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				if err := fails("patch", o); err != nil {
					return err
				}
				return c.Patch(ctx, o, p, opts...)
			},
		})
		o := everything
		o.Tell = func(string) {}
		err := uninstall.Run(t.Context(), c, o)
		if failed == "" {
			break
		}
		if err == nil || !strings.Contains(err.Error(), "no luck") {
			t.Errorf("%s fails, and the error is %v", failed, err)
		}
		if rest := len(left(t, c)); rest > len(stays)+1 {
			t.Errorf("%s fails, and keeps other things: %q", failed, left(t, c))
		}
		if err := uninstall.Run(t.Context(), c, o); err != nil {
			t.Errorf("%s failed, and the next time: %v", failed, err)
		}
		if diff := cmp.Diff(stays, left(t, c)); diff != "" {
			t.Errorf("%s failed, and the next time (-want +left):\n%s", failed, diff)
		}
	}
}
