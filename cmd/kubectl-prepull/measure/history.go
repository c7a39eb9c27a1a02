package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

// historyOptions are the flags of measure history.
type historyOptions struct {
	all    bool
	html   string
	output cli.Output
}

func newHistoryCommand(env *cli.Environment) *cobra.Command {
	o := &historyOptions{}
	c := &cobra.Command{
		Use:   "history",
		Short: "Tell how the pods of the cluster started: what they waited for images, and how often those were there",
		Long: `Tell how the pods of the cluster started: what they waited for images, and how often those were there.

It reads the status of pods and the events of their kubelets, and needs nothing of kube-prepull, so it also tells how things are
before kube-prepull is installed. Without a namespace it looks at all that are opted in. API servers keep events for an hour: what
older pods waited for is unknown.`,
		Example: `  kubectl prepull measure history
  kubectl prepull measure history -n shop -o wide
  kubectl prepull measure history -A --html starts.html`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.run(c.Context(), env)
		},
	}
	c.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "look at all namespaces, opted in or not")
	c.Flags().StringVar(&o.html, "html", "", "file to write a page with charts to")
	o.output.AddFlag(c)
	return c
}

func (o *historyOptions) run(ctx context.Context, env *cli.Environment) error {
	if o.all && *env.Kube.Namespace != "" {
		return cli.Usagef("--namespace and --all-namespaces exclude each other")
	}
	c, err := env.Client()
	if err != nil {
		return err
	}
	namespaces, err := o.namespaces(ctx, c, *env.Kube.Namespace, env.Home)
	if err != nil {
		return err
	}
	r := &records{parents: map[types.UID]*metav1.OwnerReference{}}
	for _, namespace := range namespaces {
		if err := r.read(ctx, c, namespace); err != nil {
			return err
		}
	}
	now := time.Now()
	h := recall(r, now)
	if err := o.output.Print(env.Out, h, func() error { return h.print(env.Out, env.Colours(), o.output.Wide()) }); err != nil {
		return err
	}
	if o.html == "" {
		return nil
	}
	return writePage(o.html, historyPage(h, now))
}

// namespaces to look at; "" is all of them.
func (o *historyOptions) namespaces(ctx context.Context, c client.Reader, asked, home string) ([]string, error) {
	if o.all {
		return []string{""}, nil
	}
	if asked != "" {
		return []string{asked}, nil
	}
	optedIn, err := inventory.ReadOptedIn(ctx, c, home)
	if err != nil {
		return nil, err
	}
	if len(optedIn) == 0 {
		return nil, errors.New("no namespace is opted in: name one with --namespace, or look at all with --all-namespaces")
	}
	return slices.Sorted(maps.Keys(optedIn)), nil
}

// print writes a history for people.
func (h *History) print(w io.Writer, colours, wide bool) error {
	if h.Starts == 0 {
		_, err := fmt.Fprintln(w, strings.TrimSpace("No pod has started there. "+h.pending()))
		return err
	}
	columns := []string{"NAMESPACE", "WORKLOAD", "STARTS", "HITS", "MISSES", "UNKNOWN", "PULLED", "SHARE", "START-UP"}
	if wide {
		columns = append(columns, "SLOWEST PULL", "NODE", "IMAGE")
	}
	table := cli.NewTable(columns...)
	for i := range h.Workloads {
		x := &h.Workloads[i]
		row := append([]any{x.Namespace, x.Kind + "/" + x.Name}, x.cells()...)
		if worst, node := x.slowest(); wide && worst != nil {
			row = append(row, short(worst.PulledSeconds), node, worst.Image+sizeWords(worst.SizeBytes))
		} else if wide {
			row = append(row, "", "", "")
		}
		table.Row(row...)
	}
	if err := table.Write(w, colours); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", h.verdict())
	return err
}

func (t *Totals) cells() []any {
	misses := cli.Plain(fmt.Sprint(t.Misses))
	if t.Misses > 0 {
		misses = cli.Bad(misses.String())
	}
	cells := []any{t.Starts, t.Hits, misses, t.Unknown, "", "", ""}
	if t.Misses > 0 {
		cells[4] = short(t.PulledSeconds)
	}
	if t.PullShare != nil {
		cells[5] = percent(*t.PullShare)
	}
	if t.MedianStartUpSeconds > 0 {
		cells[6] = short(t.MedianStartUpSeconds)
	}
	return cells
}

// slowest pull of a workload and its node; nil if nothing was pulled.
func (x *Workload) slowest() (worst *Pull, node string) {
	for i := range x.Pods {
		s := &x.Pods[i]
		if len(s.Pulls) > 0 && (worst == nil || s.Pulls[0].PulledSeconds > worst.PulledSeconds) {
			worst, node = &s.Pulls[0], s.Node
		}
	}
	return worst, node
}
