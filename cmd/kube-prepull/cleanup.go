package main

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
)

// cleanup stops the managers and removes what they leave, and logs what that was.
func cleanup(ctx context.Context, o uninstall.Options) error {
	setLogger("info")
	kube, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	kube.QPS, kube.Burst = clientQPS, clientBurst // thousands of nodes may have a mark
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	c, err := client.New(kube, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("creating the client: %w", err)
	}
	o.Tell = func(words string) { ctrl.Log.Info(words) }
	return uninstall.Run(ctx, c, o)
}
