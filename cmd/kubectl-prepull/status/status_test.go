package status

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// busy is a cluster in which something of everything is wrong.
func busy() findings {
	retry := noon.Add(243 * time.Second)
	node := func(name, message, failing string, state inventory.NodeState) inventory.Node {
		n := inventory.Node{Name: name, State: state, Message: message, Class: "linux-amd64", ImageCount: 4, ReadyCount: 2}
		if failing != "" {
			n.Images = []inventory.NodeImage{{Image: failing, State: "Failing", Reason: "NotFound"}}
		}
		return n
	}
	f := findings{
		manager: &Manager{Desired: 2, Ready: 1},
		images: []inventory.Image{
			{Image: "shop/pay:v1", State: inventory.ImageFailing, Reason: "NotFound", Message: "Node node-1: manifest unknown", RetryTime: &retry},
			{Image: "shop/big:v1", State: inventory.ImageSkipped, Reason: "OverBudget", Message: "It does not fit."},
			{Image: "shop/huge:v1", State: inventory.ImageSkipped, Reason: "OverBudget", Message: "It does not fit."},
			{Image: "shop/tool:debug", State: inventory.ImageSkipped, Reason: "Excluded", Message: "It is excluded."},
			{Image: "shop/app:v1", State: inventory.ImageReady},
			{Image: "shop/gpu:v1", State: inventory.ImagePending, Reason: "DaemonSetRefused", Message: "The prepull DaemonSet cannot be written: no"},
			{Image: "shop/gpu:v2", State: inventory.ImagePending, Reason: "DaemonSetRefused", Message: "The prepull DaemonSet cannot be written: no"},
		},
		nodes: []inventory.Node{
			node("node-1", "shop/pay:v1: manifest unknown", "shop/pay:v1", inventory.NodeFailing),
			node("node-2", "its prepull pod does not get to its images: denied", "", inventory.NodeFailing),
			node("node-3", "its prepull pod does not get to its images: denied", "", inventory.NodeFailing),
			node("node-4", "", "", inventory.NodeComplete),
			{Name: "windows-1", State: inventory.NodeNotSelected},
		},
		classes: []inventory.Class{
			{Name: "linux-amd64", ImageCount: 4, Nodes: inventory.NodeSums{Total: 4, Complete: 1, Failing: 3}, PullCount: 16, PullsDone: 10},
			{Name: "linux-arm64", ImageCount: 1, Nodes: inventory.NodeSums{Total: 2, Complete: 2}, PullCount: 2, PullsDone: 2},
		},
		hour: hour{serial: []string{"node-4", "node-5"}, starts: []inventory.Start{
			{Time: noon.Add(-2 * time.Hour), Hit: true},
			{Time: noon.Add(-time.Minute), Hit: true, SavedSeconds: 200},
			{Time: noon.Add(-time.Minute), Hit: true},
			{Time: noon, WaitedSeconds: 4.2},
		}},
	}
	return f
}

const busyScreen = `manager: 1 of 2 managers are ready
image shop/gpu:v1 and 1 more: DaemonSetRefused: The prepull DaemonSet cannot be written: no
node node-2 and 1 more: its prepull pod does not get to its images: denied
image shop/pay:v1: NotFound: Node node-1: manifest unknown  next try in 4 min 3 s
node node-4 and 1 more: its kubelet pulls one image after the other (serializeImagePulls), so pullsPerNode makes nothing faster there
image shop/big:v1 and 1 more: OverBudget: It does not fit.

MANAGERS    1 of 2 ready
IMAGES      7   1 ready   2 pending   1 failing   3 skipped
NODES       5   1 complete   3 failing   1 without a list
LAST HOUR   3 starts, 66 % found their image (2), 3 min 20 s saved, 4.2 s waited

CLASS         IMAGES   NODES   COMPLETE
linux-amd64   4        4       1          [##################............] 62 %
linux-arm64   1        2       2
`

