package explain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// app is the image of these tests, and changes to it.
func app(change ...func(*v1alpha1.PrepullImage)) *v1alpha1.PrepullImage {
	seen := metav1.NewTime(noon.Add(-time.Hour))
	o := &v1alpha1.PrepullImage{
		ObjectMeta: metav1.ObjectMeta{Name: "app-v1-12345678", Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}},
		Spec:       v1alpha1.PrepullImageSpec{Image: "shop/app:v1"},
		Status: v1alpha1.PrepullImageStatus{
			FirstSeenTime: &seen, SizeBytes: 69_000_000, LastPullSeconds: 12, UserCount: 2,
			Users:      []v1alpha1.User{{Kind: "Deployment", Namespace: "shop", Name: "app"}},
			Nodes:      v1alpha1.NodeCounts{Desired: 3, Ready: 2},
			Placements: []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "web"}}},
			Conditions: []metav1.Condition{
				{Type: "Selected", Status: metav1.ConditionTrue, Reason: "WithinBudget", Message: "The image has a place on the nodes."},
				{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Pulling", Message: "A node is pulling the image."},
			},
		},
	}
	for _, c := range change {
		c(o)
	}
	return o
}

func failing(o *v1alpha1.PrepullImage) {
	o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{Type: "PullFailed", Status: metav1.ConditionTrue, Reason: "NotFound", Message: "Node node-1: manifest unknown"})
	o.Status.Retries = []v1alpha1.Retry{{NodeClass: "web", Failures: 2, Time: metav1.NewTime(noon.Add(10 * time.Minute))}}
}

func selected(is metav1.ConditionStatus, reason, message string) func(*v1alpha1.PrepullImage) {
	return func(o *v1alpha1.PrepullImage) {
		o.Status.Conditions[0].Status, o.Status.Conditions[0].Reason, o.Status.Conditions[0].Message = is, reason, message
	}
}

