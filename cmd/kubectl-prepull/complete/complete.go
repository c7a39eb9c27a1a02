// Package complete proposes arguments to a shell: names that are in the cluster. What cannot be read proposes nothing.
package complete

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

// patience is how long somebody waits who has pressed the tab key.
const patience = 3 * time.Second

// Nodes proposes the names of nodes that are not yet given.
func Nodes(env *cli.Environment) cobra.CompletionFunc {
	return func(c *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return without(names(c.Context(), env, "Node", "", "", begun), given), cobra.ShellCompDirectiveNoFileComp
	}
}

// Subjects proposes what can be explained: an image, pod/NAME or node/NAME.
func Subjects(env *cli.Environment) cobra.CompletionFunc {
	return func(c *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const only = cobra.ShellCompDirectiveNoFileComp
		switch {
		case len(given) > 0:
			return nil, only
		case strings.HasPrefix(begun, "pod/"):
			namespace, _, err := env.Kube.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return nil, only
			}
			return names(c.Context(), env, "Pod", namespace, "pod/", begun), only
		case strings.HasPrefix(begun, "node/"):
			return names(c.Context(), env, "Node", "", "node/", begun), only
		}
		return append(images(c.Context(), env, begun), begins(begun, "pod/", "node/")...), only | cobra.ShellCompDirectiveNoSpace
	}
}

// names of objects that begin as the argument does. Their metadata is all that is read.
func names(ctx context.Context, env *cli.Environment, kind, namespace, prefix, begun string) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := env.Client()
	if err != nil {
		return nil
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: kind + "List"})
	if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil
	}
	var all []string
	for i := range list.Items {
		all = append(all, prefix+list.Items[i].Name)
	}
	return begins(begun, all...)
}

func images(ctx context.Context, env *cli.Environment, begun string) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := env.Client()
	if err != nil {
		return nil
	}
	objects, err := inventory.ReadPrepullImages(ctx, c)
	if err != nil {
		return nil
	}
	var all []string
	for i := range objects {
		all = append(all, objects[i].Spec.Image)
	}
	return begins(begun, all...)
}

func begins(begun string, all ...string) []string {
	var found []string
	for _, s := range all {
		if strings.HasPrefix(s, begun) {
			found = append(found, s)
		}
	}
	return found
}

func without(all, given []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return slices.Contains(given, s) })
}
