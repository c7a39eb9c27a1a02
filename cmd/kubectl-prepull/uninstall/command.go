// Package uninstall is the command kubectl prepull uninstall: it removes kube-prepull, or what an uninstallation has left.
package uninstall

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

// Command is kubectl prepull uninstall.
func Command(env *cli.Environment) *cobra.Command {
	var yes bool
	o := uninstall.Options{Condition: true, Installed: true}
	c := &cobra.Command{
		Use:   "uninstall (--dry-run | --yes)",
		Short: "Remove kube-prepull from the cluster, or what an uninstallation has left",
		Long: `Remove kube-prepull from the cluster, or what an uninstallation has left. It needs nothing but the API server and the
permission to delete what is removed: no manager, no image, no Helm release, no CRD. What holds admissions or nodes goes first: the
webhook configuration and the startup taint. Then the managers are stopped, and what they made goes, and what was installed. It may be
called again at any time. Where the configuration is gone, the taints that the gate may have had are named. Images that people
declared stay, and so does the CRD, unless --crds is given; so do the namespace, and images on the nodes. What kubectl prepull wait declared goes: it has an end that nobody would see to.`,
		Example: `  kubectl prepull uninstall --dry-run
  kubectl prepull uninstall --yes
  kubectl prepull uninstall --yes --taint startup-taint.cluster-autoscaler.kubernetes.io/images`,
		Args: cli.NoArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Namespace = env.Home
			if err := inventory.CheckTaintKey(o.TaintKey); err != nil {
				return err
			}
			return run(c.Context(), env, o, yes)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "print what would go, as far as the API server lets you delete it, and change nothing")
	c.Flags().BoolVar(&o.CRD, "crds", false, "also delete the CRD, and with it the images that people declared")
	c.Flags().StringVar(&o.TaintKey, "taint", "", "key of the taint; by default that of the manager's configuration, and kube-prepull.io/warming where there is none")
	return c
}

func run(ctx context.Context, env *cli.Environment, o uninstall.Options, yes bool) error {
	cluster, err := env.Cluster()
	if err != nil {
		return err
	}
	switch {
	case o.DryRun:
		env.Note("this is what would go from " + cluster)
	case !yes:
		return cli.Usagef("kube-prepull would go from the whole of %s: --dry-run lists what that is, --yes does it", cluster)
	default:
		env.Note("kube-prepull goes from " + cluster)
	}
	c, err := env.Client()
	if err != nil {
		return err
	}
	return find(ctx, env, c, o)
}

// find removes kube-prepull with the taint that was given, or that of the configuration. If that is gone, it names those that
// may have been the gate's: others take theirs away themselves.
func find(ctx context.Context, env *cli.Environment, c client.Client, o uninstall.Options) error {
	known := o.TaintKey != ""
	if !known {
		var err error
		if o.TaintKey, known, err = inventory.ReadGateKey(ctx, c, env.Home); err != nil {
			return fmt.Errorf("%w; --taint names the taint", err)
		}
	}
	if err := remove(ctx, env, c, o); err != nil || known {
		return err
	}
	keys, err := inventory.PossibleGateKeys(ctx, c)
	for _, key := range keys {
		if key != o.TaintKey {
			env.Note("the configuration is not there, or may not be read, and nodes have the taint " + key + ": if it was that of the gate, --taint " + key + " takes it away")
		}
	}
	return err
}

// remove prints each thing that is gone, and what stays.
func remove(ctx context.Context, env *cli.Environment, c client.Client, o uninstall.Options) error {
	released, err := released(ctx, c, o.Namespace)
	if err != nil {
		return err
	}
	declared, known, err := declared(ctx, c)
	if err != nil {
		return err
	}
	found := false
	o.Tell = func(words string) {
		found = true
		if o.DryRun {
			words += " (dry run)"
		}
		fmt.Fprintln(env.Out, words)
	}
	if err := uninstall.Run(ctx, c, o); err != nil {
		return err
	}
	if o.CRD {
		for _, d := range declared {
			o.Tell("prepullimage/" + d.Name + " deleted with the CRD")
		}
	}
	if !found {
		fmt.Fprintf(env.Out, "nothing of kube-prepull is left to delete in the cluster and in namespace %s\n", o.Namespace)
	}
	if known && !o.CRD {
		fmt.Fprintln(env.Out, stays(declared))
	}
	if released {
		env.Note(fmt.Sprintf("Helm still knows the release: helm uninstall %s --namespace %s --no-hooks", v1alpha1.Name, o.Namespace))
	}
	return nil
}

// declared are the images that people declared, and known is false if the cluster has no such kind.
func declared(ctx context.Context, c client.Reader) (found []v1alpha1.PrepullImage, known bool, err error) {
	all, err := inventory.ReadPrepullImages(ctx, c)
	if cli.NoKind(err) {
		return nil, false, nil
	}
	return slices.DeleteFunc(all, func(o v1alpha1.PrepullImage) bool {
		return o.Managed() || o.Labels[v1alpha1.LabelDeclaredBy] == v1alpha1.DeclaredByWait
	}), true, err
}

// stays says what is left: the CRD, and the images that people declared, of which nobody ends those with an end any more.
func stays(declared []v1alpha1.PrepullImage) string {
	const crd = "the CRD prepullimages.kube-prepull.io stays"
	var names []string
	ends := ""
	for _, d := range declared {
		names = append(names, d.Name)
		if d.Spec.TTL != nil {
			names[len(names)-1] += " (ttl " + d.Spec.TTL.Duration.String() + ")"
			ends = ", which nobody ends at its ttl"
		}
	}
	if len(names) == 0 {
		return crd + ", with no image in it: --crds deletes it"
	}
	return fmt.Sprintf("%s, and what people declared%s: %s; --crds deletes all of it", crd, ends, strings.Join(names, ", "))
}

// released tells whether Helm knows a release: its Secrets have these labels.
func released(ctx context.Context, c client.Client, namespace string) (bool, error) {
	var revisions corev1.SecretList
	if err := c.List(ctx, &revisions, client.InNamespace(namespace), client.MatchingLabels{"owner": "helm", "name": v1alpha1.Name}, client.Limit(1)); err != nil {
		return false, fmt.Errorf("looking for a release of Helm: %w", err)
	}
	return len(revisions.Items) > 0, nil
}