func TestWhyANodeHasAnImageOrNot(t *testing.T) {
	t.Parallel()
	list := func(states ...warmth.PullState) []inventory.NodeImage {
		images := []inventory.NodeImage{{Image: "shop/a:v1"}, {Image: "shop/b:v1"}, {Image: "shop/app:v1"}}
		for i, s := range states {
			images[i].State = s
		}
		return images
	}
	const done, active, queued, fails = warmth.PullDone, warmth.PullActive, warmth.PullQueued, warmth.PullFailed
	tests := map[string]struct {
		image    *v1alpha1.PrepullImage
		state    inventory.NodeState
		list     []inventory.NodeImage
		reported bool
		labels   map[string]string
		want     warmth.PullState
		message  string
	}{
		"it is there":                    {list: list(done, done, done), want: done},
		"it is pulled":                   {list: list(done, done, active), want: active, message: "it is being pulled"},
		"it is next":                     {list: list(done, done, queued), want: queued, message: "it is next"},
		"others go before":               {list: list(active, queued, queued), want: queued, message: "2 images to be pulled before it"},
		"one that fails goes before":     {list: list(fails, queued, queued), want: queued, message: "it waits behind shop/a:v1, which fails"},
		"the node is away":               {state: inventory.NodeNotReady, list: list(queued, queued, queued), want: queued, message: "nobody waits for the node: it is cordoned"},
		"it is there for another reason": {reported: true, want: done},
		"the node does not run Linux":    {labels: map[string]string{corev1.LabelOSStable: "windows"}, want: notListed, message: "it does not run Linux"},
		"the node is a virtual one":      {labels: map[string]string{"type": "virtual-kubelet"}, want: notListed, message: "it is a virtual node, which runs no DaemonSet pods (label type=virtual-kubelet)"},
		"it asks for a resource":         {image: app(func(o *v1alpha1.PrepullImage) { o.Status.Placements[0].Resources = []string{"example.com/gpu"} }), want: notListed, message: "the node does not offer example.com/gpu"},
		"other nodes are asked for":      {labels: map[string]string{"pool": "batch"}, want: notListed, message: "the node has the label pool=batch, and web is asked for"},
		"it is over budget":              {image: app(selected("False", "OverBudget", "No room.")), want: notListed, message: "No room."},
		"it is over budget here":         {image: app(selected("True", "PartlyOverBudget", "1 of 2 classes leave it out.")), want: notListed, message: "1 of 2 classes leave it out."},
		"its secret may not be here":     {image: app(selected("True", "SecretPartlyWithheld", "The Secret would go further.")), want: notListed, message: "The Secret would go further."},
		"it failed in this class":        {image: app(failing), want: notListed, message: "it could not be pulled, and is tried again later"},
		"it was learned a moment ago":    {want: notListed, message: "it has not got into the list yet"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := test.image
			if o == nil {
				o = app()
			}
			m := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{corev1.LabelOSStable: "linux", "pool": "web"}}}
			for key, value := range test.labels {
				m.Labels[key] = value
			}
			n := &inventory.Node{Name: "node-1", Class: "web", State: test.state, Message: "it is cordoned", Images: test.list}
			image := inventory.ImageOf(o)
			got := standing(o, &image, n, m, test.reported)
			if diff := cmp.Diff(onNode{Node: "node-1", Class: "web", State: test.want, Message: test.message}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhyAContainerWaited(t *testing.T) {
	t.Parallel()
	hit, saved, miss := &inventory.Start{Hit: true}, &inventory.Start{Hit: true, SavedSeconds: 3}, &inventory.Start{WaitedSeconds: 3}
	later := func(o *v1alpha1.PrepullImage) { o.Status.FirstSeenTime = &metav1.Time{Time: noon.Add(time.Second)} }
	tests := map[string]struct {
		change func(*podAnswer, *containerAnswer)
		start  *inventory.Start
		object *v1alpha1.PrepullImage
		there  *onNode
		want   string
	}{
		"it was brought":          {start: saved, object: app(), want: "a prepull pod had brought it, and nothing else had used it since"},
		"it was there":            {start: hit, want: "it was on the node"},
		"a namespace outside":     {start: miss, change: func(a *podAnswer, _ *containerAnswer) { a.OptedIn = false }, want: "the namespace is not opted in: kubectl label namespace shop kube-prepull.io/enabled=true"},
		"a pod that opted out":    {start: miss, change: func(a *podAnswer, _ *containerAnswer) { a.OptedOut = true }, want: "the pod has the label kube-prepull.io/enabled=false, and nobody else uses the image"},
		"an unknown image":        {start: miss, want: "kube-prepull does not know the image yet"},
		"no image at all":         {change: func(_ *podAnswer, c *containerAnswer) { c.Image = "App v1" }, want: "it is not the name of an image: no kubelet can pull it"},
		"no node":                 {object: app(), change: func(a *podAnswer, _ *containerAnswer) { a.Node = "" }, want: "the pod has no node yet"},
		"always pulled":           {start: miss, object: app(), change: func(_ *podAnswer, c *containerAnswer) { c.Policy = corev1.PullAlways }, want: "imagePullPolicy is Always: the kubelet asks the registry at every start, and pulls the layers that are missing"},
		"learned from it":         {start: miss, object: app(later), there: &onNode{State: warmth.PullDone}, want: "the image was learned from this pod or its workload: who is first pulls for itself"},
		"an image that fails":     {object: app(later, failing), there: &onNode{State: notListed}, want: "Node node-1: manifest unknown"},
		"a node that is gone":     {start: miss, object: app(), want: "its node is gone"},
		"a node that does not":    {start: miss, object: app(), there: &onNode{State: notListed, Message: "no room"}, want: "no room"},
		"a node that was pulling": {start: miss, object: app(), there: &onNode{State: warmth.PullDone}, want: "the node was still pulling, or the image had been removed from it; it is there now"},
		"events are gone":         {object: app(), there: &onNode{State: warmth.PullDone}, want: "the image is on the node now"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &podAnswer{Namespace: "shop", Name: "app-1", Node: "node-1", Created: noon, OptedIn: true}
			c := &containerAnswer{Image: "shop/app:v1", Policy: corev1.PullIfNotPresent, Start: test.start}
			if test.change != nil {
				test.change(a, c)
			}
			if got := why(a, c, test.object, test.there); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestThePageOfAnImage(t *testing.T) {
	t.Parallel()
	o := app(failing)
	a := &imageAnswer{Image: inventory.ImageOf(o), Retries: o.Status.Retries, Placements: []string{placementWords(&o.Status.Placements[0])}}
	a.Starts = &startsAnswer{Count: 12.34, Expected: 30, ExpectedHours: 4, BusiestHours: []time.Time{noon.Add(3 * 24 * time.Hour), noon.Add(-4 * time.Hour), noon.Add(2 * 24 * time.Hour)}}
	a.Rank = &plan.Rank{Place: 7, Of: 60, Why: []string{"in use", "priority 5", "69 MB"}}
	a.Kept = &inventory.Kept{For: inventory.KeptForRollback, Until: noon.Add(3 * time.Hour)}
	a.OnNodes = []onNode{
		{Node: "node-1", State: warmth.PullDone, Seconds: 12}, {Node: "node-2", State: warmth.PullDone, Seconds: 9},
		{Node: "node-3", State: notListed, Message: "it could not be pulled"},
	}
	a.LastStarts = []inventory.Start{
		{Time: noon.Add(-time.Minute), Namespace: "shop", Pod: "app-1", Container: "app", Node: "node-1", Hit: true, SavedSeconds: 12},
		{Time: noon.Add(-2 * time.Minute), Namespace: "shop", Pod: "app-0", Container: "app", Node: "node-3", WaitedSeconds: 13.2},
	}
	p := &page{now: noon}
	a.write(p)
	const want = `IMAGE        shop/app:v1
STATE        Failing: NotFound, on 2 of 3 nodes
             Node node-1: manifest unknown
             class web: 2 failures in a row, next try in 10 min 0 s
KNOWN AS     PrepullImage app-v1-12345678, learned, first seen 60m ago
SIZE         69 MB, pulled in 12 s by the slowest node
USERS        Deployment shop/app, and 1 more
KEPT         for a rollback: for 3 h 0 min more
STARTS       12.3 lately (each weighs half after a day), 30 usual in the 4 hours from now on
             busiest hours of the week (UTC): Mon 12:00, Fri 08:00, Sun 12:00
RANK         7 of 60: in use; priority 5; 69 MB
MAY RUN ON   nodes with pool=web without a taint

NODES            STATE       WAITED   WHY
node-1, node-2   Ready       12 s     -
node-3           NotListed   -        it could not be pulled

LAST STARTS   POD          CONTAINER   NODE     IMAGE WAS   WAITED   SAVED
60s ago       shop/app-1   app         node-1   there       -        12 s
2m ago        shop/app-0   app         node-3   missing     13 s     -
`
	if diff := cmp.Diff(want, p.out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestThePageOfAPod(t *testing.T) {
	t.Parallel()
	a := &podAnswer{Namespace: "shop", Name: "app-1", Node: "node-1", Created: noon.Add(-time.Minute), OptedIn: true, Containers: []containerAnswer{
		{Name: "app", Image: "shop/app:v1", State: inventory.ImageReady, Start: &inventory.Start{Time: noon.Add(-30 * time.Second), Hit: true, SavedSeconds: 12}, Why: "a prepull pod had brought it"},
		{Name: "log", Image: "log:v2", Start: &inventory.Start{Time: noon.Add(-30 * time.Second), WaitedSeconds: 3.3}, Why: "kube-prepull does not know the image yet"},
	}}
	p := &page{now: noon}
	a.write(p)
	const want = `POD          shop/app-1
NODE         node-1
CREATED      60s ago
OPTED IN     the namespace is opted in

CONTAINER    app
IMAGE        shop/app:v1
STATE        Ready
START        30s ago: the image was there, which saved 12 s
WHY          a prepull pod had brought it

CONTAINER    log
IMAGE        log:v2
STATE        not known to kube-prepull
START        30s ago: waited 3.3 s for the image
WHY          kube-prepull does not know the image yet
`
	if diff := cmp.Diff(want, p.out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestThePageOfANode(t *testing.T) {
	t.Parallel()
	a := &nodeAnswer{
		Node: inventory.Node{
			Name: "node-1", Class: "linux-amd64", State: inventory.NodePulling, Message: "pulling shop/app:v1", ImageCount: 2, ReadyCount: 1,
			Images: []inventory.NodeImage{
				{Image: "redis:7", State: warmth.PullDone, Seconds: 4, SizeBytes: 40_000_000}, {Image: "shop/app:v1", State: warmth.PullActive},
			},
			Taints:    []corev1.Taint{{Key: "kube-prepull.io/warming", Effect: corev1.TaintEffectNoSchedule}},
			Condition: &corev1.NodeCondition{Type: "kube-prepull.io/ImagesReady", Status: "False", Reason: "Pulling", Message: "1 of 2.", LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour))},
		},
		Gated: true, GateTaint: "kube-prepull.io/warming",
	}
	p := &page{now: noon}
	a.write(p)
	const want = `NODE         node-1
STATE        Pulling
             pulling shop/app:v1
CLASS        linux-amd64
IMAGES       1 of 2 are there
GATE         the taint kube-prepull.io/warming keeps pods off; kubectl prepull ungate node-1 takes it away
CONDITION    kube-prepull.io/ImagesReady is False (Pulling), changed 60m ago: 1 of 2.
TAINTS       kube-prepull.io/warming:NoSchedule

    IMAGE         STATE     WAITED   SIZE    WHY
1   redis:7       Ready     4.0 s    40 MB   -
2   shop/app:v1   Pulling   -        -       -

LAST STARTS  none in the last hour
`
	if diff := cmp.Diff(want, p.out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
