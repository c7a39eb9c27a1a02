package webhook

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxContainers is more than a template has; each is looked up among the others, and a forged review has room for
// a hundred thousand.
const maxContainers = 500

var errManyContainers = fmt.Errorf("more than %d containers", maxContainers)

// rawObject is what matters of a reviewed object besides its template.
type rawObject struct {
	uid        types.UID
	deleting   bool
	controller *metav1.OwnerReference
	// owned is set if it belongs to another object, whether or not that one calls itself its controller.
	owned    bool
	selector *metav1.LabelSelector
	template template
}

// template is what matters of a pod template, or of a pod, for which images it uses.
type template struct {
	// path is its JSON pointer in the reviewed object: empty for a pod, such as /spec/template for the rest.
	path string

	// raw is the template as it came.
	raw []byte

	labels map[string]string

	// annotations are kube-prepull's own ones. all are those of everybody, in bytes of JSON.
	annotations map[string]string
	all         int

	hasMetadata, hasAnnotations bool

	// mirror is set for the API server's copy of a static pod.
	mirror bool

	containers []container

	// pullSecrets are the names of its own, account is its service account. ownSecrets is set if it has a list, be it one
	// of empty names: then those of the account are not added.
	pullSecrets []string
	ownSecrets  bool
	account     string

	// essence is all of it but kube-prepull's annotations, part by part. The API server writes equal objects equally.
	essence [][]byte
}

// container is a container, an init container or an image volume of a template.
type container struct {
	// name is its own, or volume/ and that of the volume.
	name string

	// pin is the key of the annotation that pins it.
	pin string

	image  string
	policy corev1.PullPolicy

	// imagePath and policyPath are JSON pointers.
	imagePath, policyPath string
}

