package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/uninstall"
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

func TestABuildWithOtherClocksSaysSo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		speed string
		want  string
		wrong bool
	}{
		"production":                   {speed: "1", want: "v1.2.3"},
		"a build for tests":            {speed: "4", want: "v1.2.3 (clocks 4 times as fast, for tests)"},
		"the fastest":                  {speed: "100", want: "v1.2.3 (clocks 100 times as fast, for tests)"},
		"clocks that would be none":    {speed: "101", wrong: true},
		"clocks that would never ring": {speed: "0", wrong: true},
		"clocks that would go back":    {speed: "-4", wrong: true},
		"a fraction":                   {speed: "1.5", wrong: true},
		"nothing":                      {speed: "", wrong: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			speed, err := parseClockSpeed(test.speed)
			if test.wrong {
				if want := "built with -X main.clockSpeed=" + test.speed + ": want a whole number from 1 to 100"; err == nil || err.Error() != want {
					t.Errorf("error %v, want %q", err, want)
				}
				return
			}
			if got := build("v1.2.3", speed); err != nil || got != test.want {
				t.Errorf("it is %q (%v), want %q", got, err, test.want)
			}
		})
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
		"defaults": {"", nil, options{config: "/etc/kube-prepull/config.yaml", namespace: "infra", cleanup: uninstall.Options{Namespace: "infra"}}},
		"flags":    {"", []string{"--namespace", "other", "--config=c.yaml"}, options{config: "c.yaml", namespace: "other", cleanup: uninstall.Options{Namespace: "other"}}},
		"what to take from nodes": {
			"cleanup", []string{"--node-condition", "--taint=kube-prepull.io/cold"},
			options{config: "/etc/kube-prepull/config.yaml", namespace: "infra", cleanup: uninstall.Options{Namespace: "infra", Condition: true, TaintKey: "kube-prepull.io/cold"}},
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
	c, err := v1alpha1.ParseConfiguration([]byte("apiVersion: kube-prepull.io/v1alpha1\nkind: Configuration\nnoopImage: noop\nnoopPullSecrets: [mirror]\nminBytes: 1Mi\nnodeCondition: true\nhostNetwork: true\ngate: {enabled: true}\nexclude: [a]\nlearnFrom: pods\ncertificates: directory\ncertificateDirectory: /certificate\nregistries: [{host: plain.internal, plainHTTP: true}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	registries := digest.New(registryOptions(c))
	clocks := clock.Production()
	never := func() bool { return false }
	for _, options := range []any{
		certificateOptions(c, "infra", clocks), prepullOptions(c, "infra", registries, clocks, never, never), webhookOptions(c, "infra", nil, registries, clocks), registryOptions(c),
	} {
		for field, value := range reflect.ValueOf(options).Fields() {
			if value.IsZero() && field.Name != "Transport" {
				t.Errorf("%T: %s is not set", options, field.Name)
			}
		}
	}
}
