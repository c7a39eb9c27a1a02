// Package export prints what pulls the images of a live cluster on nodes that are yet to come.
package export

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/bootstrap"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// choice is for which nodes the images are, and how much room they have.
type choice struct {
	node, selector, platform, bytes string
}

// Command is kubectl prepull export.
func Command(env *cli.Environment) *cobra.Command {
	var chosen choice
	var output bootstrap.Output
	c := &cobra.Command{
		Use:   "export",
		Short: "Print what pulls the images of the cluster on new nodes, for launch templates and baked images",
		Long: `Print what pulls the images of the cluster on new nodes, for launch templates and baked images.

The images are those that kube-prepull has on its nodes, or on some of them; those with the most starts
per byte come first. What it leaves out itself, or cannot pull, is left out too, with a note.`,
		Example: `  kubectl prepull export --node-selector pool=web --format eks-user-data > user-data.txt
  kubectl prepull export --node-selector pool=web --platform linux/arm64 --max-bytes 20Gi --format bash-ctr > pull-images`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			output.Namespace = *env.Kube.Namespace
			if err := output.Check(); err != nil {
				return err
			}
			limit, err := chosen.check()
			if err != nil {
				return err
			}
			kube, err := env.Installed()
			if err != nil {
				return err
			}
			images, notes, err := chosen.read(c.Context(), kube, limit, time.Now())
			if err != nil {
				return err
			}
			return output.Write(env, images, notes)
		},
	}
	c.Flags().StringVar(&chosen.node, "node", "", "images for nodes like this one")
	c.Flags().StringVar(&chosen.selector, "node-selector", "", "images for nodes with these labels; none has to be there yet")
	c.Flags().StringVar(&chosen.platform, "platform", "", "images for nodes of this system and architecture, such as linux/arm64")
	c.Flags().StringVar(&chosen.bytes, "max-bytes", "", "how much a node has room for, such as 20Gi; what goes first is what kube-prepull would choose")
	output.AddFlags(c)
	return c
}

// check returns the limit in bytes, 0 for none.
func (c choice) check() (int64, error) {
	if c.node != "" && (c.selector != "" || c.platform != "") {
		return 0, cli.Usagef("--node says which labels and platform the nodes have: leave out --node-selector and --platform")
	}
	if os, arch, found := strings.Cut(c.platform, "/"); c.platform != "" && (!found || os != "linux" || arch == "" || strings.Contains(arch, "/")) {
		return 0, cli.Usagef("--platform must be linux/ and an architecture, such as linux/arm64, not %q", c.platform)
	}
	if _, err := c.labels(); err != nil {
		return 0, cli.Usagef("--node-selector and --platform: %v", err)
	}
	if c.bytes == "" {
		return 0, nil
	}
	limit, err := resource.ParseQuantity(c.bytes)
	if err != nil || limit.Value() <= 0 {
		return 0, cli.Usagef("--max-bytes must be a quantity such as 20Gi, not %q", c.bytes)
	}
	return limit.Value(), nil
}

// read asks the cluster.
func (c choice) read(ctx context.Context, kube client.Reader, limit int64, now time.Time) ([]workload.Image, []string, error) {
	var objects v1alpha1.PrepullImageList
	if err := kube.List(ctx, &objects); err != nil {
		return nil, nil, fmt.Errorf("listing PrepullImages: %w", err)
	}
	nodes, notes, err := c.nodes(ctx, kube, objects.Items)
	if err != nil {
		return nil, nil, err
	}
	classes, err := inventory.ReadRuntimeClasses(ctx, kube, objects.Items)
	if err != nil {
		return nil, nil, err
	}
	images, absent := plan.Wanted(objects.Items, nodes, classes, limit, now)
	notes = append(notes, leftOut(absent)...)
	if len(images) == 0 {
		return nil, nil, fmt.Errorf("kube-prepull has no image for %s (it knows %d)", c, len(objects.Items))
	}
	return images, notes, nil
}

// leftOut are notes about images that are left out, one for each reason: there may be thousands over a limit.
func leftOut(absent []plan.Absent) []string {
	names, notes := map[string][]string{}, []string{}
	for _, a := range absent {
		names[a.Why] = append(names[a.Why], a.Name)
	}
	for _, why := range slices.Sorted(maps.Keys(names)) {
		who := names[why][0] + " is"
		if more := len(names[why]) - 1; more > 0 {
			who = fmt.Sprintf("%s and %d more are", names[why][0], more)
		}
		notes = append(notes, who+" left out: "+why)
	}
	return notes
}

// nodes are those to have some of the images for, none if any node counts.
func (c choice) nodes(ctx context.Context, kube client.Reader, images []v1alpha1.PrepullImage) ([]corev1.Node, []string, error) {
	if c.node != "" {
		var node corev1.Node
		if err := kube.Get(ctx, client.ObjectKey{Name: c.node}, &node); err != nil {
			return nil, nil, fmt.Errorf("reading node %s: %w", c.node, err)
		}
		return []corev1.Node{node}, nil, nil
	}
	if c.selector == "" && c.platform == "" {
		return nil, nil, nil
	}
	selector, err := c.labels()
	if err != nil {
		return nil, nil, err
	}
	var list corev1.NodeList
	if err := kube.List(ctx, &list, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, nil, fmt.Errorf("listing nodes: %w", err)
	}
	if len(list.Items) > 0 {
		return list.Items, nil, nil
	}
	node := imagined(selector, images)
	note := fmt.Sprintf("no node matches %s: these are the images for a node with the labels %s, whatever devices it has, and no taint", selector, labels.Set(node.Labels))
	return []corev1.Node{node}, []string{note}, nil
}

// labels are those that the nodes must have.
func (c choice) labels() (labels.Selector, error) {
	selector, err := labels.Parse(c.selector)
	if os, arch, found := strings.Cut(c.platform, "/"); found && err == nil {
		var platform labels.Selector
		platform, err = labels.ValidatedSelectorFromSet(labels.Set{corev1.LabelOSStable: os, corev1.LabelArchStable: arch})
		if err == nil {
			requirements, _ := platform.Requirements()
			selector = selector.Add(requirements...)
		}
	}
	return selector, err
}

// imagined is a node as a selector asks for it, of a group that has none now. What it will offer no label tells: all that pods
// of some images ask for.
func imagined(selector labels.Selector, images []v1alpha1.PrepullImage) corev1.Node {
	node := corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{}}}
	for i := range images {
		for _, p := range images[i].Status.Placements {
			for _, name := range p.Resources {
				node.Status.Allocatable[corev1.ResourceName(name)] = resource.MustParse("1")
			}
		}
	}
	node.Labels = map[string]string{corev1.LabelOSStable: string(corev1.Linux)}
	requirements, _ := selector.Requirements()
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			node.Labels[r.Key()] = r.Values().List()[0]
		case selection.Exists:
			node.Labels[r.Key()] = ""
		}
	}
	return node
}

// String is which nodes are meant, for people.
func (c choice) String() string {
	switch {
	case c.node != "":
		return "nodes like " + c.node
	case c.selector != "" || c.platform != "":
		return strings.TrimSpace("nodes with " + c.selector + " " + c.platform)
	}
	return "any node"
}
