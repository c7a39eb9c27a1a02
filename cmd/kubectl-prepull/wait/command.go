// Package wait is the command kubectl prepull wait: it returns when images are on the nodes, before anything is rolled out that
// uses them.
package wait

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/generate"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// options are what somebody waits for, and how long.
type options struct {
	source   generate.Source
	goal     string
	selector string
	timeout  time.Duration
}

// Command is kubectl prepull wait.
func Command(env *cli.Environment) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "wait (-f FILE | -k DIR | IMAGE...)",
		Short: "Wait until images are on the nodes, before a rollout needs them",
		Long: `Wait until images are on the nodes on which their pods may run, before a rollout needs them.

An image that kube-prepull does not know is declared as a PrepullImage that ends a day after its creation, or
after its last use. The exit code is 0 when the images are there, 1 if one does not come (the registry refuses
it, there is no room for it, no node is to have it), and 3 if the time is over: then what was declared stays,
and the nodes go on pulling. After an interrupt or a refusal nothing is left of it. What cannot be read in
manifests is an error.`,
		Example: `  helm template shop ./chart | kubectl prepull wait -f -
  kubectl prepull wait -k overlays/production --for 80% --timeout 15m
  kubectl prepull wait registry.example.com/shop/api:v2.5.0 --node-selector pool=web --for 3`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, images []string) error {
			return o.run(c.Context(), env, images)
		},
	}
	o.source.AddFlags(c.Flags())
	c.Flags().StringVar(&o.goal, "for", everywhere, "on how many nodes each image must be: a percentage of those that are to have it, or a number")
	c.Flags().StringVar(&o.selector, "node-selector", "", "count nodes with these labels only; images that are named are declared for them")
	c.Flags().DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long to wait at most")
	return c
}

func (o *options) run(ctx context.Context, env *cli.Environment, names []string) error {
	g, err := parseGoal(o.goal)
	if err != nil {
		return err
	}
	if o.timeout <= 0 {
		return cli.Usagef("--timeout must be more than 0, not %s", o.timeout)
	}
	selector, err := labels.Parse(o.selector)
	if err != nil {
		return cli.Usagef("--node-selector: %v", err)
	}
	images, notes, err := o.images(env, names, selector)
	if err != nil {
		return err
	}
	c, err := env.Installed()
	if err != nil {
		return err
	}
	if err := pulls(ctx, c, env.Home); err != nil {
		return err
	}
	w := newWaiter(c, env.Home, images, g, selector)
	for _, image := range images {
		_, more := objectsOf(image)
		notes = append(notes, more...)
	}
	for _, note := range notes {
		env.Note(note)
	}
	show := whenChanged(env.Out)
	if env.Terminal() {
		show = redraw(env, env.Height)
	}
	start := time.Now()
	last, err := await(ctx, o.timeout, w.look, show, env.ErrOut)
	if err != nil && !cli.Late(err) {
		return w.ours.takenBack(ctx, c, err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "%s after %s\n", summary(last), cli.Seconds(time.Since(start).Seconds()))
	return err
}

// images are those to wait for, from manifests or by name.
func (o *options) images(env *cli.Environment, names []string, selector labels.Selector) (images []workload.Image, notes []string, err error) {
	given := 0
	for _, set := range []bool{len(o.source.Files) > 0, o.source.Kustomize != "", len(names) > 0} {
		if set {
			given++
		}
	}
	if given != 1 {
		return nil, nil, cli.Usagef("say what to wait for, with one of -f, -k and names of images")
	}
	if len(names) > 0 {
		return named(names, selector)
	}
	namespace, _, err := env.Kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, nil, fmt.Errorf("finding the namespace: %w", err)
	}
	found, err := o.source.Read(env.In, *env.Kube.Namespace)
	if err != nil {
		return nil, nil, err
	}
	if len(found.Problems) > 0 {
		return nil, nil, errors.Join(found.Problems...)
	}
	if assumed := inNamespace(found.Images, namespace); len(assumed) > 0 {
		found.Notes = append(found.Notes, fmt.Sprintf("pull secrets whose namespace the manifests do not say are taken from %s, that of the kubeconfig (-n says another): %s",
			namespace, strings.Join(assumed, ", ")))
	}
	return workload.MergeImages(found.Images), found.Notes, found.Nothing(o.source.String())
}

