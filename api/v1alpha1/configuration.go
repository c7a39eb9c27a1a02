package v1alpha1

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// ConfigurationKind is the kind of a Configuration.
const ConfigurationKind = "Configuration"

// Configuration is the manager's configuration file. Durations are strings such as 90s, 10m or 24h.
//
// +kubebuilder:object:generate=false
type Configuration struct {
	// apiVersion is kube-prepull.io/v1alpha1.
	APIVersion string `json:"apiVersion"`

	// kind is Configuration.
	Kind string `json:"kind"`

	// noopImage is the image of the noop program, the only one of kube-prepull's own that every node pulls. Required.
	NoopImage string `json:"noopImage"`

	// noopPullSecrets is a list of Secrets in the manager's namespace that prepull pods pull the noop image with. Kubelets offer
	// their logins to every image of the registries and repositories that they name: they should name that of the noop image
	// alone. Default: [].
	NoopPullSecrets []string `json:"noopPullSecrets"`

	// maxImagesPerNode is how many images a node gets at most, from 1 to 200. Default: 50.
	MaxImagesPerNode int `json:"maxImagesPerNode"`

	// maxBytesPerNode is how much disk the images of a node take at most: a quantity such as 50Gi, or a percentage of the
	// allocatable ephemeral storage of the class's smallest node. Sizes are what nodes report, before that what the
	// registry says of the compressed layers. Default: 30%.
	MaxBytesPerNode string `json:"maxBytesPerNode"`

	// maxNodeClasses is how many classes of nodes, and so DaemonSets, there are at most, from 1 to 1000. Where there would
	// be more, some of the node labels that workloads ask for are left out of account: more is pulled than needed, and what
	// needs a pull secret is left out where that may not be. Default: 30.
	MaxNodeClasses int `json:"maxNodeClasses"`

	// minBytes is the size from which an image is worth a place, as a quantity such as 10Mi; declared images are exempt.
	// Default: 0.
	MinBytes string `json:"minBytes"`

	// exclude is a list of images that are not pre-pulled, as patterns for the whole image string in which an asterisk
	// stands for any text, such as registry.example.com/build/*. One that is pinned is repository@digest, without its tag.
	// Declared images are exempt. Default: [].
	Exclude []string `json:"exclude"`

	// nodeCondition is true if every node is given the condition kube-prepull.io/ImagesReady, which says how many of its
	// images are there. Default: false.
	NodeCondition bool `json:"nodeCondition"`

	// gate is whether nodes that register with a taint are untainted once their images are there. Default: off.
	Gate Gate `json:"gate"`

	// hostNetwork is true if the prepull pods are on the network of the node, so that on a new one they need not wait for
	// the network of pods. The namespace must allow that: Pod Security baseline and restricted do not. Default: false.
	HostNetwork bool `json:"hostNetwork"`

	// learnFrom is templates, if an image counts as soon as a workload names it, or pods, if it counts once a pod of the workload
	// was stored with it: where policies refuse pods and let their workloads in, nothing is pulled that they refuse. Then a
	// new image is pulled ahead of all pods but the first. Default: templates.
	LearnFrom string `json:"learnFrom"`

	// refreshInterval is how often the registry is asked where a tag points that pods pull at every start (imagePullPolicy
	// Always); at least 1s. Default: 10m.
	RefreshInterval metav1.Duration `json:"refreshInterval"`

	// pullSecrets is true if the pull secrets of learned pods and of their service accounts are copied into the manager's
	// namespace, so that private images can be pulled. Default: true.
	PullSecrets bool `json:"pullSecrets"`

	// pullSecretRoles is where the manager may read pull secrets: cluster, which it checks at its start, or namespaces, where
	// each has a RoleBinding of its own or its Secrets are not used. The chart sets it by rbac.pullSecrets. Default: cluster.
	PullSecretRoles string `json:"pullSecretRoles"`

	// rewritePullPolicy is true if a container whose image is replaced by a digest also gets imagePullPolicy IfNotPresent
	// where it has Always. In namespaces where an admission plugin or a policy demands Always it stays, whatever this says; dry
	// runs of pods tell, which is all that the manager may create. Default: true.
	RewritePullPolicy bool `json:"rewritePullPolicy"`

	// registries is a list of registries that are reached in another way than by HTTPS with a certificate of a public
	// authority, each with host (as images name it, with its port), plainHTTP (true or false) and ca (certificates in PEM
	// that are trusted for it too). One with host alone says that the registry may send to other hosts at private addresses,
	// such as a token server inside. Kubelets do not read it: it is for the manager's own questions. Default: [].
	Registries []Registry `json:"registries"`

	// certificates is where the serving certificate of the webhook comes from: cert-manager, self-managed (a CA of our own in a
	// Secret), directory (certificateDirectory), or auto, which is cert-manager where its API is served and it issues, and
	// self-managed elsewhere. Default: auto.
	Certificates string `json:"certificates"`

	// certificateDirectory is the directory with tls.crt and tls.key that certificates: directory reads, and reads again
	// when they change. The webhook configuration's caBundle is then left alone. Default: empty.
	CertificateDirectory string `json:"certificateDirectory"`

	// maxConcurrentNodes is how many nodes that have their list of images take a new one at the same time: a number
	// from 1, or a percentage of each class from 1% to 100%. It bounds the load on the registry of a changed list: classes
	// that pull from the same registry at the same time share a number, by how many of their nodes lack an image, one node
	// each at least. Nodes without a list take it at once. Default: 50.
	MaxConcurrentNodes intstr.IntOrString `json:"maxConcurrentNodes"`

	// pullsPerNode is how many images a node pulls at the same time, from 1 to 8, each in a prepull pod of its own: a pod that
	// was just started waits for as many at most. More than one is for nodes whose kubelets pull in parallel
	// (serializeImagePulls: false); others pull one by one all the same. The DaemonSets of a class share maxConcurrentNodes as
	// classes do. Default: 1.
	PullsPerNode int `json:"pullsPerNode"`

	// imageVolumes is true if images that are on the nodes of a class are held there as image volumes, so that a change of the
	// list costs a node what changed and not what it has. That needs Kubernetes 1.36, and containerd 2.1 or CRI-O 1.33, on
	// all nodes of the class; elsewhere, and with false, an init container for each image holds them. Default: true.
	ImageVolumes bool `json:"imageVolumes"`

	// mirror is what serves images to nodes beside the registry, such as Spegel or Dragonfly. Default: off.
	Mirror Mirror `json:"mirror"`

	// pullDeadline is how long a node may be busy with one image before the images behind it go first; at least 1s.
	// Default: 15m.
	PullDeadline metav1.Duration `json:"pullDeadline"`

	// resyncInterval is how often the opted-in namespaces are listed to repair what admissions missed; at least 1s.
	// Default: 10m.
	ResyncInterval metav1.Duration `json:"resyncInterval"`

	// retention is how long an image stays on the nodes that was seen only on pods which are gone. Default: 24h.
	Retention metav1.Duration `json:"retention"`

	// rollbackRetention is how long an image stays on the nodes after a rollout displaced it. Default: 24h.
	RollbackRetention metav1.Duration `json:"rollbackRetention"`

	// priorityClassName is the priority class of the prepull pods; empty is the cluster's default.
	// Default: kube-prepull, which the chart makes: below every workload, and never preempting.
	PriorityClassName string `json:"priorityClassName"`

	// webhookPort is the port that admissions come to. Default: 9443.
	WebhookPort int `json:"webhookPort"`

	// metricsAddress is where /metrics is served, as host:port; "0" turns it off. Default: :8080.
	MetricsAddress string `json:"metricsAddress"`

	// metricsAuthentication is true if /metrics is served over HTTPS, with the certificate of the webhook, to those alone whose
	// bearer token the API server knows and lets get the URL /metrics. With false it is plain HTTP, for whoever reaches
	// the port. Default: true.
	MetricsAuthentication bool `json:"metricsAuthentication"`

	// healthAddress is where /healthz and /readyz are served, as host:port. Default: :8081.
	HealthAddress string `json:"healthAddress"`

	// logLevel is info or debug. Default: info.
	LogLevel string `json:"logLevel"`
}

