package webhook

import (
	"fmt"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

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
	c := &cursor{raw: raw}
	err := c.members(func(key []byte) error {
		if string(key) != "request" {
			return c.skip()
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

func (r *review) parseRequest(c *cursor) error {
	return c.members(func(key []byte) error {
		switch string(key) {
		case "uid":
			return c.decode(&r.uid)
		case "kind":
			var kind metav1.GroupVersionKind
			if err := c.decode(&kind); err != nil {
				return err
			}
			r.group, r.hint.Kind = kind.Group, kind.Kind
			return nil
		case "subResource":
			return c.decode(&r.subresource)
		case "operation":
			return c.decode(&r.operation)
		case "namespace":
			return c.decode(&r.hint.Namespace)
		case "name":
			return c.decode(&r.hint.Name)
		case "dryRun":
			return c.decode(&r.dryRun)
		case "object":
			c.peek()
			start := c.at
			err := r.parseObject(c)
			r.object = c.raw[start:c.at]
			return err
		case "oldObject":
			old, err := c.value()
			r.old = old
			return err
		}
		return c.skip()
	})
}

func (r *review) parseObject(c *cursor) error {
	return c.members(func(key []byte) error {
		if string(key) != "metadata" {
			return c.skip()
		}
		return r.parseMetadata(c)
	})
}

func (r *review) parseMetadata(c *cursor) error {
	return c.members(func(key []byte) error {
		switch string(key) {
		case "name":
			return c.decode(&r.hint.Name)
		case "generateName":
			return c.decode(&r.hint.GenerateName)
		case "labels":
			return c.decode(&r.hint.Labels)
		case "ownerReferences":
			var owners []metav1.OwnerReference
			if err := c.decode(&owners); err != nil {
				return err
			}
			for _, owner := range owners {
				if owner.Controller != nil && *owner.Controller {
					r.hint.OwnerKind, r.hint.OwnerName, r.hint.OwnerUID = owner.Kind, owner.Name, owner.UID
				}
			}
			return nil
		}
		return c.skip()
	})
}