// inNamespace gives pull secrets without a namespace this one, and returns their names.
func inNamespace(images []workload.Image, namespace string) []string {
	var names []string
	for i := range images {
		images[i].PullSecrets = slices.Clone(images[i].PullSecrets)
		for j := range images[i].PullSecrets {
			if s := &images[i].PullSecrets[j]; s.Namespace == "" {
				s.Namespace, names = namespace, append(names, s.Name)
			}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// named are images without manifests. They are for any node without a taint, or for those that are selected.
func named(names []string, selector labels.Selector) (images []workload.Image, notes []string, err error) {
	asked, whole := labelsOf(selector)
	if !whole {
		notes = append(notes, fmt.Sprintf("a PrepullImage cannot say all of --node-selector %s, so more nodes may get the images", selector))
	}
	for _, name := range names {
		if generate.IsFileName(name) {
			return nil, nil, cli.Usagef("%s is the name of a file, and not of an image: give it with -f", name)
		}
		if err := workload.ValidImage(name); err != nil {
			return nil, nil, cli.Usagef("%q is not the name of an image: %v", name, err)
		}
		images = append(images, workload.Image{Name: name, Placements: []v1alpha1.Placement{{NodeSelector: asked}}})
	}
	return workload.MergeImages(images), notes, nil
}

// waiter looks at a cluster again and again.
type waiter struct {
	client   client.Client
	home     string
	images   []workload.Image
	goal     goal
	selector labels.Selector

	// ours are the objects that it has made, and declared the images for which it tried to.
	ours     declarations
	declared map[string]bool

	// sized is when the size of an image was seen first.
	sized map[string]time.Time
}

func newWaiter(c client.Client, home string, images []workload.Image, g goal, selector labels.Selector) *waiter {
	return &waiter{
		client: c, home: home, images: images, goal: g, selector: selector,
		ours: declarations{}, declared: map[string]bool{}, sized: map[string]time.Time{},
	}
}

// look declares what is not known, or known for other nodes than those that were chosen, and tells how the images stand.
func (w *waiter) look(ctx context.Context, now time.Time) ([]standing, error) {
	stored, err := inventory.ReadPrepullImages(ctx, w.client)
	if err != nil {
		return nil, err
	}
	var f *fleet
	var chosen []inventory.Node
	if !w.selector.Empty() {
		if f, err = readFleet(ctx, w.client, w.home, w.images); err != nil {
			return nil, err
		}
		if chosen, err = f.choose(w.selector); err != nil {
			return nil, err
		}
	}
	all := make([]standing, 0, len(w.images))
	for _, image := range w.images {
		o := tells(stored, image.Name)
		var others *selected
		if o != nil && f != nil {
			others = f.selectedOf(image.Name, stored, chosen)
		}
		elsewhere := others != nil && others.unfit != "" && !w.declared[image.Name]
		if o == nil || elsewhere {
			objects, _ := objectsOf(image)
			if err := w.ours.declare(ctx, w.client, objects); err != nil {
				return nil, err
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			w.declared[image.Name] = true
			o = nil
		}
		if _, seen := w.sized[image.Name]; o != nil && !seen && o.Status.SizeBytes+o.Status.DownloadBytes > 0 {
			w.sized[image.Name] = now
		}
		all = append(all, standingOf(image.Name, o, w.goal, others, w.sized[image.Name], now))
	}
	return all, nil
}

// readFleet reads the nodes, and what they have of the images.
func readFleet(ctx context.Context, c client.Reader, home string, images []workload.Image) (*fleet, error) {
	var names []string
	for _, image := range images {
		names = append(names, image.Name)
	}
	found, err := inventory.ReadFleet(ctx, c, home, names...)
	if err != nil {
		return nil, err
	}
	return &fleet{found, found.Nodes()}, nil
}

// summary is how it ended.
func summary(all []standing) string {
	ready, out := of(all, met), of(all, leftOut)
	words := fmt.Sprintf("%d images are on their nodes", ready)
	if ready == 1 {
		words = "1 image is on its nodes"
	}
	if out > 0 {
		words += fmt.Sprintf(", and %d left out", out)
	}
	return words
}
