// Package uninstall is the command kubectl prepull uninstall: it removes kube-prepull, or what an uninstallation has left.
package uninstall

import (
	"context"
	"fmt"

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
	var yes, crds bool
	var key string
	c := &cobra.Command{
		Use:   "uninstall --yes",
		Short: "Remove kube-prepull from the cluster, or what an uninstallation has left",
		Long: `Remove kube-prepull from the cluster, or what an uninstallation has left. It needs nothing but the API server and the
permission to delete what is removed: no manager, no image, no Helm release, no CRD. What holds admissions or nodes goes first: the
webhook configuration and the startup taint. Then the managers are stopped, and what they made goes, and what was installed. It may be
called again at any time. Images that people declared stay, and so does the CRD, unless --crds is given; so do the namespace, and images
on the nodes.`,
		Example: `  kubectl prepull uninstall --yes
  kubectl prepull uninstall --yes --taint startup-taint.cluster-autoscaler.kubernetes.io/images`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes {
				return cli.Usagef("kube-prepull goes from the whole cluster: confirm that with --yes")
			}
			return run(c.Context(), env, uninstall.Options{Namespace: env.Home, Condition: true, TaintKey: key, Installed: true, CRD: crds})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	c.Flags().BoolVar(&crds, "crds", false, "also delete the CRD, and with it the images that people declared")
	c.Flags().StringVar(&key, "taint", "", "key of the taint; by default that of the manager's configuration, and kube-prepull.io/warming where there is none")
	return c
}

func run(ctx context.Context, env *cli.Environment, o uninstall.Options) error {
	c, err := env.Client()
	if err != nil {
		return err
	}
	if o.TaintKey == "" {
		if o.TaintKey, err = inventory.ReadGateKey(ctx, c, env.Home); err != nil {
			return fmt.Errorf("%w; --taint names the taint", err)
		}
	}
	return remove(ctx, env, c, o)
}

// remove prints each thing that is gone.
func remove(ctx context.Context, env *cli.Environment, c client.Client, o uninstall.Options) error {
	released, err := released(ctx, c, o.Namespace)
	if err != nil {
		return err
	}
	found := false
	o.Tell = func(words string) {
		found = true
		fmt.Fprintln(env.Out, words)
	}
	if err := uninstall.Run(ctx, c, o); err != nil {
		return err
	}
	if !found {
		fmt.Fprintf(env.Out, "nothing of kube-prepull is left in the cluster and in namespace %s\n", o.Namespace)
	}
	if released {
		env.Note(fmt.Sprintf("Helm still knows the release: helm uninstall %s --namespace %s --no-hooks", v1alpha1.Name, o.Namespace))
	}
	return nil
}

// released tells whether Helm knows a release: its Secrets have these labels.
func released(ctx context.Context, c client.Client, namespace string) (bool, error) {
	var revisions corev1.SecretList
	if err := c.List(ctx, &revisions, client.InNamespace(namespace), client.MatchingLabels{"owner": "helm", "name": v1alpha1.Name}, client.Limit(1)); err != nil {
		return false, fmt.Errorf("looking for a release of Helm: %w", err)
	}
	return len(revisions.Items) > 0, nil
}
