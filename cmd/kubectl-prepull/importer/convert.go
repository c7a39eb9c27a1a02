package importer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsjson "sigs.k8s.io/json"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/generate"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// origin is an object of another tool.
type origin struct {
	// name is what messages call it, and place is where it was read.
	name, place string

	images []workload.Image
	notes  []string
}

// everywhere goes past every taint, as the pods and agents of the other tools do.
var everywhere = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}

// convert reads an object of another tool. What is neither that nor made by one is an error.
func convert(object map[string]any, place, namespace string) (*origin, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	kind, _ := object["kind"].(string)
	version, _ := object["apiVersion"].(string)
	o := &origin{name: generate.NameOf(object), place: place}
	group, _, _ := strings.Cut(version, "/")
	owner := generate.ControllerOf(object)
	switch {
	case kind == "ImageCache" && slices.Contains(cacheVersions, version):
		err = o.fromCache(text, namespace)
	case group == kruise && slices.Contains(jobKinds, kind) && owner != "":
		o.note("it is left out: %s made it, which makes another one when it is deleted", owner)
	case group == kruise && slices.Contains(jobKinds, kind):
		err = o.fromJob(kind, text, namespace)
	case group == kruise && kind == "AdvancedCronJob":
		err = o.fromCronJob(text, namespace)
	default:
		err = fmt.Errorf("%s is none of ImageCache (%s), ImagePullJob, ImageListPullJob and AdvancedCronJob (%s)",
			strings.TrimSpace(version+" "+kind), strings.Join(cacheVersions, ", "), kruise)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	o.images = slices.DeleteFunc(o.images, func(image workload.Image) bool {
		err := workload.ValidImage(image.Name)
		if err != nil {
			o.note("image %q is left out: %v", image.Name, err)
		}
		return err != nil
	})
	return o, nil
}

// cacheVersions are those of an ImageCache, the newest first. Its fields have always had the same names.
var cacheVersions = []string{"kubefledged.io/v1alpha3", "kubefledged.io/v1alpha2", "kubefledged.k8s.io/v1alpha1", "fledged.k8s.io/v1alpha1"}

// kruise is the group of OpenKruise, and jobKinds are its kinds that pull. Their versions have the same fields.
const kruise = "apps.kruise.io"

var jobKinds = []string{"ImagePullJob", "ImageListPullJob"}

// decode reads JSON. A field that is not known has a note.
func (o *origin) decode(text []byte, into any) error {
	unknown, err := sigsjson.UnmarshalStrict(text, into)
	o.noteUnknown(unknown)
	return err
}

func (o *origin) noteUnknown(unknown []error) {
	for _, field := range unknown {
		o.note("%v: it is left out", field)
	}
}

func (o *origin) note(format string, args ...any) {
	o.notes = append(o.notes, fmt.Sprintf("%s: %s: ", o.place, o.name)+fmt.Sprintf(format, args...))
}

// secrets are names of Secrets with their namespace, which kube-prepull reads only where it is opted in.
func (o *origin) secrets(names []string, namespace string) []v1alpha1.SecretReference {
	var references []v1alpha1.SecretReference
	for _, name := range names {
		references = append(references, v1alpha1.SecretReference{Namespace: namespace, Name: name})
	}
	if len(names) > 0 && namespace != "" {
		o.note("pull secrets are read only where kube-prepull is opted in: kubectl label namespace %s %s=%s", namespace, v1alpha1.LabelEnabled, v1alpha1.Enabled)
	}
	return references
}

func (o *origin) add(image string, selector map[string]string, secrets []v1alpha1.SecretReference) {
	o.images = append(o.images, workload.Image{
		Name:        image,
		Placements:  []v1alpha1.Placement{{NodeSelector: selector, Tolerations: everywhere}},
		PullSecrets: secrets,
	})
}

// fromCache reads an ImageCache.
func (o *origin) fromCache(text []byte, namespace string) error {
	var cache imageCache
	if err := o.decode(text, &cache); err != nil {
		return fmt.Errorf("reading the ImageCache: %w", err)
	}
	namespace = cmp.Or(cache.Metadata.Namespace, namespace)
	if len(cache.Spec.CacheSpec) == 0 {
		return errors.New("reading the ImageCache: it has no cacheSpec")
	}
	var names []string
	for _, s := range cache.Spec.ImagePullSecrets {
		names = append(names, s.Name)
	}
	secrets := o.secrets(names, namespace)
	for _, spec := range cache.Spec.CacheSpec {
		for _, image := range spec.Images {
			o.noteUnknown(image.unknown)
			o.add(image.Name, spec.NodeSelector, secrets)
			if image.ForceFullCache {
				o.note("forceFullCache of %s has no equivalent: a snapshotter that loads images lazily does so here too", image.Name)
			}
		}
	}
	if len(o.images) == 0 {
		return errors.New("reading the ImageCache: it has no images")
	}
	for _, action := range []string{"refresh-imagecache", "purge-imagecache"} {
		if _, set := cache.Metadata.Annotations["kubefledged.io/"+action]; set {
			o.note("the annotation kubefledged.io/%s has no equivalent: kube-prepull keeps images fresh by itself, and drops what nobody declares or uses", action)
		}
	}
	return nil
}

// fromJob reads an ImagePullJob or an ImageListPullJob.
func (o *origin) fromJob(kind string, text []byte, namespace string) error {
	var job imagePullJob
	if err := o.decode(text, &job); err != nil {
		return fmt.Errorf("reading the %s: %w", kind, err)
	}
	return o.fromSpec(kind, job.Spec, cmp.Or(job.Metadata.Namespace, namespace))
}

// fromCronJob reads an AdvancedCronJob. One that makes other jobs than those that pull images has nothing to take over.
func (o *origin) fromCronJob(text []byte, namespace string) error {
	var job advancedCronJob
	if err := json.Unmarshal(text, &job); err != nil {
		return fmt.Errorf("reading the AdvancedCronJob: %w", err)
	}
	template := job.Spec.Template.ImageListPullJobTemplate
	switch {
	case template == nil:
		o.note("it is left out: it makes jobs that have pods, whose images are learned where their namespace is opted in")
		return nil
	case job.Spec.Paused:
		o.note("it is left out: it is paused")
		return nil
	}
	o.note("schedule %q has no equivalent: the images stay on the nodes, new ones included", job.Spec.Schedule)
	return o.fromSpec("ImageListPullJob", template.Spec, cmp.Or(job.Metadata.Namespace, namespace))
}

// fromSpec reads what a job of a kind pulls.
func (o *origin) fromSpec(kind string, spec pullJobSpec, namespace string) error {
	images := spec.Images
	if kind == "ImagePullJob" {
		images = []string{spec.Image}
	} else if spec.Image != "" {
		return fmt.Errorf("reading the %s: it has images, not image", kind)
	}
	if len(images) == 0 {
		return fmt.Errorf("reading the %s: it has no images", kind)
	}
	if p := spec.Parallelism; p != nil && p.String() == "0" {
		o.note("it is left out: with parallelism 0 it is paused")
		return nil
	}
	secrets := o.secrets(spec.PullSecrets, namespace)
	selector := o.selector(spec.Selector)
	for _, image := range images {
		o.add(image, selector, secrets)
	}
	o.noteSettings(spec)
	return nil
}

// selector is what a PrepullImage can say of a selector of nodes. What it cannot say leaves more nodes, never fewer.
func (o *origin) selector(s *nodeSelector) map[string]string {
	if s == nil {
		return nil
	}
	selector := map[string]string{}
	for key, value := range s.MatchLabels {
		selector[key] = value
	}
	for _, r := range s.MatchExpressions {
		if _, taken := selector[r.Key]; !taken && r.Operator == metav1.LabelSelectorOpIn && len(r.Values) == 1 {
			selector[r.Key] = r.Values[0]
			continue
		}
		o.note("selector.matchExpressions %s %s has no equivalent: more nodes may get the images than need them", r.Key, r.Operator)
	}
	if len(s.Names) > 0 {
		o.note("selector.names has no equivalent: all nodes get the images, not just %s", strings.Join(s.Names, ", "))
	}
	return selector
}

// noteSettings tells of every setting that is not taken over.
func (o *origin) noteSettings(s pullJobSpec) {
	if s.PodSelector != nil {
		o.note("podSelector has no equivalent: all nodes get the images; those that the pods use themselves are learned, where their namespace is opted in")
	}
	if s.Parallelism != nil {
		o.note("parallelism %s has no equivalent for one image: maxConcurrentNodes in the configuration is for all", s.Parallelism.String())
	}
	if p := s.PullPolicy; p != nil && p.TimeoutSeconds != nil {
		o.note("pullPolicy.timeoutSeconds has no equivalent: a slow pull goes on; pullDeadline in the configuration is when it counts as failing")
	}
	if p := s.PullPolicy; p != nil && p.BackoffLimit != nil {
		o.note("pullPolicy.backoffLimit has no equivalent: an image that fails is tried again after 5 minutes, and then more and more rarely, for ever")
	}
	if c := s.CompletionPolicy; c.Type != "Never" {
		o.note("completionPolicy %s has no equivalent: the images stay on the nodes, new ones included, until the PrepullImage is deleted", cmp.Or(c.Type, "Always"))
	}
	if c := s.CompletionPolicy; c.ActiveDeadlineSeconds != nil {
		o.note("completionPolicy.activeDeadlineSeconds has no equivalent")
	}
	if c := s.CompletionPolicy; c.TTLSecondsAfterFinished != nil {
		o.note("completionPolicy.ttlSecondsAfterFinished has no equivalent: delete the PrepullImage when the images are not needed any more")
	}
	if len(s.SandboxConfig) > 0 && !slices.Equal(s.SandboxConfig, []byte("null")) {
		o.note("sandboxConfig has no equivalent: the kubelet pulls, for a pod of kube-prepull")
	}
	if s.ImagePullPolicy == "Always" {
		o.note("imagePullPolicy Always has no equivalent for a declared image: a tag that moves is followed where the pods that use it pull it always")
	}
}
