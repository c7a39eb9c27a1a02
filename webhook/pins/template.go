// Package pins decides which images of a template are pinned to digests, and which images of a pod are replaced by them. It
// reads objects as they came, without a typed round trip, and makes the patches by hand.
package pins

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

// MaxContainers is more than a template has; each is looked up among the others, and a forged review has room for
// a hundred thousand.
const MaxContainers = 500

var errManyContainers = fmt.Errorf("more than %d containers", MaxContainers)

// Object is what matters of a reviewed object besides its template.
type Object struct {
	uid        types.UID
	Deleting   bool
	Controller *metav1.OwnerReference
	// owned is set if it belongs to another object, whether or not that one calls itself its controller.
	owned    bool
	Selector *metav1.LabelSelector
	Template Template
}

// Template is what matters of a pod template, or of a pod, for which images it uses.
type Template struct {
	// path is its JSON pointer in the reviewed object: empty for a pod, such as /spec/template for the rest.
	path string

	// Raw is the template as it came.
	Raw []byte

	Labels map[string]string

	// annotations are kube-prepull's own ones. all are those of everybody, in bytes of JSON.
	annotations map[string]string
	all         int

	hasMetadata, hasAnnotations bool

	// mirror is set for the API server's copy of a static pod.
	mirror bool

	Containers []Container

	// PullSecrets are the names of its own, Account is its service account. OwnSecrets is set if it has a list, be it one
	// of empty names: then those of the account are not added.
	PullSecrets []string
	OwnSecrets  bool
	Account     string

	// essence is all of it but kube-prepull's annotations, part by part. The API server writes equal objects equally.
	essence [][]byte
}

// Container is a container, an init container or an image volume of a template.
type Container struct {
	// Name is its own, or volume/ and that of the volume.
	Name string

	// Pin is the key of the annotation that pins it.
	Pin string

	Image  string
	Policy corev1.PullPolicy

	// imagePath and policyPath are JSON pointers.
	imagePath, policyPath string
}

