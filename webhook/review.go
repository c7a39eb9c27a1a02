package webhook

import (
	"fmt"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/pins"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// review is what matters of an AdmissionReview.
type review struct {
	uid         types.UID
	group       string
	subresource string
	operation   string
	dryRun      bool
	hint        workload.Hint

	// object and old are what is admitted and what it replaces, as they came: parts of the request's body.
	object, old []byte
}

// parse reads an AdmissionReview. On an error r holds what came before it, the uid first of all: with it the request
// can still be answered.
func (r *review) parse(raw []byte) error {
	c := &pins.Cursor{Raw: raw}
	err := c.Members(func(key []byte) error {
		if string(key) != "request" {
			return c.Skip()
		}
		return r.parseRequest(c)
	})
	if err != nil {
		return fmt.Errorf("reading the admission review: %w", err)
	}
	if r.uid == "" {
		return fmt.Errorf("reading the admission review: no request.uid")
	}
	return nil
}

func (r *review) parseRequest(c *pins.Cursor) error {
	return c.Members(func(key []byte) error {
		switch string(key) {
		case "uid":
			return pins.DecodeText(c, &r.uid)
		case "kind":
			return r.parseKind(c)
		case "subResource":
			return pins.DecodeText(c, &r.subresource)
		case "operation":
			return pins.DecodeText(c, &r.operation)
		case "namespace":
			return pins.DecodeText(c, &r.hint.Namespace)
		case "name":
			return pins.DecodeText(c, &r.hint.Name)
		case "dryRun":
			return c.Decode(&r.dryRun)
		case "object":
			c.Peek()
			start := c.At
			err := r.parseObject(c)
			r.object = c.Raw[start:c.At]
			return err
		case "oldObject":
			old, err := c.Value()
			r.old = old
			return err
		}
		return c.Skip()
	})
}

func (r *review) parseKind(c *pins.Cursor) error {
	return c.Members(func(key []byte) error {
		switch string(key) {
		case "group":
			return pins.DecodeText(c, &r.group)
		case "kind":
			return pins.DecodeText(c, &r.hint.Kind)
		}
		return c.Skip()
	})
}

func (r *review) parseObject(c *pins.Cursor) error {
	return c.Members(func(key []byte) error {
		if string(key) != "metadata" {
			return c.Skip()
		}
		return r.parseMetadata(c)
	})
}

func (r *review) parseMetadata(c *pins.Cursor) error {
	return c.Members(func(key []byte) error {
		switch string(key) {
		case "name":
			return pins.DecodeText(c, &r.hint.Name)
		case "generateName":
			return pins.DecodeText(c, &r.hint.GenerateName)
		case "labels":
			return c.Decode(&r.hint.Labels)
		case "ownerReferences":
			var owners []metav1.OwnerReference
			if err := c.Decode(&owners); err != nil {
				return err
			}
			for _, owner := range owners {
				if owner.Controller != nil && *owner.Controller {
					r.hint.OwnerKind, r.hint.OwnerName, r.hint.OwnerUID = owner.Kind, owner.Name, owner.UID
				}
			}
			return nil
		}
		return c.Skip()
	})
}
