package prepull

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// question is what a registry is asked about an image.
type question struct {
	object *v1alpha1.PrepullImage

	// size asks how much there is to download, and digest where the tag points. Their answer comes in one.
	size, digest bool
}

// dueQuestions are those that may be asked now: the size of an image that neither a node nor a registry has told, and at an
// interval the digest of a tag that pods always pull. Namespaces take turns, each with the longest unasked first, so that one
// with many images at slow registries does not delay the others.
func dueQuestions(images []v1alpha1.PrepullImage, asked map[string]time.Time, interval time.Duration, now time.Time) []question {
	var due []question
	for i := range images {
		o := &images[i]
		if o.DeletionTimestamp != nil || workload.ValidImage(o.Spec.Image) != nil || leftOut(o) {
			continue
		}
		last, before := asked[o.Name]
		q := question{
			object: o,
			size:   o.Status.SizeBytes == 0 && o.Status.DownloadBytes == 0 && (!before || now.Sub(last) >= sizeRetry),
			digest: o.Status.AlwaysPull && !plan.Pinned(o.Spec.Image) && (!before || now.Sub(last) >= interval),
		}
		if q.size || q.digest {
			// One question is as good as two.
			q.digest = o.Status.AlwaysPull && !plan.Pinned(o.Spec.Image)
			due = append(due, q)
		}
	}
	slices.SortFunc(due, func(a, b question) int {
		return cmp.Or(asked[a.object.Name].Compare(asked[b.object.Name]), strings.Compare(a.object.Name, b.object.Name))
	})
	turns := turnsOf(due)
	slices.SortStableFunc(due, func(a, b question) int { return cmp.Compare(turns[a.object.Name], turns[b.object.Name]) })
	return due
}

// turnsOf are the places of questions, by the names of their objects, among those of a namespace that uses the image: the first of
// its places where there are several. Images that nobody uses are as of a namespace without a name.
func turnsOf(due []question) map[string]int {
	turns, given := make(map[string]int, len(due)), map[string]int{}
	for _, q := range due {
		namespaces := make([]string, 0, len(q.object.Status.Users))
		for _, u := range q.object.Status.Users {
			namespaces = append(namespaces, u.Namespace)
		}
		if len(namespaces) == 0 {
			namespaces = append(namespaces, "")
		}
		slices.Sort(namespaces)
		turn := len(due)
		for _, ns := range slices.Compact(namespaces) {
			turn = min(turn, given[ns])
			given[ns]++
		}
		turns[q.object.Name] = turn
	}
	return turns
}

// leftOut is true for an image that is not pulled, whatever a registry says of it.
func leftOut(o *v1alpha1.PrepullImage) bool {
	reason, skipped := strings.CutPrefix(o.Status.State, plan.StateSkipped+": ")
	return skipped && (reason == plan.SkippedExcluded || reason == plan.SkippedReplaced || reason == plan.SkippedRemembered)
}

// secretsOf are the pull secrets of an image, as its users or the person who declared it have them.
func secretsOf(o *v1alpha1.PrepullImage) []v1alpha1.SecretReference {
	if !o.Declared() {
		return o.Status.PullSecrets
	}
	return slices.Concat(o.Spec.ImagePullSecrets, o.Status.PullSecrets)
}

// commonArchitecture is that of most Linux nodes, amd64 if there are none or as many of it.
func commonArchitecture(nodes []corev1.Node) string {
	counts := map[string]int{}
	for i := range nodes {
		if nodes[i].Labels[corev1.LabelOSStable] == string(corev1.Linux) {
			counts[nodes[i].Labels[corev1.LabelArchStable]]++
		}
	}
	common := "amd64"
	for _, arch := range slices.Sorted(maps.Keys(counts)) {
		if arch != "" && counts[arch] > counts[common] {
			common = arch
		}
	}
	return common
}
