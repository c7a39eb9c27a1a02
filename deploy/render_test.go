// Package deploy_test checks what is installed: deploy/install.yaml, and the chart that it is rendered from.
package deploy_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// TestInstallIsRendered fails when install.yaml was not rendered again after a change: make generate.
func TestInstallIsRendered(t *testing.T) {
	t.Parallel()
	want := string(read(t, "namespace.yaml")) + render(t, "--no-hooks")
	if diff := cmp.Diff(want, string(read(t, "install.yaml"))); diff != "" {
		t.Errorf("install.yaml is not what the chart renders (-chart +install.yaml):\n%s", diff)
	}
}

func TestValuesThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values string
		words  string
	}{
		"a misspelt value":                      {"replica=3", "'replica' not allowed"},
		"no manager at all":                     {"replicas=0", "/replicas"},
		"a digest that is none":                 {"image.digest=abc", "/image/digest"},
		"a noop image without a name":           {"noop.image.repository=", "/noop/image/repository"},
		"a duration without a unit":             {"config.retention=3", "/config/retention"},
		"a deadline that is none":               {"config.gate.deadline=0s", "/config/gate/deadline"},
		"a deadline in a year":                  {"config.gate.deadline=8760h", "/config/gate/deadline"},
		"a taint of somebody else":              {`config.gate.taintKey=node\.cilium\.io/agent-not-ready`, "/config/gate/taintKey"},
		"a misspelt key of the gate":            {"config.gate.enable=true", "'enable' not allowed"},
		"a misspelt configuration key":          {"config.retentoin=3h", "'retentoin' not allowed"},
		"roles of no kind":                      {"rbac.pullSecrets=none", "/rbac/pullSecrets"},
		"a derived configuration key":           {"config.noopImage=a", "'noopImage' not allowed"},
		"more nodes at a time than there are":   {"config.maxConcurrentNodes=200%", "/config/maxConcurrentNodes"},
		"more images than a pod can list":       {"config.maxImagesPerNode=1000", "/config/maxImagesPerNode"},
		"a pull policy that Kubernetes lacks":   {"image.pullPolicy=Sometimes", "/image/pullPolicy"},
		"an interval of nothing":                {"config.resyncInterval=0s", "/config/resyncInterval"},
		"an interval of many nothings":          {"config.resyncInterval=0h0m00.0s", "/config/resyncInterval"},
		"an interval below a second":            {"config.resyncInterval=999ms", "/config/resyncInterval"},
		"half a second":                         {"config.resyncInterval=0.5s", "/config/resyncInterval"},
		"a deadline of nothing":                 {"config.pullDeadline=0m", "/config/pullDeadline"},
		"certificates from nowhere":             {"config.certificates=acme", "/config/certificates"},
		"a directory without a Secret":          {"config.certificates=directory", "set both or neither"},
		"a certificate that nobody serves":      {"certificate.secretName=own", "set both or neither"},
		"CAs beside those of the managers":      {"certificate.caBundle=x", "no meaning without certificate.secretName"},
		"a label of the chart":                  {`labels.app\.kubernetes\.io/name=mine`, "labels: app.kubernetes.io/name is set by the chart"},
		"the label of the chart's version":      {`labels.helm\.sh/chart=mine`, "labels: helm.sh/chart is set by the chart"},
		"a label that selects the pods":         {`podLabels.app\.kubernetes\.io/component=mine`, "podLabels: app.kubernetes.io/component is set by the chart"},
		"the annotation that restarts the pods": {`podAnnotations.kube-prepull\.io/config-checksum=mine`, "podAnnotations: kube-prepull.io/config-checksum is set by the chart"},
		"an annotation of Helm's":               {`annotations.helm\.sh/hook=test`, "annotations: helm.sh/hook is Helm's own"},
		"a variable of the chart":               {"env[0].name=GOMEMLIMIT", "env: GOMEMLIMIT is set by the chart"},
		"two tags":                              {"image.repository=example.com/manager:v1", "image.repository example.com/manager:v1 has a tag: set image.tag"},
		"a URL":                                 {"image.repository=https://example.com/manager", "/image/repository"},
		"two digests":                           {"image.repository=example.com/manager@sha256:a", "/image/repository"},
		"two tags of the noop image":            {"noop.image.repository=example.com/noop:v1", "noop.image.repository example.com/noop:v1 has a tag"},
		"another operating system":              {`nodeSelector.kubernetes\.io/os=windows`, "nodeSelector: the manager runs on Linux only"},
		"a Secret that cannot exist":            {"imagePullSecrets={My_Login}", "/imagePullSecrets/0"},
		"a certificate that cannot exist":       {"config.certificates=directory,certificate.secretName=My_Own", "/certificate/secretName"},
		"a class that cannot exist":             {"priorityClass.name=My_Class", "/priorityClass/name"},
		"bytes that are no number":              {"config.maxBytesPerNode=half", "/config/maxBytesPerNode"},
		"a CA of a registry without TLS":        {"config.registries[0].host=a,config.registries[0].plainHTTP=true,config.registries[0].ca=x", "a has both plainHTTP and a ca"},
		"metrics somewhere else":                {"config.metricsAddress=:9090", "/config/metricsAddress"},
		"authentication now and then":           {"config.metricsAuthentication=sometimes", "/config/metricsAuthentication"},
		"a ServiceMonitor without authority":    {"serviceMonitor.enabled=true,config.certificates=directory,certificate.secretName=own", "serviceMonitor.tlsConfig has to say how the certificate is verified"},
		"a PodMonitor without a token":          {"podMonitor.enabled=true", "podMonitor.authorization has to name a Secret with a token"},
		"two monitors":                          {"podMonitor.enabled=true,podMonitor.authorization.type=Bearer,serviceMonitor.enabled=true", "would scrape each manager twice"},
		"a monitor's label of the chart":        {`serviceMonitor.enabled=true,serviceMonitor.labels.helm\.sh/chart=a`, "serviceMonitor.labels: helm.sh/chart is set by the chart"},
		"an interval of no scrape":              {"serviceMonitor.interval=often", "/serviceMonitor/interval"},
		"a misspelt peer":                       {"networkPolicy.webhookFrom[0].ipblock.cidr=10.0.0.0/8", "'ipblock' not allowed"},
		"a policy that is not made":             {"networkPolicy.enabled=false,networkPolicy.egress[0].ports[0].port=443", "have no effect where networkPolicy.enabled is false"},
		"a new class with a name of Kubernetes": {"priorityClass.name=system-node-critical", "set priorityClass.create to false"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "template", "kube-prepull", "chart", "--namespace", "kube-prepull", "--set", tc.values)
			if err == nil || !strings.Contains(out, tc.words) {
				t.Errorf("%s gave %v and does not say %q:\n%s", tc.values, err, tc.words, out)
			}
		})
	}
}