// MetricsOff is the value of the key metricsAddress that turns /metrics off.
const MetricsOff = "0"

// Values of the key certificates.
const (
	CertificatesAuto        = "auto"
	CertificatesCertManager = "cert-manager"
	CertificatesSelfManaged = "self-managed"
	CertificatesDirectory   = "directory"
)

// Values of the key learnFrom.
const (
	LearnFromTemplates = "templates"
	LearnFromPods      = "pods"
)

// Values of the key pullSecretRoles.
const (
	PullSecretRolesCluster    = "cluster"
	PullSecretRolesNamespaces = "namespaces"
)

// Registry is how the manager reaches one registry.
//
// +kubebuilder:object:generate=false
type Registry struct {
	// host of the registry as images name it, such as registry.internal:5000.
	Host string `json:"host"`

	// plainHTTP is true for a registry without TLS.
	PlainHTTP bool `json:"plainHTTP,omitempty"`

	// ca are certificates in PEM that are trusted beside those of the system.
	CA string `json:"ca,omitempty"`
}

// MaxPullsPerNode is how many prepull pods a node has at most.
const MaxPullsPerNode = 8

// defaultConfiguration is what holds for the keys that a file leaves out.
func defaultConfiguration() *Configuration {
	return &Configuration{
		MaxImagesPerNode:   50,
		MaxBytesPerNode:    "30%",
		MaxNodeClasses:     30,
		MinBytes:           "0",
		Gate:               Gate{TaintKey: TaintWarming, Deadline: metav1.Duration{Duration: 5 * time.Minute}, MaxBytes: "10Gi"},
		NoopPullSecrets:    []string{},
		Exclude:            []string{},
		LearnFrom:          LearnFromTemplates,
		RefreshInterval:    metav1.Duration{Duration: 10 * time.Minute},
		PullSecrets:        true,
		PullSecretRoles:    PullSecretRolesCluster,
		RewritePullPolicy:  true,
		Registries:         []Registry{},
		Certificates:       CertificatesAuto,
		MaxConcurrentNodes: intstr.FromInt32(50),
		PullsPerNode:       1,
		Mirror:             Mirror{PodSelector: map[string]string{}, Deadline: metav1.Duration{Duration: 2 * time.Minute}},
		ImageVolumes:       true,
		PullDeadline:       metav1.Duration{Duration: 15 * time.Minute},
		ResyncInterval:     metav1.Duration{Duration: 10 * time.Minute},
		Retention:          metav1.Duration{Duration: 24 * time.Hour},
		RollbackRetention:  metav1.Duration{Duration: 24 * time.Hour},
		PriorityClassName:  Name,
		WebhookPort:        9443,
		MetricsAddress:     ":8080",
		HealthAddress:      ":8081",
		LogLevel:           "info",

		MetricsAuthentication: true,
	}
}

