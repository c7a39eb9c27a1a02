package list

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func images() []inventory.Image {
	next, seen := noon.Add(4*time.Minute), noon.Add(-3*time.Hour)
	return []inventory.Image{
		{
			Name: "pay-v1-1", Image: "shop/pay:v1", State: inventory.ImageFailing, Reason: "NotFound", Message: "gone", UserCount: 1,
			Nodes: v1alpha1.NodeCounts{Desired: 3, Failed: 1}, RetryTime: &next,
		},
		{Name: "big-v1-1", Image: "shop/big:v1", State: inventory.ImageSkipped, Reason: "OverBudget", DownloadBytes: 9_000_000_000, UserCount: 2},
		{Name: "new-v1-1", Image: "shop/new:v1", State: inventory.ImagePulling, Reason: "Pulling", Nodes: v1alpha1.NodeCounts{Desired: 3, Ready: 1}, UserCount: 1},
		{Name: "next", Image: "shop/next:v2", Declared: true, State: inventory.ImageReady, Nodes: v1alpha1.NodeCounts{Desired: 3, Ready: 3}, SizeBytes: 19_000_000, LastPullSeconds: 12, LastSeenTime: &seen},
	}
}

func nodes() []inventory.Node {
	return []inventory.Node{
		{Name: "node-2", State: inventory.NodePulling, Message: "pulling shop/new:v1", Class: "linux-amd64", ImageCount: 2, ReadyCount: 1, Images: []inventory.NodeImage{
			{Image: "shop/next:v2", State: warmth.PullDone, Seconds: 12, SizeBytes: 19_000_000}, {Image: "shop/new:v1", State: warmth.PullActive},
		}},
		{Name: "windows-1", State: inventory.NodeNotSelected, Message: "it does not run Linux"},
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		table *cli.Table
		want  string
	}{
		"images": {imageTable(images(), false, noon), `IMAGE          STATE                 NODES   SIZE     USERS
shop/pay:v1    Failing: NotFound     0/3     -        1
shop/big:v1    Skipped: OverBudget   -       9.0 GB   2
shop/new:v1    Pulling               1/3     -        1
shop/next:v2   Ready                 3/3     19 MB    0, declared
`},
		"images, wide": {imageTable(images(), true, noon), `IMAGE          STATE                 NODES   SIZE     USERS         PULL   SEEN     NEXT TRY       PREPULLIMAGE
shop/pay:v1    Failing: NotFound     0/3     -        1             -      in use   in 4 min 0 s   pay-v1-1
shop/big:v1    Skipped: OverBudget   -       9.0 GB   2             -      in use   -              big-v1-1
shop/new:v1    Pulling               1/3     -        1             -      in use   -              new-v1-1
shop/next:v2   Ready                 3/3     19 MB    0, declared   12 s   3h ago   -              next
`},
		"nodes": {nodeTable(nodes(), false), `NODE        STATE         IMAGES   CLASS         MESSAGE
node-2      Pulling       1/2      linux-amd64   pulling shop/new:v1
windows-1   NotSelected   -        -             it does not run Linux
`},
		"nodes, wide": {nodeTable(nodes(), true), `NODE        STATE         IMAGES   BYTES   PULLS   CLASS         MESSAGE
node-2      Pulling       1/2      19 MB   12 s    linux-amd64   pulling shop/new:v1
windows-1   NotSelected   -        -       -       -             it does not run Linux
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := test.table.Write(&out, false); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What scripts read: keys are added, and none is renamed.
func TestTheKeysOfLists(t *testing.T) {
	t.Parallel()
	for want, list := range map[string]any{
		`{"images":[{"name":"pay-v1-1","image":"shop/pay:v1","declared":false,"state":"Failing","reason":"NotFound","message":"gone",` +
			`"nodes":{"desired":3,"ready":0,"failed":1},"userCount":1,"retryTime":"2026-01-02T12:04:00Z"}]}`: imageList{images()[:1]},
		`{"nodes":[{"name":"node-2","class":"linux-amd64","state":"Pulling","message":"pulling shop/new:v1","imageCount":2,"readyCount":1,` +
			`"images":[{"name":"","image":"shop/next:v2","state":"Ready","seconds":12,"sizeBytes":19000000},{"name":"","image":"shop/new:v1","state":"Pulling"}]}]}`: nodeList{nodes()[:1]},
	} {
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(text)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