// Durations that the manager takes and that look like nothing at the first glance.
func TestOddDurationsThatMakeSenseAreTaken(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"config.resyncInterval=1s", "config.resyncInterval=0h90s", "config.resyncInterval=010m", "config.resyncInterval=0.5m", "config.pullDeadline=1.5h", "config.retention=0s"} {
		configuration(t, decode(t, render(t, "--set-string", set)))
	}
}

// What only makes no sense where metrics are off.
func TestMonitorsOfNoMetricsAreRefused(t *testing.T) {
	t.Parallel()
	for set, words := range map[string]string{
		"serviceMonitor.enabled=true":        "serviceMonitor has nothing to scrape: config.metricsAddress is 0",
		"podMonitor.enabled=true":            "podMonitor has nothing to scrape",
		"config.metricsAuthentication=false": "config.metricsAuthentication has no meaning",
	} {
		out, err := helm(t, "template", "kube-prepull", "chart", "--namespace", "kube-prepull", "--set-string", "config.metricsAddress=0", "--set", set)
		if err == nil || !strings.Contains(out, words) {
			t.Errorf("%s gave %v and does not say %q:\n%s", set, err, words, out)
		}
	}
}

func TestReleasesThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ release, namespace, words string }{
		"a second release in the cluster":   {"other", "kube-prepull", "must be named kube-prepull"},
		"the namespace of the cluster":      {"kube-prepull", "kube-system", "kube-system cannot be used"},
		"a namespace with workloads in it":  {"kube-prepull", "default", "default cannot be used"},
		"forgetting the namespace entirely": {"kube-prepull", "", "default cannot be used"},
		"a namespace that is a number":      {"kube-prepull", "123", "123 cannot be used"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "template", tc.release, "chart", "--namespace", tc.namespace)
			if err == nil || !strings.Contains(out, tc.words) {
				t.Errorf("release %s in namespace %s gave %v and does not say %q:\n%s", tc.release, tc.namespace, err, tc.words, out)
			}
		})
	}
}