// parseObject reads an object of a kind that is observed.
func parseObject(raw []byte, kind string) (*rawObject, error) {
	w := &rawObject{}
	c := &cursor{raw: raw}
	if kind == "Pod" {
		if err := w.template.parse(c, w.parseMetadata); err != nil {
			return nil, err
		}
		return w, nil
	}
	err := c.members(func(key []byte) error {
		switch string(key) {
		case "metadata":
			return c.members(func(key []byte) error { return w.parseMetadata(c, key) })
		case "spec":
			return w.parseSpec(c, kind)
		}
		return c.skip()
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// parseMetadata takes one member of the object's metadata.
func (w *rawObject) parseMetadata(c *cursor, key []byte) error {
	switch string(key) {
	case "uid":
		return c.decode(&w.uid)
	case "deletionTimestamp":
		value, err := c.value()
		w.deleting = !bytes.Equal(value, []byte("null"))
		return err
	case "ownerReferences":
		var owners []metav1.OwnerReference
		if err := c.decode(&owners); err != nil {
			return err
		}
		w.owned = len(owners) > 0
		for i := range owners {
			if owners[i].Controller != nil && *owners[i].Controller {
				w.controller = &owners[i]
			}
		}
		return nil
	}
	return c.skip()
}

func (w *rawObject) parseSpec(c *cursor, kind string) error {
	return c.members(func(key []byte) error {
		switch {
		case string(key) == "template" && kind != "CronJob":
			w.template.path = "/spec/template"
			return w.template.parse(c, skipMember)
		case string(key) == "jobTemplate" && kind == "CronJob":
			return w.parseJobTemplate(c)
		case string(key) == "selector":
			return c.decode(&w.selector)
		}
		return c.skip()
	})
}

func (w *rawObject) parseJobTemplate(c *cursor) error {
	return c.members(func(key []byte) error {
		if string(key) != "spec" {
			return c.skip()
		}
		return c.members(func(key []byte) error {
			if string(key) != "template" {
				return c.skip()
			}
			w.template.path = "/spec/jobTemplate/spec/template"
			return w.template.parse(c, skipMember)
		})
	})
}

func skipMember(c *cursor, _ []byte) error { return c.skip() }

// parse takes the template that comes next. The members of its metadata that are of no interest here go to other.
func (t *template) parse(c *cursor, other func(*cursor, []byte) error) error {
	c.peek()
	start := c.at
	err := c.members(func(key []byte) error {
		if string(key) == "metadata" {
			t.hasMetadata = c.peek() == '{'
			return t.parseMetadata(c, other)
		}
		from := c.at
		var err error
		if string(key) == "spec" {
			err = t.parseSpec(c)
		} else {
			err = c.skip()
		}
		t.essence = append(t.essence, key, c.raw[from:c.at])
		return err
	})
	t.raw = c.raw[start:c.at]
	return err
}

func (t *template) parseMetadata(c *cursor, other func(*cursor, []byte) error) error {
	return c.members(func(key []byte) error {
		if string(key) == "annotations" {
			t.hasAnnotations = c.peek() == '{'
			from := c.at
			err := t.parseAnnotations(c)
			t.all = c.at - from
			return err
		}
		from := c.at
		var err error
		if string(key) == "labels" {
			err = c.decode(&t.labels)
		} else {
			err = other(c, key)
		}
		t.essence = append(t.essence, []byte("metadata"), key, c.raw[from:c.at])
		return err
	})
}

func (t *template) parseAnnotations(c *cursor) error {
	return c.members(func(key []byte) error {
		name := string(key)
		switch {
		case isPin(name) || name == v1alpha1.AnnotationRewritten:
			var value string
			if err := c.decode(&value); err != nil {
				return err
			}
			if t.annotations == nil {
				t.annotations = map[string]string{}
			}
			t.annotations[name] = value
			return nil
		case name == corev1.MirrorPodAnnotationKey:
			t.mirror = true
		}
		from := c.at
		err := c.skip()
		t.essence = append(t.essence, []byte("annotations"), key, c.raw[from:c.at])
		return err
	})
}

func isPin(key string) bool {
	return strings.HasPrefix(key, v1alpha1.AnnotationPin) || strings.HasPrefix(key, v1alpha1.AnnotationVolumePin)
}

func (t *template) parseSpec(c *cursor) error {
	return c.members(func(key []byte) error {
		switch string(key) {
		case "containers", "initContainers":
			list := t.path + "/spec/" + string(key) + "/"
			return c.elements(func(i int) error { return t.parseContainer(c, list+strconv.Itoa(i)) })
		case "volumes":
			return c.elements(func(i int) error { return t.parseVolume(c, t.path+"/spec/volumes/"+strconv.Itoa(i)+"/image") })
		case "serviceAccountName":
			return c.decode(&t.account)
		case "imagePullSecrets":
			return c.elements(func(int) error {
				var ref corev1.LocalObjectReference
				if err := c.decode(&ref); err != nil {
					return err
				}
				t.ownSecrets = true
				if ref.Name != "" {
					t.pullSecrets = append(t.pullSecrets, ref.Name)
				}
				return nil
			})
		}
		return c.skip()
	})
}

func (t *template) parseContainer(c *cursor, path string) error {
	if len(t.containers) >= maxContainers {
		return errManyContainers
	}
	one := container{imagePath: path + "/image", policyPath: path + "/imagePullPolicy"}
	err := c.members(func(key []byte) error {
		switch string(key) {
		case "name":
			return c.decode(&one.name)
		case "image":
			return c.decode(&one.image)
		case "imagePullPolicy":
			return c.decode(&one.policy)
		}
		return c.skip()
	})
	one.pin = v1alpha1.AnnotationPin + one.name
	t.containers = append(t.containers, one)
	return err
}

// parseVolume adds an image volume; other volumes are none of our business.
func (t *template) parseVolume(c *cursor, path string) error {
	one := container{imagePath: path + "/reference", policyPath: path + "/pullPolicy"}
	var name string
	err := c.members(func(key []byte) error {
		switch string(key) {
		case "name":
			return c.decode(&name)
		case "image":
			return c.members(func(key []byte) error {
				switch string(key) {
				case "reference":
					return c.decode(&one.image)
				case "pullPolicy":
					return c.decode(&one.policy)
				}
				return c.skip()
			})
		}
		return c.skip()
	})
	if one.image != "" && len(t.containers) >= maxContainers {
		return errManyContainers
	}
	if one.image != "" {
		one.name, one.pin = "volume/"+name, v1alpha1.AnnotationVolumePin+name
		t.containers = append(t.containers, one)
	}
	return err
}

// container returns the one with a pin of this key, nil if there is none.
func (t *template) container(pin string) *container {
	for i := range t.containers {
		if t.containers[i].pin == pin {
			return &t.containers[i]
		}
	}
	return nil
}

// pinned is the image that pods of the template use for a container, if it has a pin that is good for its image.
func (t *template) pinned(c *container) (string, bool) {
	return v1alpha1.Pinned(c.image, t.annotations[c.pin])
}

// sameBesidesPins is true for templates that differ in nothing but kube-prepull's annotations.
func (t *template) sameBesidesPins(other *template) bool {
	return slices.EqualFunc(t.essence, other.essence, bytes.Equal)
}