// ParseConfiguration reads a configuration file in YAML. It reports everything that is wrong with it at once, each
// problem with its key: unknown and repeated keys, values of the wrong type, and values out of bounds.
func ParseConfiguration(data []byte) (*Configuration, error) {
	document, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("parsing the configuration: %w", err)
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(document, &values); err != nil {
		return nil, fmt.Errorf("parsing the configuration: not a mapping: %w", err)
	}
	c := defaultConfiguration()
	problems := c.set(values)
	for _, problem := range c.validate() {
		// What could not be read is zero, and to complain of that too would only confuse.
		if !slices.ContainsFunc(problems, func(p *field.Error) bool { return p.Field == problem.Field }) {
			problems = append(problems, problem)
		}
	}
	if err := problems.ToAggregate(); err != nil {
		return nil, fmt.Errorf("validating the configuration: %w", err)
	}
	return c, nil
}

// set assigns values by key. It goes key by key because a decoder stops at the first problem, and does not name the
// key of a duration that it cannot read.
func (c *Configuration) set(values map[string]json.RawMessage) field.ErrorList {
	var problems field.ErrorList
	fields := map[string]reflect.Value{}
	for f, value := range reflect.ValueOf(c).Elem().Fields() {
		fields[f.Tag.Get("json")] = value
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		into, known := fields[key]
		if !known {
			problems = append(problems, field.NotSupported(field.NewPath(key), "unknown key", slices.Sorted(maps.Keys(fields))))
			continue
		}
		var value any
		if err := json.Unmarshal(values[key], &value); err != nil || value == nil {
			continue // a key without a value is a key left out
		}
		into.SetZero() // nothing of the default shines through
		decoder := json.NewDecoder(bytes.NewReader(values[key]))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into.Addr().Interface()); err != nil {
			problems = append(problems, field.Invalid(field.NewPath(key), value, err.Error()))
		}
	}
	return problems
}

