package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// maxStarts is how many starts are shown.
const maxStarts = 10

// imageAnswer is what explain IMAGE -o json prints.
type imageAnswer struct {
	inventory.Image

	// Selected is what the manager says of its place on the nodes, where that is not just a place on all that want it.
	Selected string `json:"selected,omitempty"`

	// Starts are how often pods start with it; nil if none was seen.
	Starts *startsAnswer `json:"starts,omitempty"`

	// Rank is where it stands among all images, and why; nil if no node is to have it for another reason.
	Rank *plan.Rank `json:"rank,omitempty"`

	// Kept is why it is known although nothing uses it, and until when; nil if something does, or a person declared it for good.
	Kept *inventory.Kept `json:"kept,omitempty"`

	// Placements are where its users may run, in words.
	Placements []string `json:"placements"`

	// PullSecrets are what it is pulled with, as namespace/name.
	PullSecrets []string `json:"pullSecrets,omitempty"`

	// Retries are the classes of nodes in which it failed.
	Retries []v1alpha1.Retry `json:"retries,omitempty"`

	// OnNodes is every node, and why the image is not there.
	OnNodes []onNode `json:"onNodes"`

	// LastStarts are the last containers that started with it, the newest first; ten at most, of the last hour.
	LastStarts        []inventory.Start `json:"lastStarts"`
	LastStartsUnknown string            `json:"lastStartsUnknown,omitempty"`
}

// onNode is how an image stands on a node.
type onNode struct {
	Node  string `json:"node"`
	Class string `json:"class,omitempty"`

	// State is Ready, Pulling, Failing, Queued or NotListed; Message says why it is not Ready.
	State   warmth.PullState `json:"state"`
	Message string           `json:"message,omitempty"`

	// Seconds is how long the prepull pod that the node has now waited for it, about a second too many.
	Seconds float64 `json:"seconds,omitempty"`
}

// notListed is the state of an image that is not in the list of a node and not there either.
const notListed warmth.PullState = "NotListed"

func (q question) image(ctx context.Context, argument string) (answer, error) {
	objects, err := inventory.ReadPrepullImages(ctx, q.client)
	if err != nil {
		return nil, err
	}
	if err := q.resolve(ctx, objects); err != nil {
		return nil, err
	}
	object, err := find(objects, argument)
	if u := (unknown{}); errors.As(err, &u) {
		return nil, q.whoUses(ctx, u)
	}
	if err != nil {
		return nil, err
	}
	fleet, err := inventory.ReadFleet(ctx, q.client, q.home, object.Spec.Image)
	if err != nil {
		return nil, err
	}
	starts, unknown, err := q.starts(ctx, func(s *inventory.Start) bool { return s.Image == object.Spec.Image })
	if err != nil {
		return nil, err
	}
	kept, err := q.kept(ctx, object, objects)
	if err != nil {
		return nil, err
	}
	a := imageAnswerOf(object, fleet)
	a.Starts, a.Kept = startsAnswerOf(object.Status.Starts, q.now), kept
	a.Rank = plan.RankOf(objects, object, q.now)
	a.LastStarts, a.LastStartsUnknown = starts, unknown
	return a, nil
}

// kept is what an image is kept for. Who may not read namespaces is not told that one opted out.
func (q question) kept(ctx context.Context, o *v1alpha1.PrepullImage, objects []v1alpha1.PrepullImage) (*inventory.Kept, error) {
	retention, err := inventory.ReadRetention(ctx, q.client, q.home)
	if err != nil {
		return nil, err
	}
	optedIn, err := inventory.ReadOptedIn(ctx, q.client, q.home)
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, err
	}
	return retention.KeptOf(o, objects, optedIn), nil
}

// starts are the last of those that are asked for, the newest first. Who may not read events gets the rest of the answer.
func (q question) starts(ctx context.Context, wanted func(*inventory.Start) bool) (starts []inventory.Start, unknown string, err error) {
	all, err := inventory.ReadStarts(ctx, q.client, q.home)
	if apierrors.IsForbidden(err) {
		return nil, cli.Sentence(err), nil
	}
	starts = []inventory.Start{} // a list in JSON, an empty one too
	for i := len(all) - 1; i >= 0 && len(starts) < maxStarts; i-- {
		if wanted(&all[i]) {
			starts = append(starts, all[i])
		}
	}
	return starts, "", err
}

func imageAnswerOf(o *v1alpha1.PrepullImage, fleet *inventory.Fleet) *imageAnswer {
	a := &imageAnswer{Image: inventory.ImageOf(o), Retries: o.Status.Retries}
	if c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionSelected); c != nil && c.Reason != "WithinBudget" {
		a.Selected = c.Message
	}
	for _, p := range workload.PlacementsOf(o) {
		a.Placements = append(a.Placements, placementWords(&p))
	}
	for _, s := range slices.Concat(o.Spec.ImagePullSecrets, o.Status.PullSecrets) {
		a.PullSecrets = append(a.PullSecrets, s.Namespace+"/"+s.Name)
	}
	for _, n := range fleet.Nodes() {
		a.OnNodes = append(a.OnNodes, standing(o, &a.Image, &n, fleet.Machine(n.Name), fleet.Has(n.Name, o.Spec.Image)))
	}
	return a
}