// Parse reads an object of a kind that is observed.
func Parse(raw []byte, kind string) (*Object, error) {
	w := &Object{}
	c := &Cursor{Raw: raw}
	if kind == "Pod" {
		if err := w.Template.parse(c, w.parseMetadata); err != nil {
			return nil, err
		}
		return w, nil
	}
	err := c.Members(func(key []byte) error {
		switch string(key) {
		case "metadata":
			return c.Members(func(key []byte) error { return w.parseMetadata(c, key) })
		case "spec":
			return w.parseSpec(c, kind)
		}
		return c.Skip()
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// parseMetadata takes one member of the object's metadata.
func (w *Object) parseMetadata(c *Cursor, key []byte) error {
	switch string(key) {
	case "uid":
		return DecodeText(c, &w.uid)
	case "deletionTimestamp":
		value, err := c.Value()
		w.Deleting = !bytes.Equal(value, []byte("null"))
		return err
	case "ownerReferences":
		var owners []metav1.OwnerReference
		if err := c.Decode(&owners); err != nil {
			return err
		}
		w.owned = len(owners) > 0
		for i := range owners {
			if owners[i].Controller != nil && *owners[i].Controller {
				w.Controller = &owners[i]
			}
		}
		return nil
	}
	return c.Skip()
}

func (w *Object) parseSpec(c *Cursor, kind string) error {
	return c.Members(func(key []byte) error {
		switch {
		case string(key) == "template" && kind != "CronJob":
			w.Template.path = "/spec/template"
			return w.Template.parse(c, skipMember)
		case string(key) == "jobTemplate" && kind == "CronJob":
			return w.parseJobTemplate(c)
		case string(key) == "selector":
			return c.Decode(&w.Selector)
		}
		return c.Skip()
	})
}

func (w *Object) parseJobTemplate(c *Cursor) error {
	return c.Members(func(key []byte) error {
		if string(key) != "spec" {
			return c.Skip()
		}
		return c.Members(func(key []byte) error {
			if string(key) != "template" {
				return c.Skip()
			}
			w.Template.path = "/spec/jobTemplate/spec/template"
			return w.Template.parse(c, skipMember)
		})
	})
}

func skipMember(c *Cursor, _ []byte) error { return c.Skip() }

// parse takes the template that comes next. The members of its metadata that are of no interest here go to other.
func (t *Template) parse(c *Cursor, other func(*Cursor, []byte) error) error {
	c.Peek()
	start := c.At
	err := c.Members(func(key []byte) error {
		if string(key) == "metadata" {
			t.hasMetadata = c.Peek() == '{'
			return t.parseMetadata(c, other)
		}
		from := c.At
		var err error
		if string(key) == "spec" {
			err = t.parseSpec(c)
		} else {
			err = c.Skip()
		}
		t.essence = append(t.essence, key, c.Raw[from:c.At])
		return err
	})
	t.Raw = c.Raw[start:c.At]
	return err
}

func (t *Template) parseMetadata(c *Cursor, other func(*Cursor, []byte) error) error {
	return c.Members(func(key []byte) error {
		if string(key) == "annotations" {
			t.hasAnnotations = c.Peek() == '{'
			from := c.At
			err := t.parseAnnotations(c)
			t.all = c.At - from
			return err
		}
		from := c.At
		var err error
		if string(key) == "labels" {
			err = c.Decode(&t.Labels)
		} else {
			err = other(c, key)
		}
		t.essence = append(t.essence, []byte("metadata"), key, c.Raw[from:c.At])
		return err
	})
}

func (t *Template) parseAnnotations(c *Cursor) error {
	return c.Members(func(key []byte) error {
		name := string(key)
		switch {
		case IsPin(name) || name == v1alpha1.AnnotationRewritten:
			var value string
			if err := DecodeText(c, &value); err != nil {
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
		from := c.At
		err := c.Skip()
		t.essence = append(t.essence, []byte("annotations"), key, c.Raw[from:c.At])
		return err
	})
}

// IsPin tells whether an annotation is a pin of an image or of an image volume.
func IsPin(key string) bool {
	return strings.HasPrefix(key, v1alpha1.AnnotationPin) || strings.HasPrefix(key, v1alpha1.AnnotationVolumePin)
}

func (t *Template) parseSpec(c *Cursor) error {
	return c.Members(func(key []byte) error {
		switch string(key) {
		case "containers", "initContainers":
			list := t.path + "/spec/" + string(key) + "/"
			return c.elements(func(i int) error { return t.parseContainer(c, list+strconv.Itoa(i)) })
		case "volumes":
			return c.elements(func(i int) error { return t.parseVolume(c, t.path+"/spec/volumes/"+strconv.Itoa(i)+"/image") })
		case "serviceAccountName":
			return DecodeText(c, &t.Account)
		case "imagePullSecrets":
			return c.elements(func(int) error {
				var ref corev1.LocalObjectReference
				if err := c.Decode(&ref); err != nil {
					return err
				}
				t.OwnSecrets = true
				if ref.Name != "" {
					t.PullSecrets = append(t.PullSecrets, ref.Name)
				}
				return nil
			})
		}
		return c.Skip()
	})
}

func (t *Template) parseContainer(c *Cursor, path string) error {
	if len(t.Containers) >= MaxContainers {
		return errManyContainers
	}
	one := Container{imagePath: path + "/image", policyPath: path + "/imagePullPolicy"}
	err := c.Members(func(key []byte) error {
		switch string(key) {
		case "name":
			return DecodeText(c, &one.Name)
		case "image":
			return DecodeText(c, &one.Image)
		case "imagePullPolicy":
			return DecodeText(c, &one.Policy)
		}
		return c.Skip()
	})
	one.Pin = v1alpha1.AnnotationPin + one.Name
	t.Containers = append(t.Containers, one)
	return err
}

// parseVolume adds an image volume; other volumes are none of our business.
func (t *Template) parseVolume(c *Cursor, path string) error {
	one := Container{imagePath: path + "/reference", policyPath: path + "/pullPolicy"}
	var name string
	err := c.Members(func(key []byte) error {
		switch string(key) {
		case "name":
			return DecodeText(c, &name)
		case "image":
			return c.Members(func(key []byte) error {
				switch string(key) {
				case "reference":
					return DecodeText(c, &one.Image)
				case "pullPolicy":
					return DecodeText(c, &one.Policy)
				}
				return c.Skip()
			})
		}
		return c.Skip()
	})
	if one.Image != "" && len(t.Containers) >= MaxContainers {
		return errManyContainers
	}
	if one.Image != "" {
		one.Name, one.Pin = "volume/"+name, v1alpha1.AnnotationVolumePin+name
		t.Containers = append(t.Containers, one)
	}
	return err
}

// container returns the one with a pin of this key, nil if there is none.
func (t *Template) container(pin string) *Container {
	for i := range t.Containers {
		if t.Containers[i].Pin == pin {
			return &t.Containers[i]
		}
	}
	return nil
}

// Pinned is the image that pods of the template use for a container, if it has a pin that is good for its image.
func (t *Template) Pinned(c *Container) (string, bool) {
	return v1alpha1.Pinned(c.Image, t.annotations[c.Pin])
}

// SameBesidesPins is true for templates that differ in nothing but kube-prepull's annotations.
func (t *Template) SameBesidesPins(other *Template) bool {
	return slices.EqualFunc(t.essence, other.essence, bytes.Equal)
}

// Controls tells whether the object is the controller of another one.
func (w *Object) Controls(obj metav1.Object) bool {
	owner := metav1.GetControllerOfNoCopy(obj)
	return owner != nil && owner.UID == w.uid
}