func (c *Configuration) validate() field.ErrorList {
	var problems field.ErrorList
	check := func(ok bool, key string, value any, want string) {
		if !ok {
			problems = append(problems, field.Invalid(field.NewPath(key), value, want))
		}
	}
	check(c.APIVersion == GroupVersion.String(), "apiVersion", c.APIVersion, "must be "+GroupVersion.String())
	check(c.Kind == ConfigurationKind, "kind", c.Kind, "must be "+ConfigurationKind)
	_, err := reference.ParseNormalizedNamed(c.NoopImage)
	check(err == nil, "noopImage", c.NoopImage, "must be an image")
	for _, name := range c.NoopPullSecrets {
		check(len(validation.IsDNS1123Subdomain(name)) == 0, "noopPullSecrets", name, "must be the name of a Secret")
		check(!strings.HasPrefix(name, CopyPrefix), "noopPullSecrets", name, "must not begin with "+CopyPrefix+", as copies of pull secrets do")
	}
	check(c.MaxImagesPerNode >= 1 && c.MaxImagesPerNode <= 200, "maxImagesPerNode", c.MaxImagesPerNode, "must be from 1 to 200")
	check(validBytes(strings.TrimSuffix(c.MaxBytesPerNode, "%")) && (!strings.HasSuffix(c.MaxBytesPerNode, "%") || validShare(intstr.FromString(c.MaxBytesPerNode))),
		"maxBytesPerNode", c.MaxBytesPerNode, "must be a quantity such as 50Gi, or a percentage from 1% to 100%")
	check(c.MaxNodeClasses >= 1 && c.MaxNodeClasses <= 1000, "maxNodeClasses", c.MaxNodeClasses, "must be from 1 to 1000")
	check(validBytes(c.MinBytes), "minBytes", c.MinBytes, "must be a quantity such as 10Mi")
	check(!slices.Contains(c.Exclude, ""), "exclude", c.Exclude, "must not contain an empty pattern")
	problems = append(problems, c.Gate.validate(field.NewPath("gate"))...)
	problems = append(problems, c.Mirror.validate(field.NewPath("mirror"))...)
	check(c.LearnFrom == LearnFromTemplates || c.LearnFrom == LearnFromPods, "learnFrom", c.LearnFrom, "must be templates or pods")
	check(c.RefreshInterval.Duration >= time.Second, "refreshInterval", c.RefreshInterval.Duration.String(), "must be at least 1s")
	for _, r := range c.Registries {
		check(validRegistry(r.Host), "registries", r.Host, "host must be that of a registry as images name it, such as registry.internal:5000")
		check(r.CA == "" || x509.NewCertPool().AppendCertsFromPEM([]byte(r.CA)), "registries", r.Host, "ca must be certificates in PEM")
		check(!r.PlainHTTP || r.CA == "", "registries", r.Host, "ca has no meaning with plainHTTP")
	}
	check(slices.Contains([]string{PullSecretRolesCluster, PullSecretRolesNamespaces}, c.PullSecretRoles),
		"pullSecretRoles", c.PullSecretRoles, "must be cluster or namespaces")
	check(slices.Contains([]string{CertificatesAuto, CertificatesCertManager, CertificatesSelfManaged, CertificatesDirectory}, c.Certificates),
		"certificates", c.Certificates, "must be auto, cert-manager, self-managed or directory")
	check((c.Certificates == CertificatesDirectory) == (c.CertificateDirectory != ""),
		"certificateDirectory", c.CertificateDirectory, "must be set with certificates: directory, and with nothing else")
	check(validShare(c.MaxConcurrentNodes), "maxConcurrentNodes", c.MaxConcurrentNodes.String(), "must be a number from 1, or a percentage from 1% to 100%")
	check(c.PullsPerNode >= 1 && c.PullsPerNode <= MaxPullsPerNode, "pullsPerNode", c.PullsPerNode, fmt.Sprintf("must be from 1 to %d", MaxPullsPerNode))
	check(c.PullDeadline.Duration >= time.Second, "pullDeadline", c.PullDeadline.Duration.String(), "must be at least 1s")
	check(c.ResyncInterval.Duration >= time.Second, "resyncInterval", c.ResyncInterval.Duration.String(), "must be at least 1s")
	check(c.Retention.Duration >= 0, "retention", c.Retention.Duration.String(), "must not be negative")
	check(c.RollbackRetention.Duration >= 0, "rollbackRetention", c.RollbackRetention.Duration.String(), "must not be negative")
	check(c.PriorityClassName == "" || len(validation.IsDNS1123Subdomain(c.PriorityClassName)) == 0,
		"priorityClassName", c.PriorityClassName, "must be the name of a priority class")
	check(len(validation.IsValidPortNum(c.WebhookPort)) == 0, "webhookPort", c.WebhookPort, "must be from 1 to 65535")
	check(c.MetricsAddress == MetricsOff || validAddress(c.MetricsAddress), "metricsAddress", c.MetricsAddress, "must be host:port, or 0")
	check(c.MetricsAddress != MetricsOff || c.MetricsAuthentication, "metricsAuthentication", c.MetricsAuthentication, "has no meaning with metricsAddress: 0")
	check(validAddress(c.HealthAddress), "healthAddress", c.HealthAddress, "must be host:port")
	check(c.LogLevel == "info" || c.LogLevel == "debug", "logLevel", c.LogLevel, "must be info or debug")
	return problems
}

// validShare says whether v is a number of nodes from 1, or a percentage from 1% to 100%.
func validShare(v intstr.IntOrString) bool {
	if v.Type == intstr.Int {
		return v.IntVal >= 1
	}
	number, percent := strings.CutSuffix(v.StrVal, "%")
	share, err := strconv.ParseUint(number, 10, 8)
	return percent && err == nil && share >= 1 && share <= 100
}

// validBytes says whether text is a quantity that is not negative.
func validBytes(text string) bool {
	q, err := resource.ParseQuantity(text)
	return err == nil && q.Sign() >= 0
}

// validRegistry says whether an image can name host as its registry.
func validRegistry(host string) bool {
	named, err := reference.ParseNormalizedNamed(host + "/a")
	return err == nil && reference.Domain(named) == host
}

func validAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}
