// Command controller runs cert-manager's own controllers: those that self-signed and CA issuers need.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"

	controllers "github.com/cert-manager/cert-manager/pkg/controller"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	flag.Parse() // --kubeconfig, which package ctrl has defined
	if err := run(ctrl.SetupSignalHandler(), flag.Lookup("kubeconfig").Value.String()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run does what the command of cert-manager's release does, without leader election, until ctx ends.
func run(ctx context.Context, kubeconfig string) error {
	factory, err := controllers.NewContextFactory(ctx, controllers.ContextOptions{
		Kubeconfig:    kubeconfig,
		IssuerOptions: controllers.IssuerOptions{ClusterResourceNamespace: "cert-manager"},
	})
	if err != nil {
		return err
	}
	root, err := factory.Build()
	if err != nil {
		return err
	}
	var all []controllers.Interface
	for name, constructor := range controllers.Known() {
		c, err := constructor(factory)
		if err != nil {
			return fmt.Errorf("making controller %s: %w", name, err)
		}
		all = append(all, c)
	}
	root.SharedInformerFactory.Start(ctx.Done())
	root.KubeSharedInformerFactory.Start(ctx.Done())
	var running sync.WaitGroup
	errs := make([]error, len(all))
	for i, c := range all {
		running.Go(func() { errs[i] = c.Run(5, ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}