func TestTheScreen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		findings findings
		want     string
	}{
		"much is wrong": {busy(), busyScreen},
		"nothing is known yet": {findings{manager: &Manager{Desired: 2, Ready: 2}},
			"MANAGERS    2 of 2 ready\nIMAGES      0\nNODES       0\nLAST HOUR   no container started in an opted-in namespace\n\nNo image is known. Opt in a namespace: kubectl label namespace NAME kube-prepull.io/enabled=true\n"},
		"events may not be read": {findings{hour: hour{unknown: "events is forbidden"}},
			"IMAGES      0\nNODES       0\nLAST HOUR   not known: events is forbidden\n\nNo image is known. Opt in a namespace: kubectl label namespace NAME kube-prepull.io/enabled=true\n"},
		"no manager": {findings{manager: &Manager{}, gated: 3},
			"manager: there is no manager: nothing is learned, and lists stay as they are; 3 nodes keep pods off, which kubectl prepull ungate ends\n\nMANAGERS    0 of 0 ready\nIMAGES      0\nNODES       0   3 keep pods off\nLAST HOUR   no container started in an opted-in namespace\n\nNo image is known. Opt in a namespace: kubectl label namespace NAME kube-prepull.io/enabled=true\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := statusOf(test.findings, noon)
			var out bytes.Buffer
			if err := s.write(&out, false, noon); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOneScreenStaysOneScreen(t *testing.T) {
	t.Parallel()
	f := busy()
	for i := range 300 {
		image := f.images[0]
		image.Image += string(rune('a' + i%26))
		f.images = append(f.images, image)
		f.classes = append(f.classes, f.classes[i%2])
	}
	s := statusOf(f, noon)
	var out bytes.Buffer
	if err := s.write(&out, true, noon); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines > 27 {
		t.Errorf("%d lines:\n%s", lines, out.String())
	}
	for _, words := range []string{"and 298 more: see kubectl prepull images", "and 292 more classes"} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("it does not say %q:\n%s", words, out.String())
		}
	}
}

// What scripts read: keys are added, and none is renamed.
func TestTheKeysOfAStatus(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(statusOf(busy(), noon))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"problems":[{"kind":"Manager","count":1,"message":"1 of 2 managers are ready"},` +
		`{"kind":"Image","name":"shop/gpu:v1","count":2,"message":"DaemonSetRefused: The prepull DaemonSet cannot be written: no"},` +
		`{"kind":"Node","name":"node-2","count":2,"message":"its prepull pod does not get to its images: denied"},` +
		`{"kind":"Image","name":"shop/pay:v1","count":1,"message":"NotFound: Node node-1: manifest unknown","retryTime":"2026-01-02T12:04:03Z"},` +
		`{"kind":"Node","name":"node-4","count":2,"message":"its kubelet pulls one image after the other (serializeImagePulls), so pullsPerNode makes nothing faster there"},` +
		`{"kind":"Image","name":"shop/big:v1","count":2,"message":"OverBudget: It does not fit."}],` +
		`"manager":{"desired":2,"ready":1},` +
		`"images":{"total":7,"ready":1,"pulling":0,"pending":2,"failing":1,"skipped":3},` +
		`"nodes":{"total":5,"complete":1,"pulling":0,"failing":3,"notReady":0,"notSelected":1},"gatedNodes":0,` +
		`"lastHour":{"count":3,"hits":2,"hitRate":0.6666666666666666,"savedSeconds":200,"waitedSeconds":4.2},` +
		`"classes":[{"name":"linux-amd64","imageCount":4,"nodes":{"total":4,"complete":1,"pulling":0,"failing":3,"notReady":0,"notSelected":0},"pullCount":16,"pullsDone":10},` +
		`{"name":"linux-arm64","imageCount":1,"nodes":{"total":2,"complete":2,"pulling":0,"failing":0,"notReady":0,"notSelected":0},"pullCount":2,"pullsDone":2}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
