package explain

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/list"
)

// nodeAnswer is what explain node/NAME -o json prints.
type nodeAnswer struct {
	inventory.Node

	// Gated is true if the node has the taint that keeps pods off until its images are there; GateTaint is the key of it.
	Gated     bool   `json:"gated"`
	GateTaint string `json:"gateTaint"`

	// LastStarts are the last containers that started there, the newest first; ten at most, of the last hour.
	LastStarts        []inventory.Start `json:"lastStarts"`
	LastStartsUnknown string            `json:"lastStartsUnknown,omitempty"`
}

func (q question) node(ctx context.Context, name string) (answer, error) {
	fleet, err := inventory.ReadFleet(ctx, q.client, q.home)
	if err != nil {
		return nil, err
	}
	nodes := fleet.Nodes()
	i := slices.IndexFunc(nodes, func(n inventory.Node) bool { return n.Name == name })
	if i < 0 {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, name)
	}
	a := &nodeAnswer{Node: nodes[i]}
	if a.GateTaint, _, err = inventory.ReadGateKey(ctx, q.client, q.home); err != nil {
		return nil, err
	}
	a.Gated = inventory.HasTaint(a.Taints, a.GateTaint)
	a.LastStarts, a.LastStartsUnknown, err = q.starts(ctx, func(s *inventory.Start) bool { return s.Node == name })
	return a, err
}

func (a *nodeAnswer) write(p *page) {
	p.text("NODE", a.Name)
	p.line("STATE", list.NodeState(a.State))
	p.text("", a.Message)
	p.text("CLASS", a.Class)
	if a.Class != "" {
		p.text("IMAGES", fmt.Sprintf("%d of %d are there", a.ReadyCount, a.ImageCount))
	}
	if a.Gated {
		p.line("GATE", cli.Busy("the taint "+a.GateTaint+" keeps pods off; kubectl prepull ungate "+a.Name+" takes it away"))
	}
	if c := a.Condition; c != nil {
		p.text("CONDITION", fmt.Sprintf("%s is %s (%s), changed %s: %s", c.Type, c.Status, c.Reason, cli.Ago(c.LastTransitionTime.Time, p.now), c.Message))
	}
	p.text("TAINTS", some(taintWords(a.Taints), 5))
	if len(a.Images) > 0 {
		table := cli.NewTable("", "IMAGE", "STATE", "WAITED", "SIZE", "WHY")
		for i := range a.Images {
			image := &a.Images[i]
			waited := ""
			if image.Seconds > 0 {
				waited = cli.Seconds(image.Seconds)
			}
			table.Row(i+1, image.Image, pullState(image.State), waited, v1alpha1.HumanSize(image.SizeBytes), image.Message)
		}
		p.table(table)
	}
	p.starts(a.LastStarts, a.LastStartsUnknown)
}

func taintWords(taints []corev1.Taint) []string {
	var words []string
	for i := range taints {
		words = append(words, taints[i].ToString())
	}
	return words
}
