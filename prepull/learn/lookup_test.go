package learn

import (
	"strings"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

var comparePlaces = cmp.AllowUnexported(lookupKey{})

func TestPlaceOf(t *testing.T) {
	t.Parallel()
	ofLength := func(n int) string { return strings.Repeat("x", n) }
	long := ofLength(maxField + 1)
	hash := map[string]string{"pod-template-hash": "5d9c", "app": "api"}
	for name, test := range map[string]struct {
		hint workload.Hint
		want lookupKey // nowhere if empty
	}{
		"a Deployment": {workload.Hint{Kind: "Deployment", Namespace: "shop", Name: "api"}, lookupKey{kind: "Deployment", namespace: "shop", name: "api"}},
		"a job of a CronJob is looked at by its name": {
			workload.Hint{Kind: "Job", Namespace: "shop", Name: "sum-29", OwnerKind: "CronJob", OwnerUID: "u"}, lookupKey{kind: "Job", namespace: "shop", name: "sum-29"},
		},
		"a job without a name": {workload.Hint{Kind: "Job", Namespace: "shop", GenerateName: "sum-"}, lookupKey{}},
		"a bare pod":           {workload.Hint{Kind: "Pod", Namespace: "shop", Name: "api", Labels: hash}, lookupKey{kind: "Pod", namespace: "shop", name: "api"}},
		"a mirror pod":         {workload.Hint{Kind: "Pod", Namespace: "shop", Name: "etcd", OwnerKind: "Node", OwnerUID: "u"}, lookupKey{kind: "Pod", namespace: "shop", name: "etcd"}},
		"a bare pod without a name": {
			workload.Hint{Kind: "Pod", Namespace: "shop", GenerateName: "run-", Labels: map[string]string{"b": "2", "a": "1"}},
			lookupKey{kind: "Pod", namespace: "shop", generateName: "run-", selector: "a=1,b=2"},
		},
		"a pod of a ReplicaSet": {
			workload.Hint{Kind: "Pod", Namespace: "shop", GenerateName: "api-5d9c-", OwnerKind: "ReplicaSet", OwnerUID: "u", Labels: hash},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u", selector: "pod-template-hash=5d9c", revision: true},
		},
		"a pod of a StatefulSet, which has a name": {
			workload.Hint{Kind: "Pod", Namespace: "shop", Name: "db-0", OwnerKind: "StatefulSet", OwnerUID: "u", Labels: map[string]string{"controller-revision-hash": "db-7"}},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u", selector: "controller-revision-hash=db-7", revision: true},
		},
		"a pod of a job": {
			workload.Hint{Kind: "Pod", Namespace: "shop", OwnerKind: "Job", OwnerUID: "u", Labels: map[string]string{"job-name": "j", "batch.kubernetes.io/controller-uid": "u"}},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u", selector: "batch.kubernetes.io/controller-uid=u", revision: true},
		},
		"a pod of a controller without labels": {
			workload.Hint{Kind: "Pod", Namespace: "shop", OwnerKind: "Workflow", OwnerUID: "u"}, lookupKey{kind: "Pod", namespace: "shop", owner: "u"},
		},
		"more labels than a selector may have": {
			workload.Hint{Kind: "Pod", Namespace: "shop", OwnerUID: "u", Labels: map[string]string{"a": strings.Repeat("x", maxSelector)}},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u"},
		},
		"a revision label that nobody can have, and a label beside it": {
			workload.Hint{Kind: "Pod", Namespace: "shop", OwnerUID: "u", Labels: map[string]string{"pod-template-hash": long, "app": "api"}},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u", selector: "app=api,pod-template-hash=" + long},
		},
		"as many labels as a selector may have": {
			workload.Hint{Kind: "Pod", Namespace: "shop", OwnerUID: "u", Labels: map[string]string{"a": ofLength(maxSelector - 3)}},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u", selector: "a=" + ofLength(maxSelector-3)},
		},
		"one byte more": {
			workload.Hint{Kind: "Pod", Namespace: "shop", OwnerUID: "u", Labels: map[string]string{"a": ofLength(maxSelector - 2)}},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u"},
		},
		"the longest revision label": {
			workload.Hint{Kind: "Pod", Namespace: "shop", OwnerUID: "u", Labels: map[string]string{"pod-template-hash": ofLength(maxField), "app": "api"}},
			lookupKey{kind: "Pod", namespace: "shop", owner: "u", selector: "pod-template-hash=" + ofLength(maxField), revision: true},
		},
		"the longest name": {
			workload.Hint{Kind: "Deployment", Namespace: "shop", Name: ofLength(maxField)}, lookupKey{kind: "Deployment", namespace: "shop", name: ofLength(maxField)},
		},
		"no namespace":            {workload.Hint{Kind: "Deployment", Name: "api"}, lookupKey{}},
		"a pod without anything":  {workload.Hint{Kind: "Pod", Namespace: "shop"}, lookupKey{}},
		"another kind":            {workload.Hint{Kind: "ReplicaSet", Namespace: "shop", Name: "api"}, lookupKey{}},
		"no kind":                 {workload.Hint{}, lookupKey{}},
		"a name that is too long": {workload.Hint{Kind: "Deployment", Namespace: "shop", Name: long}, lookupKey{}},
		"a UID that is too long":  {workload.Hint{Kind: "Pod", Namespace: "shop", OwnerUID: types.UID(long)}, lookupKey{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := keyOf(test.hint)
			if wantOK := test.want != (lookupKey{}); ok != wantOK {
				t.Fatalf("ok = %t, want %t", ok, wantOK)
			}
			if !ok {
				return
			}
			if diff := cmp.Diff(test.want, got, comparePlaces); diff != "" {
				t.Errorf("placeOf (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzPlaceOf makes places of forged hints: they are of bounded size, whatever the labels.
func FuzzPlaceOf(f *testing.F) {
	f.Add("Pod", "shop", "", "api-", "uid", "pod-template-hash", "5d9c")
	f.Fuzz(func(t *testing.T, kind, namespace, name, generateName, owner, key, value string) {
		p, ok := keyOf(workload.Hint{Kind: kind, Namespace: namespace, Name: name, GenerateName: generateName, OwnerUID: types.UID(owner),
			Labels: map[string]string{key: value}})
		if size := len(p.namespace) + len(p.name) + len(p.generateName) + len(p.owner) + len(p.selector); ok && size > 4*maxField+maxSelector {
			t.Errorf("the place has %d bytes", size)
		}
		if _, err := labels.ConvertSelectorToLabelsMap(p.selector); err == nil && p.selector != "" && labels.Set(map[string]string{key: value}).String() != p.selector {
			t.Errorf("%q is not the selector of %s=%s", p.selector, key, value)
		}
	})
}

func TestFits(t *testing.T) {
	t.Parallel()
	generated := workloadtest.Pod("run-x7z2p")
	generated.GenerateName = "run-"
	other := workloadtest.Pod("walk-x7z2p")
	other.GenerateName = "walk-"
	for name, test := range map[string]struct {
		place lookupKey
		pod   *corev1.Pod
		want  bool
	}{
		"a pod of the owner":                   {lookupKey{owner: "uid-of-rs"}, workloadtest.Controlled(workloadtest.Pod("api-x"), "ReplicaSet", "rs"), true},
		"a pod of another owner":               {lookupKey{owner: "uid-of-rs"}, workloadtest.Controlled(workloadtest.Pod("api-x"), "ReplicaSet", "other"), false},
		"a pod without an owner":               {lookupKey{owner: "uid-of-rs"}, workloadtest.Pod("api-x"), false},
		"a bare pod of that name":              {lookupKey{generateName: "run-"}, generated, true},
		"a bare pod of another name":           {lookupKey{generateName: "run-"}, other, false},
		"a pod that has its name from a human": {lookupKey{generateName: "run-"}, workloadtest.Pod("run-by-hand"), false},
		"a pod of that name with an owner":     {lookupKey{generateName: "run-"}, workloadtest.Controlled(generated.DeepCopy(), "Job", "run"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.place.fits(test.pod); got != test.want {
				t.Errorf("fits = %t, want %t", got, test.want)
			}
		})
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		crowded bool
		found   []finding
		want    []time.Duration // between the looks
	}{
		"found at once":               {false, []finding{fresh}, nil},
		"never found":                 {false, []finding{absent, absent, absent, absent, absent}, []time.Duration{400e6, 800e6, 1600e6, 3200e6}},
		"found at the third look":     {false, []finding{absent, absent, fresh}, []time.Duration{400e6, 800e6}},
		"nothing new, twice":          {false, []finding{stale, stale}, []time.Duration{2e9}},
		"an update that took a while": {false, []finding{stale, fresh}, []time.Duration{2e9}},
		"nothing new, and then gone":  {false, []finding{stale, absent}, []time.Duration{2e9}},
		"late and nothing new":        {false, []finding{absent, stale, stale}, []time.Duration{400e6, 2e9}},
		"not opted in":                {false, []finding{foreign}, nil},
		"never found, in a crowd":     {true, []finding{absent, absent}, []time.Duration{400e6}},
		"nothing new, in a crowd":     {true, []finding{stale, stale}, []time.Duration{2e9}},
		"late, in a crowd":            {true, []finding{absent, stale, stale}, []time.Duration{400e6, 2e9}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := firstLookup(lookupKey{name: "api"}, clock.Production().FirstList, prepulltest.Noon)
			now := next.due
			if wait := now.Sub(prepulltest.Noon); wait != firstWait {
				t.Errorf("the first look comes after %v", wait)
			}
			var waits []time.Duration
			for i, found := range test.found {
				var ok bool
				if next, ok = next.again(found, test.crowded, now); ok != (i < len(test.want)) {
					t.Fatalf("look %d: again = %t", i, ok)
				} else if ok {
					waits = append(waits, next.due.Sub(now))
					now = next.due
				}
			}
			if diff := cmp.Diff(test.want, waits); diff != "" {
				t.Errorf("waits (-want +got):\n%s", diff)
			}
		})
	}
	if l := firstLookup(lookupKey{owner: "u"}, clock.Production().FirstList, prepulltest.Noon); l.due.Sub(prepulltest.Noon) != clock.Production().FirstList {
		t.Errorf("pods are searched for after %v", l.due.Sub(prepulltest.Noon))
	}
}
