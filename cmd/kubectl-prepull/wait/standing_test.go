package wait

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// object is a PrepullImage as the manager leaves it: of so many nodes so many have the image, and change says what else.
func object(desired, ready int32, change ...func(*v1alpha1.PrepullImage)) *v1alpha1.PrepullImage {
	o := &v1alpha1.PrepullImage{Spec: v1alpha1.PrepullImageSpec{Image: "shop/app:v1"}}
	o.Name = "app-v1-12345678"
	o.Status.Nodes = v1alpha1.NodeCounts{Desired: desired, Ready: ready}
	o.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionSelected, Status: metav1.ConditionTrue, Reason: "WithinBudget", Message: "The image has a place on the nodes."},
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "Pulling", Message: "A node is pulling the image."},
		{Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionFalse, Reason: "NoFailure"},
	}
	if desired > 0 && desired == ready {
		o.Status.Conditions[1].Status, o.Status.Conditions[1].Reason = metav1.ConditionTrue, "OnEveryNode"
	}
	for _, c := range change {
		c(o)
	}
	return o
}

func skipped(reason, message string) func(*v1alpha1.PrepullImage) {
	return func(o *v1alpha1.PrepullImage) {
		o.Status.State = "Skipped: " + reason
		o.Status.Conditions[0].Status, o.Status.Conditions[0].Reason, o.Status.Conditions[0].Message = metav1.ConditionFalse, reason, message
		o.Status.Conditions[1].Reason = "Skipped"
	}
}

// made is of an object that was made so long before noon, and has a size.
func made(before time.Duration, size int64) func(*v1alpha1.PrepullImage) {
	return func(o *v1alpha1.PrepullImage) {
		o.CreationTimestamp, o.Status.DownloadBytes = metav1.NewTime(noon.Add(-before)), size
	}
}

func lacksRoom(o *v1alpha1.PrepullImage) {
	o.Status.Conditions[0].Reason, o.Status.Conditions[0].Message = partly, "1 of 2 leave it out."
}

func fails(failed int32, reason string) func(*v1alpha1.PrepullImage) {
	return func(o *v1alpha1.PrepullImage) {
		o.Status.Nodes.Failed = failed
		o.Status.Conditions[1].Reason = "PullFailed"
		o.Status.Conditions[2] = metav1.Condition{Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionTrue, Reason: reason, Message: "Node node-1: manifest unknown"}
		o.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux", Time: metav1.NewTime(noon.Add(5 * time.Minute))}}
	}
}

func unseen(o *v1alpha1.PrepullImage) { o.Status = v1alpha1.PrepullImageStatus{} }

