package v1alpha1

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const header = "apiVersion: kube-prepull.io/v1alpha1\nkind: Configuration\nnoopImage: ghcr.io/kube-prepull/noop:v1\n"

func TestAConfigurationIsItsDefaultsAndWhatTheFileSays(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file string
		want func(*Configuration)
	}{
		"only what is required": {"", func(*Configuration) {}},
		"a key without a value": {"retention:\nlogLevel: null\n", func(*Configuration) {}},
		"every key": {
			`
maxImagesPerNode: 200
maxBytesPerNode: 50Gi
maxNodeClasses: 12
minBytes: 10Mi
nodeCondition: true
hostNetwork: true
gate: {enabled: true, taintKey: startup-taint.cluster-autoscaler.kubernetes.io/images, deadline: 90s, maxBytes: 4Gi}
mirror: {namespace: spegel, podSelector: {app.kubernetes.io/name: spegel}, deadline: 30s}
exclude: ["*:debug"]
refreshInterval: 1h
learnFrom: pods
pullSecrets: false
pullSecretRoles: namespaces
certificates: directory
certificateDirectory: /certificate
maxConcurrentNodes: 10%
pullsPerNode: 8
pullDeadline: 1s
resyncInterval: 90s
retention: 0s
rollbackRetention: 1h30m
priorityClassName: system-node-critical
webhookPort: 443
metricsAddress: 127.0.0.1:9998
metricsAuthentication: false
healthAddress: 127.0.0.1:9999
logLevel: debug
`, func(c *Configuration) {
				c.MaxImagesPerNode = 200
				c.MaxBytesPerNode = "50Gi"
				c.MaxNodeClasses = 12
				c.MinBytes = "10Mi"
				c.NodeCondition, c.HostNetwork = true, true
				c.Mirror = Mirror{"spegel", map[string]string{"app.kubernetes.io/name": "spegel"}, metav1.Duration{Duration: 30 * time.Second}}
				c.Gate = Gate{true, "startup-taint.cluster-autoscaler.kubernetes.io/images", metav1.Duration{Duration: 90 * time.Second}, "4Gi"}
				c.Exclude = []string{"*:debug"}
				c.RefreshInterval = metav1.Duration{Duration: time.Hour}
				c.LearnFrom = LearnFromPods
				c.PullSecrets = false
				c.PullSecretRoles = PullSecretRolesNamespaces
				c.Certificates = "directory"
				c.CertificateDirectory = "/certificate"
				c.MaxConcurrentNodes = intstr.FromString("10%")
				c.PullsPerNode = 8
				c.PullDeadline = metav1.Duration{Duration: time.Second}
				c.ResyncInterval = metav1.Duration{Duration: 90 * time.Second}
				c.Retention = metav1.Duration{}
				c.RollbackRetention = metav1.Duration{Duration: 90 * time.Minute}
				c.PriorityClassName = "system-node-critical"
				c.WebhookPort = 443
				c.MetricsAddress = "127.0.0.1:9998"
				c.MetricsAuthentication = false
				c.HealthAddress = "127.0.0.1:9999"
				c.LogLevel = "debug"
			},
		},
		"the cluster's default priority": {`priorityClassName: ""`, func(c *Configuration) { c.PriorityClassName = "" }},
		"a part of the mirror leaves the rest as it is": {"mirror: {namespace: p2p, podSelector: {app: p2p}}", func(c *Configuration) {
			c.Mirror.Namespace, c.Mirror.PodSelector = "p2p", map[string]string{"app": "p2p"}
		}},
		"a part of the gate leaves the rest as it is": {"gate: {enabled: true}", func(c *Configuration) { c.Gate.Enabled = true }},
		"a gate that all know":                        {"gate: {taintKey: readiness.k8s.io/images}", func(c *Configuration) { c.Gate.TaintKey = "readiness.k8s.io/images" }},
		"a gate of our own name":                      {"gate: {taintKey: kube-prepull.io/cold}", func(c *Configuration) { c.Gate.TaintKey = "kube-prepull.io/cold" }},
		"a number of nodes":                           {`maxConcurrentNodes: 1`, func(c *Configuration) { c.MaxConcurrentNodes = intstr.FromInt32(1) }},
		"no metrics":                                  {`metricsAddress: "0"`, func(c *Configuration) { c.MetricsAddress = MetricsOff }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseConfiguration([]byte(header + test.file))
			if err != nil {
				t.Fatal(err)
			}
			want := defaultConfiguration()
			want.APIVersion, want.Kind, want.NoopImage = "kube-prepull.io/v1alpha1", "Configuration", "ghcr.io/kube-prepull/noop:v1"
			test.want(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryProblemIsNamedByItsKey(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file string
		want []string
	}{
		"an empty file lacks what is required": {"", []string{"apiVersion: Invalid", "kind: Invalid", "noopImage: Invalid"}},
		"another version":                      {strings.Replace(header, "v1alpha1", "v1", 1), []string{`apiVersion: Invalid value: "kube-prepull.io/v1": must be kube-prepull.io/v1alpha1`}},
		"another kind":                         {strings.Replace(header, "kind: Configuration", "kind: ConfigMap", 1), []string{`kind: Invalid value: "ConfigMap"`}},
		"an unknown key":                       {header + "maxImages: 5", []string{`maxImages: Unsupported value: "unknown key"`, `"maxImagesPerNode"`}},
		"a key in another case":                {header + "Retention: 5m", []string{"Retention: Unsupported value"}},
		"all at once": {
			header + `
maxImagesPerNode: 0
maxBytesPerNode: 101%
maxNodeClasses: 0
minBytes: -1
exclude: [""]
refreshInterval: 1ms
pullSecrets: sometimes
maxConcurrentNodes: 0
pullDeadline: 10x
resyncInterval: 5
retention: -1s
rollbackRetention: [1h]
priorityClassName: Not A Name
webhookPort: 70000
metricsAddress: "8080"
healthAddress: "0"
logLevel: trace
unknown: {a: b}
`, []string{
				`maxImagesPerNode: Invalid value: 0: must be from 1 to 200`,
				`maxBytesPerNode: Invalid value: "101%": must be a quantity such as 50Gi, or a percentage`,
				`maxNodeClasses: Invalid value: 0: must be from 1 to 1000`,
				`minBytes: Invalid value: `,
				`exclude: Invalid value: `,
				`refreshInterval: Invalid value: "1ms": must be at least 1s`,
				`pullSecrets: Invalid value: "sometimes": `,
				`maxConcurrentNodes: Invalid value: "0": must be a number from 1`,
				`pullDeadline: Invalid value: "10x": time: unknown unit "x"`,
				`resyncInterval: Invalid value: 5: `,
				`retention: Invalid value: "-1s": must not be negative`,
				`rollbackRetention: Invalid value: ["1h"]: `,
				`priorityClassName: Invalid value: "Not A Name": must be the name of a priority class`,
				`webhookPort: Invalid value: 70000: must be from 1 to 65535`,
				`metricsAddress: Invalid value: "8080": must be host:port, or 0`,
				`healthAddress: Invalid value: "0": must be host:port`,
				`logLevel: Invalid value: "trace": must be info or debug`,
				`unknown: Unsupported value: "unknown key"`,
			},
		},
		"a mirror without pods":         {header + "mirror: {namespace: spegel}", []string{`mirror.namespace: Invalid value: "spegel": must be set with podSelector, and with nothing else`}},
		"a mirror anywhere":             {header + "mirror: {podSelector: {app: spegel}}", []string{`mirror.namespace: Invalid value: "": must be set with podSelector, and with nothing else`}},
		"a mirror of no namespace":      {header + "mirror: {namespace: Spegel, podSelector: {app: spegel}}", []string{`mirror.namespace: Invalid value: "Spegel": must be the name of a namespace`}},
		"a mirror by no label":          {header + `mirror: {namespace: p2p, podSelector: {"a b": c}}`, []string{`mirror.podSelector: Invalid value: "a b=c": must be a label`}},
		"a mirror for a day":            {header + "mirror: {deadline: 24h}", []string{`mirror.deadline: Invalid value: "24h0m0s": must be from 1s to 1h`}},
		"a deadline at once":            {header + "gate: {deadline: 0s}", []string{`gate.deadline: Invalid value: "0s": must be from 10s to 1h`}},
		"a deadline next year":          {header + "gate: {deadline: 8760h}", []string{`gate.deadline: Invalid value: "8760h0m0s": must be from 10s to 1h`}},
		"a taint of somebody's":         {header + "gate: {taintKey: node.cilium.io/agent-not-ready}", []string{`gate.taintKey: Invalid value: "node.cilium.io/agent-not-ready": must be kube-prepull.io/, startup-taint.cluster-autoscaler.kubernetes.io/ or readiness.k8s.io/ and a name`}},
		"a taint without a name":        {header + "gate: {taintKey: kube-prepull.io/}", []string{`gate.taintKey: Invalid value: "kube-prepull.io/"`}},
		"a gate for no bytes":           {header + `gate: {maxBytes: "0"}`, []string{`gate.maxBytes: Invalid value: "0": must be a quantity such as 10Gi, larger than 0`}},
		"a gate of another shape":       {header + "gate: {enable: true}", []string{`gate: Invalid value: {"enable":true}: json: unknown field "enable"`}},
		"too many images":               {header + "maxImagesPerNode: 201", []string{"maxImagesPerNode: Invalid value: 201"}},
		"a number that is text":         {header + `maxImagesPerNode: "5"`, []string{`maxImagesPerNode: Invalid value: "5": `}},
		"half an image":                 {header + "maxImagesPerNode: 1.5", []string{"maxImagesPerNode: Invalid value: 1.5: "}},
		"certificates from nowhere":     {header + "certificates: acme", []string{`certificates: Invalid value: "acme"`}},
		"learning from nothing":         {header + "learnFrom: nodes", []string{`learnFrom: Invalid value: "nodes": must be templates or pods`}},
		"roles of no kind":              {header + "pullSecretRoles: none", []string{`pullSecretRoles: Invalid value: "none": must be cluster or namespaces`}},
		"certificates: directory alone": {header + "certificates: directory", []string{`certificateDirectory: Invalid value: ""`}},
		"a directory for nothing":       {header + "certificateDirectory: /a", []string{`certificateDirectory: Invalid value: "/a"`}},
		"a share beyond all nodes":      {header + "maxConcurrentNodes: 101%", []string{`maxConcurrentNodes: Invalid value: "101%"`}},
		"a share of nothing":            {header + "maxConcurrentNodes: 0%", []string{`maxConcurrentNodes: Invalid value: "0%"`}},
		"a share without its sign":      {header + `maxConcurrentNodes: "10"`, []string{`maxConcurrentNodes: Invalid value: "10"`}},
		"a share that is a flag":        {header + "maxConcurrentNodes: true", []string{"maxConcurrentNodes: Invalid value: true"}},
		"an interval that never sleeps": {header + "resyncInterval: 10ms", []string{`resyncInterval: Invalid value: "10ms": must be at least 1s`}},
		"a deadline of nothing":         {header + "pullDeadline: 0s", []string{`pullDeadline: Invalid value: "0s": must be at least 1s`}},
		"a pull secret that is none":    {header + "noopPullSecrets: [A]\n", []string{`noopPullSecrets: Invalid value: "A": must be the name of a Secret`}},
		"a pull secret that is a copy":  {header + "noopPullSecrets: [kube-prepull-pull-mirror]\n", []string{`noopPullSecrets: Invalid value: "kube-prepull-pull-mirror": must not begin with kube-prepull-pull-, as copies of pull secrets do`}},
		"an image that is none":         {strings.Replace(header, "ghcr.io/kube-prepull/noop:v1", "A B", 1), []string{`noopImage: Invalid value: "A B": must be an image`}},
		"a port that is none":           {header + "healthAddress: localhost:http", []string{`healthAddress: Invalid value: "localhost:http"`}},
		"who may read no metrics":       {header + "metricsAddress: \"0\"\nmetricsAuthentication: false", []string{"metricsAuthentication: Invalid value: false: has no meaning with metricsAddress: 0"}},
		"a key given twice":             {header + "retention: 1h\nretention: 2h", []string{"parsing the configuration", `"retention" already set in map`}},
		"no YAML":                       {"{", []string{"parsing the configuration"}},
		"a list":                        {"[]", []string{"parsing the configuration: not a mapping"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseConfiguration([]byte(test.file))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), "validating the configuration: ") && !strings.HasPrefix(err.Error(), "parsing the configuration: ") {
				t.Errorf("the error is %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if got := strings.Count(err.Error(), " value: "); strings.Contains(err.Error(), "validating") && got != len(test.want) && name != "an unknown key" {
				t.Errorf("%d problems, want %d: %v", got, len(test.want), err)
			}
		})
	}
}

// Each key's documentation begins with the key, and gives the default that holds.
func TestTheDocumentedDefaultsAreTheDefaults(t *testing.T) {
	t.Parallel()
	requireDocumentedDefaults(t, "configuration.go", reflect.ValueOf(defaultConfiguration()).Elem())
	requireDocumentedDefaults(t, "gate.go", reflect.ValueOf(defaultConfiguration().Gate))
	requireDocumentedDefaults(t, "mirror.go", reflect.ValueOf(defaultConfiguration().Mirror))
}

func requireDocumentedDefaults(t *testing.T, file string, defaults reflect.Value) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(strings.ReplaceAll(string(source), "//", "")), " ")
	short := strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace
	for f, value := range defaults.Fields() {
		key := f.Tag.Get("json")
		_, doc, found := strings.Cut(text, " "+key+" is ")
		doc, _, ended := strings.Cut(doc, "`json:")
		if !found || !ended {
			t.Errorf("%s is not documented", key)
			continue
		}
		if f.Type == reflect.TypeFor[Gate]() || f.Type == reflect.TypeFor[Mirror]() {
			continue // its keys have defaults of their own
		}
		printed, err := yaml.Marshal(value.Interface())
		if err != nil {
			t.Fatal(err)
		}
		want := short(strings.Trim(string(printed), "\"\n"))
		if want != "" && !strings.Contains(doc, "Default: "+want) {
			t.Errorf("%s: default %s is not in its documentation: %s", key, want, doc)
		}
	}
}

// No file, however odd, gets past the bounds.
func FuzzParseConfiguration(f *testing.F) {
	f.Add([]byte(header))
	f.Add([]byte(header + "retention: 1e9h\nmaxConcurrentNodes: -5%\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfiguration(data)
		if err != nil {
			return
		}
		if problems := c.validate(); len(problems) > 0 {
			t.Fatalf("accepted with %v", problems)
		}
		again, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseConfiguration(again)
		if err != nil {
			t.Fatalf("what was accepted is refused when written back: %v\n%s", err, again)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Fatalf("written back it differs:\n%s", diff)
		}
	})
}
