package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// mergeSpellings makes one candidate of those whose strings kubelets take for one: they need one place. It has the string that is
// in a list already, also if nobody uses just that one any more; otherwise the first one by name. of finds the candidate that
// stands for another one.
func mergeSpellings(images []*Candidate, listed map[string]Listed, pulls Pulls) (merged []*Candidate, of map[*Candidate]*Candidate) {
	of = map[*Candidate]*Candidate{}
	alike := make(map[string][]*Candidate, len(images))
	for _, c := range images {
		alike[c.pulledAs] = append(alike[c.pulledAs], c)
	}
	for _, c := range images {
		spellings := alike[c.pulledAs]
		was, found := listed[c.pulledAs]
		switch {
		case of[c] != nil:
			continue
		case len(spellings) == 1 && (!found || was.Name == c.Name):
			merged = append(merged, c)
			continue
		}
		one := spellings[0].merge(spellings)
		if found {
			one.Name, one.image = was.Name, was.Image
		}
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
	one.objects, one.namespaces, one.placements, one.PullSecrets, one.starts, one.digest = nil, nil, nil, nil, 0, ""
	one.versions = workload.Versions{}
	one.refusals = nil
	for _, s := range spellings {
		one.objects = append(one.objects, s.objects...)
		one.declared = one.declared || s.declared
		one.inUse = one.inUse || s.inUse
		one.starts += s.starts
		one.versions = one.versions.Plus(s.versions)
		one.Size = max(one.Size, s.Size)
		one.priority = max(one.priority, s.priority)
		one.autoscaled = one.autoscaled || s.autoscaled
		one.need = max(one.need, s.need)
		one.namespaces = append(one.namespaces, s.namespaces...)
		one.placements = append(one.placements, s.placements...)
		one.refusals = append(one.refusals, s.refusals...)
		one.PullSecrets = append(one.PullSecrets, s.PullSecrets...)
		one.alwaysPull = one.alwaysPull || s.alwaysPull
		if s.alwaysPull {
			one.digest = cmp.Or(one.digest, s.digest) // nobody asks for that of the others
		}
		if s.since.Before(one.since) {
			one.since = s.since
		}
	}
	slices.Sort(one.namespaces)
	one.namespaces = slices.Compact(one.namespaces)
	slices.Sort(one.refusals)
	one.refusals = slices.Compact(one.refusals)
	slices.SortFunc(one.PullSecrets, workload.CompareSecrets)
	one.PullSecrets = slices.Compact(one.PullSecrets)
	return &one
}

// spellingsListed are the images in lists, by what kubelets take them for.
func (s *State) spellingsListed() map[string]Listed {
	byImage := map[string]Listed{} // most are in several lists
	for _, ds := range s.DaemonSets {
		for _, l := range ListOf(ds) {
			if known, found := byImage[l.Image]; !found || l.Name < known.Name {
				byImage[l.Image] = l
			}
		}
	}
	listed := map[string]Listed{}
	for _, l := range byImage {
		canonical, err := workload.CanonicalImage(l.Image)
		if err != nil {
			continue
		}
		key := workload.PulledAs(l.Image, canonical)
		if known, found := listed[key]; !found || l.Name < known.Name {
			listed[key] = l
		}
	}
	return listed
}
