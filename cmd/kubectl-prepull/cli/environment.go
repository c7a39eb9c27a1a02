// Package cli is what the commands of the plugin have in common: the cluster they speak to, where they print, and how
// they end.
package cli

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Environment is where a command runs.
type Environment struct {
	genericiooptions.IOStreams

	// Kube has kubectl's flags that say which cluster, context, user and namespace.
	Kube *genericclioptions.ConfigFlags

	// Home is the namespace that kube-prepull is installed in.
	Home string
}

// NewEnvironment reads and prints on streams, and finds the cluster as kubectl does.
func NewEnvironment(streams genericiooptions.IOStreams) *Environment {
	return &Environment{IOStreams: streams, Kube: genericclioptions.NewConfigFlags(true), Home: v1alpha1.Name}
}

// AddFlags gives a command, and those below it, kubectl's flags and the one that says where kube-prepull is.
func (e *Environment) AddFlags(flags *pflag.FlagSet) {
	e.Kube.AddFlags(flags)
	flags.StringVar(&e.Home, "install-namespace", e.Home, "namespace that kube-prepull is installed in")
}

// Client speaks to the cluster, in the types of Kubernetes and of kube-prepull.
func (e *Environment) Client() (client.WithWatch, error) {
	config, err := e.Kube.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	return c, nil
}

// Cluster is the cluster for people: its address, and the context that leads there.
func (e *Environment) Cluster() (string, error) {
	config, err := e.Kube.ToRESTConfig()
	if err != nil {
		return "", fmt.Errorf("finding the cluster: %w", err)
	}
	raw, err := e.Kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return "", fmt.Errorf("finding the cluster: %w", err)
	}
	words := "the cluster at " + config.Host
	if context := cmp.Or(*e.Kube.Context, raw.CurrentContext); context != "" {
		words += " (context " + context + ")"
	}
	return words, nil
}

// Installed is Client for a cluster that has kube-prepull, as far as its kind tells; the error says so if it does not.
func (e *Environment) Installed() (client.WithWatch, error) {
	c, err := e.Client()
	if err != nil {
		return nil, err
	}
	kind := v1alpha1.GroupVersion.WithKind("PrepullImage")
	if _, err := c.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version); err != nil {
		return nil, fmt.Errorf("looking for the kind PrepullImage: %w", err)
	}
	return c, nil
}

// Colours tells whether output may have colours: on a terminal, unless NO_COLOR is set (https://no-color.org).
func (e *Environment) Colours() bool {
	return e.Terminal() && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Terminal tells whether output goes to a terminal.
func (e *Environment) Terminal() bool {
	file, ok := e.Out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