// standing says how an image stands on a node, m as Kubernetes has it, which may report the image whatever its list.
func standing(o *v1alpha1.PrepullImage, image *inventory.Image, n *inventory.Node, m *corev1.Node, reported bool) onNode {
	s := onNode{Node: n.Name, Class: n.Class, State: notListed}
	i := slices.IndexFunc(n.Images, func(i inventory.NodeImage) bool { return workload.SamePull(i.Image, o.Spec.Image) })
	switch {
	case i >= 0:
		listed := &n.Images[i]
		s.State, s.Message, s.Seconds = listed.State, listed.Message, listed.Seconds
		switch {
		case s.State == warmth.PullDone:
		case n.State == inventory.NodeNotReady:
			s.Message = "nobody waits for the node: " + n.Message
		case s.State == warmth.PullActive:
			s.Message = "it is being pulled"
		case s.State == warmth.PullQueued:
			s.Message = queueWords(n, i)
		}
	case reported:
		s.State = warmth.PullDone
	default:
		s.Message = whyNotListed(o, image, n, m)
	}
	return s
}

// queueWords say what an image waits for whose turn has not come.
func queueWords(n *inventory.Node, i int) string {
	ahead := 0
	for _, before := range n.Images[:i] {
		if before.State == warmth.PullFailed {
			return "it waits behind " + before.Image + ", which fails"
		}
		if before.State != warmth.PullDone {
			ahead++
		}
	}
	if ahead == 0 {
		return "it is next"
	}
	return fmt.Sprintf("%s to be pulled before it", plural(ahead, "image"))
}

// whyNotListed says why an image is not in the list of a node.
func whyNotListed(o *v1alpha1.PrepullImage, image *inventory.Image, n *inventory.Node, m *corev1.Node) string {
	if why := inventory.Unable(m); why != "" {
		return why
	}
	unfit := ""
	for _, p := range workload.PlacementsOf(o) {
		why := nodeclass.Unfit(m, &p)
		if why == "" {
			unfit = ""
			break
		}
		unfit = why
	}
	switch {
	case image.State == inventory.ImageSkipped:
		return image.Message
	case unfit != "":
		return unfit
	case slices.ContainsFunc(o.Status.Retries, func(r v1alpha1.Retry) bool { return r.NodeClass == n.Class }):
		return "it could not be pulled, and is tried again later"
	}
	if c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionSelected); c != nil && (c.Reason == "PartlyOverBudget" || c.Reason == "SecretPartlyWithheld") {
		return c.Message
	}
	if n.State == inventory.NodeNotReady {
		return "nobody waits for the node: " + n.Message
	}
	return "it has not got into the list yet"
}

// resolve adds to the placements of images what RuntimeClasses ask of nodes. Who may not read these sees their names.
func (q question) resolve(ctx context.Context, images []v1alpha1.PrepullImage) error {
	classes, err := inventory.ReadRuntimeClasses(ctx, q.client, images)
	if apierrors.IsForbidden(err) || err == nil && classes == nil {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range images {
		for j, p := range images[i].Status.Placements {
			images[i].Status.Placements[j], _ = classes.Resolve(p)
		}
	}
	return nil
}

// whoUses adds to an image that is not known the pods that use it, and why it was not learned from them. Who may not read
// these gets less.
func (q question) whoUses(ctx context.Context, u unknown) error {
	optedIn, err := inventory.ReadOptedIn(ctx, q.client, q.home)
	if err != nil {
		return notForbidden(u, err)
	}
	pods, err := inventory.ReadPodsWith(ctx, q.client, u.argument)
	if err != nil {
		return notForbidden(u, err)
	}
	var inside, outside []string
	for _, pod := range pods {
		if optedIn[pod.Namespace] {
			inside = append(inside, pod.String())
		} else if pod.Namespace != q.home {
			outside = append(outside, pod.Namespace)
		}
	}
	slices.Sort(outside)
	outside = slices.Compact(outside)
	switch {
	case len(inside) > 0:
		return fmt.Errorf("%w; pods of opted-in namespaces use it (%s): it is learned within seconds, unless the pods have the label %s=%s",
			u, some(inside, 3), v1alpha1.LabelEnabled, v1alpha1.Disabled)
	case len(outside) > 0:
		return fmt.Errorf("%w; pods use it in namespaces that are not opted in (%s): kubectl label namespace %s %s=%s",
			u, some(outside, maxNames), outside[0], v1alpha1.LabelEnabled, v1alpha1.Enabled)
	}
	return fmt.Errorf("%w; no pod uses it", u)
}

func notForbidden(u unknown, err error) error {
	if apierrors.IsForbidden(err) {
		return u
	}
	return err
}