func TestValuesReachTheObjects(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	objects := decode(t, render(t,
		"--set", "image.repository=registry.example.com:5000/kube-prepull", "--set", "image.tag=dev", "--set", "image.digest="+digest,
		"--set", "imagePullSecrets={login}", "--set", "replicas=1", "--set", "crds.keep=false", "--set", "labels.team=platform", "--set", "annotations.owner=platform",
		"--set", "service.annotations.of=service,metricsService.annotations.of=metricsService,serviceAccount.annotations.of=serviceAccount",
		"--set", "podLabels.scrape=no", "--set", "podAnnotations.note=hello", "--set", "tolerations[0].operator=Exists",
		"--set", "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=zone",
		"--set", "env[0].name=HTTPS_PROXY", "--set", "env[0].value=http://proxy:3128",
		"--set", "priorityClass.create=false", "--set", "priorityClass.name=system-node-critical",
		"--set", "config.maxConcurrentNodes=25%", "--set", "config.maxImagesPerNode=80"))

	manager := only[*appsv1.Deployment](t, objects)
	pod := manager.Spec.Template
	container := pod.Spec.Containers[0]
	if want := "registry.example.com:5000/kube-prepull:dev@" + digest; container.Image != want {
		t.Errorf("image %q, want %q", container.Image, want)
	}
	if len(pod.Spec.ImagePullSecrets) != 1 || pod.Spec.ImagePullSecrets[0].Name != "login" {
		t.Errorf("pull secrets %v, want login", pod.Spec.ImagePullSecrets)
	}
	if manager.Labels["team"] != "platform" || pod.Labels["scrape"] != "no" || pod.Annotations["note"] != "hello" {
		t.Errorf("labels %v, pod labels %v, pod annotations %v lack a value", manager.Labels, pod.Labels, pod.Annotations)
	}
	if !slices.ContainsFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == "HTTPS_PROXY" }) {
		t.Errorf("environment %v lacks HTTPS_PROXY", container.Env)
	}
	for _, job := range pods(objects) {
		if !slices.ContainsFunc(job.Tolerations, func(t corev1.Toleration) bool { return t.Operator == corev1.TolerationOpExists }) {
			t.Error("a pod of the release lacks the toleration")
		}
		if job.Affinity == nil || job.Affinity.PodAffinity == nil {
			t.Error("a pod of the release lacks the affinity")
		}
	}
	for _, o := range objects {
		if a := o.GetAnnotations(); a["owner"] != "platform" {
			t.Errorf("%T %s has the annotations %v", o, o.GetName(), a)
		}
	}
	for kind, o := range map[string]client.Object{
		"service":        named[*corev1.Service](t, objects, "kube-prepull"),
		"metricsService": named[*corev1.Service](t, objects, "kube-prepull-metrics"),
		"serviceAccount": named[*corev1.ServiceAccount](t, objects, "kube-prepull"),
	} {
		if a := o.GetAnnotations(); a["of"] != kind {
			t.Errorf("%s has the annotations %v", kind, a)
		}
	}
	if crd := only[*apiextensionsv1.CustomResourceDefinition](t, objects); crd.Annotations["helm.sh/resource-policy"] != "" {
		t.Error("crds.keep=false leaves the CRD behind")
	}
	if classes := all[*schedulingv1.PriorityClass](objects); len(classes) != 0 {
		t.Errorf("made the priority class %s that exists", classes[0].Name)
	}
	file := configuration(t, objects)
	if file.PriorityClassName != "system-node-critical" || file.MaxConcurrentNodes.String() != "25%" || file.MaxImagesPerNode != 80 {
		t.Errorf("the configuration file lacks a value: %+v", file)
	}
}

