package measure

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/scc"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/complete"
)

// runOptions are the flags of measure run.
type runOptions struct {
	subject
	node    string
	timeout time.Duration
	html    string
	output  cli.Output
}

func newRunCommand(env *cli.Environment) *cobra.Command {
	o := &runOptions{}
	c := &cobra.Command{
		Use:   "run IMAGE",
		Short: "Start test pods with an image, absent from the node and present, and compare",
		Long: `Start test pods with an image, and compare how long it takes where a node lacks the image with how long it takes where it has it.

The pods run a program of kube-prepull's own in the image, not what the image is for, and are deleted at the end, also after an
interruption. No image is removed from a node: a cold start needs a node that lacks the image.`,
		Example: `  kubectl prepull measure run registry.example.com/shop:v2
  kubectl prepull measure run registry.example.com/shop:v2 --node node-7 --html shop.html`,
		Args: oneImage,
		RunE: func(c *cobra.Command, args []string) error {
			o.image = args[0]
			return o.run(c.Context(), env)
		},
	}
	f := c.Flags()
	f.StringVar(&o.node, "node", "", "node to measure on; default: one that lacks the image")
	f.StringVar(&o.noopImage, "noop-image", "", "image of the noop program; default: that of the installed kube-prepull")
	f.StringSliceVar(&o.pullSecrets, "image-pull-secret", nil, "pull secret of the pods, in their namespace; may be repeated")
	f.StringVar(&o.serviceAccount, "service-account", "", "service account of the pods, whose pull secrets they use; default: that of the namespace")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long all of it may take")
	f.StringVar(&o.html, "html", "", "file to write a page with charts to")
	_ = c.RegisterFlagCompletionFunc("node", complete.Nodes(env))
	o.output.AddFlag(c)
	return c
}

func oneImage(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return cli.Usagef("one image is needed, and %d are given", len(args))
	}
	return nil
}

func (o *runOptions) run(ctx context.Context, env *cli.Environment) error {
	if o.timeout < time.Second {
		return cli.Usagef("--timeout must be at least 1s")
	}
	if _, err := reference.ParseDockerRef(o.image); err != nil {
		return fmt.Errorf("%q is not the name of an image: %w", o.image, err)
	}
	var err error
	if o.namespace, _, err = env.Kube.ToRawKubeConfigLoader().Namespace(); err != nil {
		return fmt.Errorf("finding the namespace: %w", err)
	}
	c, err := env.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	nodes, err := o.nodes(ctx, c, env.Home)
	if err != nil {
		return ended(ctx, err, "")
	}
	if o.noopImage == "" {
		if o.noopImage, err = installedNoop(ctx, c, env.Home); err != nil {
			return ended(ctx, err, "")
		}
	}
	if o.assignedUser, err = scc.AssignUsers(c.RESTMapper()); err != nil {
		return ended(ctx, err, "")
	}
	o.lifetime = o.timeout
	l := &laboratory{WithWatch: c, subject: o.subject, progress: func(format string, args ...any) {
		fmt.Fprintf(env.ErrOut, format+"\n", args...)
	}}
	x, err := l.measure(ctx, nodes)
	if err != nil {
		return err
	}
	if err := o.output.Print(env.Out, x, func() error { return x.print(env.Out, env.Colours()) }); err != nil {
		return err
	}
	if o.html == "" {
		return nil
	}
	return writePage(o.html, experimentPage(x, time.Now()))
}

// nodes are where to look for a cold start: the one that is asked for, or those that seem to lack the image.
func (o *runOptions) nodes(ctx context.Context, c client.Reader, home string) ([]string, error) {
	if o.node != "" {
		var node corev1.Node
		if err := c.Get(ctx, client.ObjectKey{Name: o.node}, &node); err != nil {
			return nil, fmt.Errorf("reading node %s: %w", o.node, err)
		}
		return []string{o.node}, usable(&node)
	}
	var all corev1.NodeList
	if err := c.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var nodes []corev1.Node
	var why error
	for _, node := range all.Items {
		if err := usable(&node); err != nil {
			why = err
			continue
		}
		nodes = append(nodes, node)
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("no node of %d can be measured on: %w", len(all.Items), why)
	}
	// Who may not see them can do without: the kubelet has the last word.
	var pods corev1.PodList
	_ = c.List(ctx, &pods, client.InNamespace(home), client.MatchingLabels{v1alpha1.LabelComponent: v1alpha1.ComponentPrepull})
	return candidates(nodes, pods.Items, o.image), nil
}

// installedNoop is the image of noop that an installed kube-prepull uses.
func installedNoop(ctx context.Context, c client.Reader, home string) (string, error) {
	var stored corev1.ConfigMap
	if err := c.Get(ctx, client.ObjectKey{Namespace: home, Name: v1alpha1.Name}, &stored); err != nil {
		return "", fmt.Errorf("looking for the image of noop in the configuration of kube-prepull (--noop-image names one without it): %w", err)
	}
	var configuration struct {
		NoopImage string `json:"noopImage"`
	}
	if err := yaml.Unmarshal([]byte(stored.Data["config.yaml"]), &configuration); err != nil || configuration.NoopImage == "" {
		return "", fmt.Errorf("the configuration of kube-prepull names no image of noop: name one with --noop-image")
	}
	return configuration.NoopImage, nil
}

// print writes an experiment for people.
func (x *Experiment) print(w io.Writer, colours bool) error {
	table := cli.NewTable("START", "SCHEDULED", "SANDBOX", "PULLED", "STARTED", "START-UP", "")
	longest := 0.0
	for _, s := range x.Starts {
		longest = max(longest, s.StartUpSeconds)
	}
	for _, s := range x.Starts {
		kind, pull := cli.Good("warm"), "-"
		if s.Cold {
			kind, pull = cli.Bad("cold"), short(s.PulledSeconds)
		}
		table.Row(kind, short(s.ScheduledSeconds), short(s.SandboxSeconds), pull, short(s.StartedSeconds), short(s.StartUpSeconds), s.strip(longest))
	}
	fmt.Fprintf(w, "%s on node %s%s\n\n", cli.Plain(x.Image), x.Node, sizeWords(x.SizeBytes))
	if err := table.Write(w, colours); err != nil {
		return err
	}
	for _, words := range append([]string{x.summary()}, x.Notes...) {
		if words != "" {
			fmt.Fprintf(w, "\n%s\n", words)
		}
	}
	return nil
}
