package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull"
	"github.com/kube-prepull/kube-prepull/webhook/digest"
)

func TestTheVersionIsPrinted(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if err := command(t.Context(), []string{"version"}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if stdout.String() != version+"\n" || stderr.Len() > 0 {
		t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
	}
}

func TestHelpIsNoError(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if err := command(t.Context(), []string{"--help"}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"-config", "-namespace", "-kubeconfig"} {
		if !strings.Contains(stderr.String(), name) {
			t.Errorf("%s is not in the help:\n%s", name, &stderr)
		}
	}
}

func TestWrongCommandLinesSayWhatIsWrong(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	tests := map[string]struct {
		args []string
		want string
	}{
		"an unknown command":      {[]string{"start"}, `unknown command "start"`},
		"an unknown flag":         {[]string{"--confg=x"}, "parsing flags: flag provided but not defined: -confg"},
		"an argument too many":    {[]string{"--namespace=infra", "more"}, `unexpected argument "more"`},
		"no namespace":            {nil, "no namespace: set --namespace or POD_NAMESPACE"},
		"no namespace to clean":   {[]string{"cleanup"}, "no namespace"},
		"no namespace to check":   {[]string{"check"}, "no namespace"},
		"no configuration file":   {[]string{"--namespace=infra", "--config=" + t.TempDir() + "/none"}, "reading the configuration: open "},
		"a folder for a file":     {[]string{"--namespace=infra", "--config=" + t.TempDir()}, "reading the configuration: "},
		"version takes no others": {[]string{"version", "now"}, `unexpected argument "now"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := command(t.Context(), test.args, &stdout, &stderr)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestTheNamespaceIsThePodsUnlessAFlagSaysOtherwise(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "infra")
	tests := map[string]struct {
		name string
		args []string
		want options
	}{
		"defaults": {"", nil, options{config: "/etc/kube-prepull/config.yaml", namespace: "infra"}},
		"flags":    {"", []string{"--namespace", "other", "--config=c.yaml"}, options{config: "c.yaml", namespace: "other"}},
		"what to take from nodes": {
			"cleanup", []string{"--node-condition", "--taint=kube-prepull.io/cold"},
			options{config: "/etc/kube-prepull/config.yaml", namespace: "infra", marks: prepull.NodeMarks{Condition: true, TaintKey: "kube-prepull.io/cold"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseOptions(test.name, test.args, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(options{})); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

// A key of the configuration that is forgotten on its way to a package would be a key that does nothing.
func TestEveryOptionIsSet(t *testing.T) {
	t.Parallel()
	c, err := v1alpha1.ParseConfiguration([]byte("apiVersion: kube-prepull.io/v1alpha1\nkind: Configuration\nnoopImage: noop\nminBytes: 1Mi\nnodeCondition: true\nhostNetwork: true\ngate: {enabled: true}\nexclude: [a]\nregistries: [{host: plain.internal, plainHTTP: true}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	registries := digest.New(registryOptions(c))
	for _, options := range []any{prepullOptions(c, "infra", registries), webhookOptions(c, "infra", nil, registries), registryOptions(c)} {
		for field, value := range reflect.ValueOf(options).Fields() {
			if value.IsZero() && field.Name != "Transport" {
				t.Errorf("%T: %s is not set", options, field.Name)
			}
		}
	}
}