// In a new cluster every node may be held: who untaints them must run there, and whoever cleans up.
func TestTheGateHoldsNoPodOfTheRelease(t *testing.T) {
	t.Parallel()
	for key, values := range map[string][]string{
		"kube-prepull.io/warming":                             {"--set", "config.gate.enabled=true"},
		"startup-taint.cluster-autoscaler.kubernetes.io/pull": {"--set", "config.gate.enabled=true", "--set", `config.gate.taintKey=startup-taint\.cluster-autoscaler\.kubernetes\.io/pull`},
		"": nil,
	} {
		objects := decode(t, render(t, values...))
		for _, pod := range pods(objects) {
			var got []string
			for _, toleration := range pod.Tolerations {
				got = append(got, toleration.Key)
			}
			if strings.Join(got, " ") != key {
				t.Errorf("with %v a pod tolerates %v", values, got)
			}
		}
		args := strings.Join(only[*batchv1.Job](t, objects).Spec.Template.Spec.Containers[0].Args, " ")
		if want := strings.TrimSpace("cleanup " + strings.TrimSuffix("--taint="+key, "--taint=")); args != want {
			t.Errorf("with %v the job is told %q, want %q", values, args, want)
		}
	}
}

func TestACertificateOfOnesOwnIsMountedAndTrusted(t *testing.T) {
	t.Parallel()
	objects := decode(t, render(t, "--set", "config.certificates=directory", "--set", "certificate.secretName=own", "--set", "certificate.caBundle=PEM"))
	c := configuration(t, objects)
	pod := only[*appsv1.Deployment](t, objects).Spec.Template.Spec
	mounted := func(m corev1.VolumeMount) bool { return m.MountPath == c.CertificateDirectory && m.ReadOnly }
	i := slices.IndexFunc(pod.Containers[0].VolumeMounts, mounted)
	if i < 0 {
		t.Fatalf("nothing is mounted at %s", c.CertificateDirectory)
	}
	for _, v := range pod.Volumes {
		if v.Name == pod.Containers[0].VolumeMounts[i].Name && (v.Secret == nil || v.Secret.SecretName != "own") {
			t.Errorf("volume %+v is mounted there", v)
		}
	}
	for _, w := range only[*admissionregistrationv1.MutatingWebhookConfiguration](t, objects).Webhooks {
		if string(w.ClientConfig.CABundle) != "PEM" {
			t.Errorf("webhook %s trusts %q", w.Name, w.ClientConfig.CABundle)
		}
	}
}

func TestManagersRestartWithTheirConfigurationOnly(t *testing.T) {
	t.Parallel()
	template := func(set string) corev1.PodTemplateSpec {
		return only[*appsv1.Deployment](t, decode(t, render(t, "--set", set))).Spec.Template
	}
	plain := template("replicas=2")
	if cmp.Equal(plain, template("config.retention=2h")) {
		t.Error("managers are not restarted for a new configuration, and would not read it")
	}
	if diff := cmp.Diff(plain, template("labels.team=platform")); diff != "" {
		t.Errorf("a label of the release restarts the managers:\n%s", diff)
	}
}

