package plan

import (
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// mergeSpellings makes one candidate of those whose strings kubelets take for one: they need one place. Which string it has is
// left as it is in the list; otherwise it is the first one by name. of finds the candidate that stands for one of them.
func mergeSpellings(images []*Candidate, listed map[string]bool, pulls Pulls) (merged []*Candidate, of map[*Candidate]*Candidate) {
	of = map[*Candidate]*Candidate{}
	alike := make(map[string][]*Candidate, len(images))
	for _, c := range images {
		alike[c.pulledAs] = append(alike[c.pulledAs], c)
	}
	if len(alike) == len(images) {
		return images, of
	}
	for _, c := range images {
		spellings := alike[c.pulledAs]
		if of[c] != nil {
			continue
		}
		if len(spellings) == 1 {
			merged = append(merged, c)
			continue
		}
		first := spellings[max(0, slices.IndexFunc(spellings, func(s *Candidate) bool { return listed[s.Name] }))]
		one := first.merge(spellings)
		one.access = pulls.Access(one)
		merged = append(merged, one)
		for _, s := range spellings {
			of[s] = one
		}
	}
	slices.SortFunc(merged, func(a, b *Candidate) int { return strings.Compare(a.Name, b.Name) })
	return merged, of
}

// merge is a candidate with what all spellings of it say.
func (c *Candidate) merge(spellings []*Candidate) *Candidate {
	one := *c
	one.objects, one.namespaces, one.placements, one.PullSecrets, one.starts = nil, nil, nil, nil, 0
	for _, s := range spellings {
		one.objects = append(one.objects, s.objects...)
		one.declared = one.declared || s.declared
		one.inUse = one.inUse || s.inUse
		one.starts += s.starts
		one.Size = max(one.Size, s.Size)
		one.priority = max(one.priority, s.priority)
		one.autoscaled = one.autoscaled || s.autoscaled
		one.need = max(one.need, s.need)
		one.namespaces = append(one.namespaces, s.namespaces...)
		one.placements = append(one.placements, s.placements...)
		one.PullSecrets = append(one.PullSecrets, s.PullSecrets...)
		one.alwaysPull = one.alwaysPull || s.alwaysPull
		if one.digest == "" {
			one.digest = s.digest
		}
		if s.since.Before(one.since) {
			one.since = s.since
		}
	}
	slices.Sort(one.namespaces)
	one.namespaces = slices.Compact(one.namespaces)
	slices.SortFunc(one.PullSecrets, workload.CompareSecrets)
	one.PullSecrets = slices.Compact(one.PullSecrets)
	return &one
}

// listedNames are the names of the images that any DaemonSet lists.
func (s *State) listedNames() map[string]bool {
	listed := map[string]bool{}
	for _, ds := range s.DaemonSets {
		for _, l := range ListOf(ds) {
			listed[l.Name] = true
		}
	}
	return listed
}
