// Package uninstall takes kube-prepull out of a cluster, whatever state it is in. It needs a client, and no manager.
package uninstall

import (
	"context"
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Options say where kube-prepull is, and what of it goes.
type Options struct {
	// Namespace is that of the managers.
	Namespace string

	// Condition is set if nodes may have the condition ImagesReady.
	Condition bool

	// TaintKey is the key of the taint that nodes are held with. If it is empty no taint is looked for.
	TaintKey string

	// Installed is set if what the chart installs goes too. Else it stays for whoever installed it, but for the managers and
	// the webhook configuration.
	Installed bool

	// CRD is set if the CRD goes too, and with it the images that people declared.
	CRD bool

	// DryRun is set if nothing is to change: the API server is asked whether each thing could go, and it is told as if it had.
	DryRun bool

	// Tell is called with each thing that is gone, in words: "daemonset/prepull-1 deleted".
	Tell func(words string)
}

// Run removes kube-prepull. What holds nodes or admissions goes first. Then the managers are stopped, since they would make
// again what goes after them: what they made, and what they wrote on nodes. Images that people declared stay, unless the CRD goes.
// It does all that it can, returns what it could not, and may be called again at any time.
func Run(ctx context.Context, c client.Client, o Options) error {
	if o.DryRun {
		c, o.Tell = client.NewDryRunClient(c), once(o.Tell)
	}
	r := remover{client: c, options: o}
	errs := []error{
		r.delete(ctx, webhookConfiguration),
		r.untaint(ctx),
		r.stop(ctx),
		r.deleteAll(ctx, made),
		r.unmark(ctx),
	}
	if o.Installed {
		errs = append(errs, r.deleteAll(ctx, installed))
	}
	if o.CRD {
		errs = append(errs, r.delete(ctx, crd))
	}
	return errors.Join(errs...)
}

// once tells everything once: what is still there is found again.
func once(tell func(words string)) func(words string) {
	told := map[string]bool{}
	return func(words string) {
		if !told[words] {
			tell(words)
		}
		told[words] = true
	}
}

// remover deletes things and tells of it.
type remover struct {
	client  client.Client
	options Options
}