// TestTheSchemaKnowsTheConfiguration compares the keys that config may have with those of the file. The chart sets the rest.
func TestTheSchemaKnowsTheConfiguration(t *testing.T) {
	t.Parallel()
	var schema struct {
		Properties struct {
			Config struct {
				Properties map[string]any
			}
		}
	}
	if err := json.Unmarshal(read(t, "chart/values.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(maps.Keys(schema.Properties.Config.Properties))
	got = append(got, "apiVersion", "kind", "noopImage", "noopPullSecrets", "priorityClassName", "certificateDirectory", "pullSecretRoles", "webhookPort", "healthAddress")
	var want []string
	for f := range reflect.TypeFor[v1alpha1.Configuration]().Fields() {
		want = append(want, f.Tag.Get("json"))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-configuration +schema):\n%s", diff)
	}
}

func TestTheLeaseMayHaveTheLevelOfKubernetesOwn(t *testing.T) {
	t.Parallel()
	if schemas := all[*flowcontrolv1.FlowSchema](decode(t, render(t))); len(schemas) > 0 {
		t.Errorf("nobody asked for the FlowSchema %s", schemas[0].Name)
	}
	objects := decode(t, render(t, "--set", "flowSchema.enabled=true"))
	schema := only[*flowcontrolv1.FlowSchema](t, objects).Spec
	if schema.PriorityLevelConfiguration.Name != "leader-election" || schema.MatchingPrecedence >= 9000 { // of all service accounts
		t.Errorf("level %s, precedence %d", schema.PriorityLevelConfiguration.Name, schema.MatchingPrecedence)
	}
	account := named[*corev1.ServiceAccount](t, objects, only[*appsv1.Deployment](t, objects).Spec.Template.Spec.ServiceAccountName)
	role := named[*rbacv1.Role](t, objects, v1alpha1.Name)
	var granted []string
	for _, rule := range role.Rules {
		if slices.Contains(rule.Resources, "leases") {
			granted = append(granted, rule.Verbs...)
		}
	}
	for _, rule := range schema.Rules {
		for _, subject := range rule.Subjects {
			if subject.ServiceAccount == nil || subject.ServiceAccount.Name != account.Name || subject.ServiceAccount.Namespace != account.Namespace {
				t.Errorf("it is for %v", subject)
			}
		}
		for _, resource := range rule.ResourceRules {
			if !slices.Equal(resource.Resources, []string{"leases"}) || !slices.Equal(resource.Namespaces, []string{account.Namespace}) {
				t.Errorf("it is for %v in %v", resource.Resources, resource.Namespaces)
			}
			slices.Sort(granted)
			if got := slices.Sorted(slices.Values(resource.Verbs)); !slices.Equal(got, granted) {
				t.Errorf("it is for the verbs %v, the manager has %v", got, granted)
			}
		}
	}
}

func TestTheCRDCanBeLeftToSomebodyElse(t *testing.T) {
	t.Parallel()
	objects := decode(t, render(t, "--set", "crds.enabled=false"))
	if crds := all[*apiextensionsv1.CustomResourceDefinition](objects); len(crds) != 0 {
		t.Errorf("crds.enabled=false renders %s", crds[0].Name)
	}
}

// The values of a release that an older chart made, with --reuse-values, lack what the chart has had since.
func TestValuesOfAnOlderChartAreRefusedInWords(t *testing.T) {
	t.Parallel()
	var values map[string]any
	if err := yaml.Unmarshal(read(t, "chart/values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	for name := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "template", "kube-prepull", "chart", "--namespace", "kube-prepull", "--set", name+"=null")
			if words := "value " + name + " is missing"; err != nil && !strings.Contains(out, words) {
				t.Errorf("it does not say %q:\n%s", words, out)
			}
			if err == nil && name == "networkPolicy" {
				t.Error("there are no NetworkPolicies, and nobody is told")
			}
		})
	}
}

// Pods on the network of their node are allowed by no other Pod Security than privileged.
func TestTheNotesAdviseNothingThatBreaksTheRelease(t *testing.T) {
	t.Parallel()
	for _, hostNetwork := range []string{"false", "true"} {
		out, err := helm(t, "install", "kube-prepull", "chart", "--namespace", "kube-prepull", "--dry-run=client", "--set", "config.hostNetwork="+hostNetwork)
		_, notes, found := strings.Cut(out, "\nNOTES:\n")
		if err != nil || !found {
			t.Fatalf("there are no notes: %v\n%s", err, out)
		}
		if advised := strings.Contains(notes, "enforce=restricted"); advised != (hostNetwork == "false") {
			t.Errorf("with config.hostNetwork: %s they say:\n%s", hostNetwork, notes)
		}
	}
}

// render renders the chart as it is meant to be installed.
func render(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t, append([]string{"template", "kube-prepull", "chart", "--namespace", "kube-prepull"}, args...)...)
	if err != nil {
		t.Fatalf("helm template %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// helm runs the binary that HELM names, or else the one in PATH, and returns what it prints: output, or errors if it fails.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary := os.Getenv("HELM")
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("helm"); err != nil {
			t.Skip("SKIPPED: no helm: put it in PATH, or set HELM to a binary, to test the chart")
		}
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		return failure.String(), err
	}
	return string(out), nil
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
