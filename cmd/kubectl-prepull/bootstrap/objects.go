package bootstrap

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// daemonSetName begins the names of generated DaemonSets.
const daemonSetName = "prepull"

// group is images with the same placement.
type group struct {
	placement v1alpha1.Placement
	images    []workload.Image
}

// groups divides images by where they go: one that goes to several places is in several groups.
func groups(images []workload.Image) (all []*group, notes []string) {
	byKey := map[string]*group{}
	for _, image := range images {
		said, more := placements(image)
		notes = append(notes, more...)
		for _, p := range said {
			key := hash(p)
			g := byKey[key]
			if g == nil {
				g = &group{placement: p}
				byKey[key] = g
				all = append(all, g)
			}
			if n := len(g.images); n == 0 || g.images[n-1].Name != image.Name {
				g.images = append(g.images, image)
			}
		}
	}
	return all, notes
}

// placements of an image, at least one, as far as an object can say them, and what is left out.
func placements(image workload.Image) (said []v1alpha1.Placement, notes []string) {
	if len(image.Placements) == 0 {
		return []v1alpha1.Placement{{}}, nil
	}
	for _, p := range image.Placements {
		if len(p.Resources) > 0 {
			notes = append(notes, fmt.Sprintf("%s: no object can ask for nodes that offer %s, so more nodes may get it than need it", image.Name, strings.Join(p.Resources, ", ")))
			p.Resources = nil
		}
		if p.RuntimeClassName != "" {
			notes = append(notes, fmt.Sprintf("%s: what RuntimeClass %s asks of nodes is not known here, so nodes with any taints get it, and more than need it", image.Name, p.RuntimeClassName))
			p.RuntimeClassName, p.Tolerations = "", workload.Anywhere().Tolerations
		}
		said = append(said, p)
	}
	return said, notes
}

// hash tells placements apart. They consist of types that always marshal.
func hash(p v1alpha1.Placement) string {
	text, _ := json.Marshal(p)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// unbound tells whether a placement says nothing.
func unbound(p v1alpha1.Placement) bool {
	return len(p.NodeSelector) == 0 && p.NodeAffinity == nil && len(p.Tolerations) == 0
}

// daemonSets are plain DaemonSets for a cluster without kube-prepull, one for each placement.
func daemonSets(images []workload.Image, o *Output) (string, []string, error) {
	var objects []any
	var secrets []string
	all, notes := groups(images)
	for _, g := range all {
		s := plan.Standalone{Namespace: o.Namespace, Name: daemonSetName, NoopImage: o.noopImage, Placement: g.placement}
		if !unbound(g.placement) {
			s.Name += "-" + hash(g.placement)
		}
		for _, image := range g.images {
			s.Images = append(s.Images, image.Name)
			for _, secret := range image.PullSecrets {
				s.PullSecrets = append(s.PullSecrets, secret.Name)
			}
		}
		slices.Sort(s.PullSecrets)
		s.PullSecrets = slices.Compact(s.PullSecrets)
		secrets = append(secrets, s.PullSecrets...)
		objects = append(objects, s.DaemonSet())
	}
	slices.Sort(secrets)
	if secrets = slices.Compact(secrets); len(secrets) > 0 {
		notes = append(notes, "the DaemonSets pull with these Secrets, which must be in their namespace: "+strings.Join(secrets, ", "))
	}
	text, err := Documents(objects)
	if size := len(text) / max(1, len(objects)); size > maxObject {
		notes = append(notes, fmt.Sprintf("a DaemonSet has %d bytes or more, and etcd takes %d: leave images out, or use prepullimages", size, maxObject))
	}
	return text, notes, err
}

// maxObject is how many bytes of an object etcd takes by default (--max-request-bytes).
const maxObject = 1536 << 10

// prepullImages declares images to kube-prepull.
func prepullImages(images []workload.Image, _ *Output) (string, []string, error) {
	var objects []any
	var notes []string
	for _, image := range images {
		declared, more := Declare(image)
		objects, notes = append(objects, declared...), append(notes, more...)
	}
	text, err := Documents(objects)
	return text, notes, err
}

// Declare returns PrepullImages that declare an image, one for each of its placements, and what they cannot say.
func Declare(image workload.Image) (objects []any, notes []string) {
	spec := v1alpha1.PrepullImageSpec{Image: image.Name}
	for _, secret := range image.PullSecrets {
		if secret.Namespace == "" {
			notes = append(notes, fmt.Sprintf("%s: the Secret %s is left out, since its namespace is not known: say it with -n", image.Name, secret.Name))
			continue
		}
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, secret)
	}
	known := map[string]bool{}
	said, more := placements(image)
	notes = append(notes, more...)
	for _, p := range said {
		if p.NodeAffinity != nil {
			notes = append(notes, image.Name+": a PrepullImage has no node affinity, so more nodes may get it than need it")
			p.NodeAffinity = nil
		}
		key := hash(p)
		if known[key] {
			continue
		}
		o := &v1alpha1.PrepullImage{Spec: spec}
		o.APIVersion, o.Kind = v1alpha1.GroupVersion.String(), "PrepullImage"
		o.Name = workload.ObjectName(image.Name)
		if len(known) > 0 {
			o.Name += "-" + key
		}
		known[key] = true
		o.Spec.SetPlacement(p)
		objects = append(objects, o)
	}
	return objects, notes
}

// Documents are objects as YAML, without their status.
func Documents(objects []any) (string, error) {
	var b strings.Builder
	for i, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return "", fmt.Errorf("writing YAML: %w", err)
		}
		var object map[string]any
		if err := yaml.Unmarshal(text, &object); err != nil {
			return "", fmt.Errorf("writing YAML: %w", err)
		}
		delete(object, "status")
		if text, err = yaml.Marshal(object); err != nil {
			return "", fmt.Errorf("writing YAML: %w", err)
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(text)
	}
	return b.String(), nil
}