func TestWhatBecomesOfAnImage(t *testing.T) {
	t.Parallel()
	all, half, two, five := goal{percent: 100}, goal{percent: 50}, goal{nodes: 2}, goal{nodes: 5}
	for name, test := range map[string]struct {
		object *v1alpha1.PrepullImage
		goal   goal
		others *selected
		want   outcome
		line   string
	}{
		"nobody knows it yet":                     {nil, all, nil, open, "it is declared"},
		"the manager has not come to it":          {object(0, 0, unseen), all, nil, open, "The manager has not come to it yet."},
		"it is being pulled":                      {object(2, 1), all, nil, open, "1 of 2 nodes, Pulling"},
		"it is everywhere":                        {object(2, 2), all, nil, met, "2 of 2 nodes, ready"},
		"it is on half of the nodes":              {object(4, 2), half, nil, met, "2 of 4 nodes, ready"},
		"it is on less than half":                 {object(5, 2), half, nil, open, "2 of 5 nodes, Pulling"},
		"it is on enough nodes":                   {object(9, 2), two, nil, met, "2 of 9 nodes, ready"},
		"no node wants it now":                    {object(0, 0), all, nil, open, "Pulling"},
		"there are not so many nodes":             {object(2, 1), five, nil, refused, "2 nodes are to have it, and --for asks for 5"},
		"there is one node only":                  {object(1, 1), two, nil, refused, "1 node is to have it, and --for asks for 2"},
		"over budget":                             {object(0, 0, skipped("OverBudget", "It does not fit.")), all, nil, refused, "OverBudget: It does not fit."},
		"over budget by a guess":                  {object(0, 0, skipped("OverBudget", "It does not fit."), made(29*time.Second, 0)), all, nil, open, "OverBudget: It does not fit."},
		"over budget by its size":                 {object(0, 0, skipped("OverBudget", "It does not fit."), made(12*time.Second, 5)), all, nil, refused, "OverBudget: It does not fit."},
		"over budget, and nobody knows its size":  {object(0, 0, skipped("OverBudget", "It does not fit."), made(30*time.Second, 0)), all, nil, refused, "OverBudget: It does not fit."},
		"some nodes have no room, by a guess":     {object(2, 2, lacksRoom, made(time.Second, 0)), all, nil, open, "2 of 2 nodes, PartlyOverBudget: 1 of 2 leave it out."},
		"no node for it":                          {object(0, 0, skipped("NoNodes", "No node fits.")), all, nil, refused, "NoNodes: No node fits."},
		"left out on purpose":                     {object(0, 0, skipped("Excluded", "It matches.")), all, nil, leftOut, "left out: It matches."},
		"too small to be worth it":                {object(0, 0, skipped("TooSmall", "It is small.")), all, nil, leftOut, "left out: It is small."},
		"some nodes have no room":                 {object(2, 2, lacksRoom), all, nil, refused, "PartlyOverBudget: 1 of 2 leave it out."},
		"some have no room, enough others have":   {object(2, 2, lacksRoom), two, nil, met, "2 of 2 nodes, ready"},
		"the registry does not have it":           {object(2, 0, fails(2, "NotFound")), all, nil, refused, "NotFound: Node node-1: manifest unknown; next try in 5 min 0 s"},
		"it is out of the list, and not found":    {object(2, 0, fails(0, "NotFound")), half, nil, refused, "NotFound: Node node-1: manifest unknown; next try in 5 min 0 s"},
		"not found by one, and enough are left":   {object(4, 1, fails(1, "NotFound")), half, nil, open, "1 of 4 nodes, NotFound: Node node-1: manifest unknown; next try in 5 min 0 s"},
		"not found by one, and enough have it":    {object(4, 2, fails(1, "NotFound")), half, nil, met, "2 of 4 nodes, ready"},
		"not found by too many":                   {object(4, 1, fails(3, "NotFound")), half, nil, refused, "NotFound: Node node-1: manifest unknown; next try in 5 min 0 s"},
		"the registry is away":                    {object(2, 0, fails(2, "RegistryUnreachable")), all, nil, open, "0 of 2 nodes, RegistryUnreachable: Node node-1: manifest unknown; next try in 5 min 0 s"},
		"the chosen nodes have it":                {object(9, 4), all, &selected{counts: counts{3, 3, 0}}, met, "3 of 3 nodes, ready"},
		"the chosen nodes lack it":                {object(9, 8), all, &selected{counts: counts{3, 2, 0}}, open, "2 of 3 nodes, Pulling"},
		"it does not run on the chosen nodes":     {object(9, 9), all, &selected{unfit: "its pods do not run on a: the taint"}, refused, "its pods do not run on a: the taint"},
		"the chosen nodes have no room":           {object(2, 2, lacksRoom), all, &selected{counts: counts{3, 0, 0}}, refused, "PartlyOverBudget: 1 of 2 leave it out."},
		"a chosen node has joined, and has room":  {object(2, 2), all, &selected{counts: counts{3, 2, 0}}, open, "2 of 3 nodes, Ready"},
		"a chosen node cannot pull it":            {object(9, 8, fails(1, "NotFound")), all, &selected{counts: counts{2, 1, 1}}, refused, "NotFound: Node node-1: manifest unknown; next try in 5 min 0 s"},
		"a node that was not chosen cannot":       {object(9, 8, fails(1, "NotFound")), all, &selected{counts: counts{2, 2, 0}}, met, "2 of 2 nodes, ready"},
		"words with what is nothing for a screen": {object(0, 0, skipped("OverBudget", "a\x1b[2Jb\nc")), all, nil, refused, "OverBudget: a\ufffd[2Jb c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := standingOf("shop/app:v1", test.object, test.goal, test.others, noon.Add(-10*time.Second), noon)
			if line := "shop/app:v1: " + test.line; s.outcome != test.want || s.line() != line {
				t.Errorf("it is %q: %s\nwant %q: %s", s.outcome, s.line(), test.want, line)
			}
		})
	}
}

func TestANewImageIsNotLeftOutByAGuess(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, test := range map[string]struct {
		size       int64
		sized, age time.Duration
		guessed    bool
	}{
		"nobody knows its size yet":                  {0, 0, 29 * s, true},
		"nobody says its size":                       {0, 0, 30 * s, false},
		"its size is known, and nobody chose since":  {5, 29 * s, 33 * s, true},
		"its size is known, and somebody chose":      {5, 2 * s, 7 * s, false},
		"it was known long before somebody looked":   {5, 9 * time.Hour, 9 * time.Hour, false},
		"it was known a moment before somebody came": {5, 3 * s, 3 * s, true},
	} {
		if got := guessed(test.size, test.sized, test.age); got != test.guessed {
			t.Errorf("%s: %t", name, got)
		}
	}
}
