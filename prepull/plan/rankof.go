package plan

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Rank is where an image stands among all that a node may get, and why. In the list of a class of nodes are those that have a
// use there, in the same order.
type Rank struct {
	// Place is 1 for the image that goes before all others, and Of is how many images there are.
	Place int `json:"place"`
	Of    int `json:"of"`

	// Why are the reasons in words, what weighs most first.
	Why []string `json:"why"`
}

// RankOf is the rank of an object's image among those of all objects, by what their statuses say; nil if no node gets it
// whatever the others are.
func RankOf(objects []v1alpha1.PrepullImage, o *v1alpha1.PrepullImage, now time.Time) *Rank {
	found, _ := candidates(objects, now)
	found = slices.DeleteFunc(found, func(c *Candidate) bool { return !c.selected() && !c.wantsRoom() })
	found, _ = mergeSpellings(found, nil, Pulls{})
	listed := map[*ClassImage]bool{}
	images := make([]*ClassImage, len(found))
	for i, c := range found {
		images[i] = &ClassImage{Candidate: c}
		if c.fails() {
			images[i].retry = &v1alpha1.Retry{}
		}
		listed[images[i]] = c.selected()
	}
	ranked := rank(images, listed)
	i := slices.IndexFunc(ranked, func(image *ClassImage) bool {
		return slices.ContainsFunc(image.objects, func(other *v1alpha1.PrepullImage) bool { return other.Name == o.Name })
	})
	if i < 0 {
		return nil
	}
	doubled := listed[ranked[i]] || ranked[i].inherits(replaceable(images, listed))
	return &Rank{Place: i + 1, Of: len(ranked), Why: ranked[i].rankWords(doubled, now)}
}

// rankWords are what gives an image its rank. doubled is set if its starts count twice.
func (i *ClassImage) rankWords(doubled bool, now time.Time) []string {
	var why []string
	switch {
	case i.declared:
		why = append(why, "declared by a person")
	case i.inUse:
		why = append(why, "in use")
	case i.remembered:
		why = append(why, "not in use, and its usual time is near")
	default:
		why = append(why, "not in use, and kept")
	}
	if i.failing() {
		why = append(why, "it fails")
	}
	if i.autoscaled {
		why = append(why, "scaled by load")
	}
	if i.priority != 0 {
		why = append(why, fmt.Sprintf("priority %d", i.priority))
	}
	return append(why, i.startsWords(doubled, now), i.bytesWords())
}

// startsWords are what the starts of an image count as, and where that comes from.
func (i *ClassImage) startsWords(doubled bool, now time.Time) string {
	words := "starts that count as " + strconv.FormatFloat(math.Round(i.starts*10)/10, 'f', -1, 64)
	own, counted := 0.0, 0.0
	for _, o := range i.objects {
		own += startsWorth(o.Status.Starts, now)
		counted += o.Status.Starts.At(now)
	}
	switch {
	case i.starts > own:
		words += ", as those of the version that it replaces"
	case own > counted:
		words += ", since more are usual in the next hours"
	}
	if doubled {
		words += ", twice since it has a place"
	}
	return words
}

// selected tells whether a node is to have the image now.
func (c *Candidate) selected() bool {
	return slices.ContainsFunc(c.objects, func(o *v1alpha1.PrepullImage) bool {
		return meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionSelected)
	})
}

// wantsRoom tells whether the image has no place for want of room alone, or nobody has decided yet.
func (c *Candidate) wantsRoom() bool {
	return slices.ContainsFunc(c.objects, func(o *v1alpha1.PrepullImage) bool {
		undecided := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionSelected) == nil
		return undecided || overBudget(o.Status.Conditions)
	})
}

// fails tells whether the image could not be pulled somewhere.
func (c *Candidate) fails() bool {
	return slices.ContainsFunc(c.objects, func(o *v1alpha1.PrepullImage) bool { return len(o.Status.Retries) > 0 })
}
