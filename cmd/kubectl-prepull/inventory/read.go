package inventory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// pageSize is how many objects are asked for at a time.
const pageSize = 500

// Pages lists objects page by page: what each leaves behind is all that is kept in memory.
func Pages[L client.ObjectList](ctx context.Context, c client.Reader, empty func() L, each func(L), options ...client.ListOption) error {
	token := ""
	for {
		page := empty()
		if err := c.List(ctx, page, slices.Concat(options, []client.ListOption{client.Limit(pageSize), client.Continue(token)})...); err != nil {
			return err
		}
		each(page)
		if token = page.GetContinue(); token == "" {
			return nil
		}
	}
}

// ReadPrepullImages lists them as they are.
func ReadPrepullImages(ctx context.Context, c client.Reader) ([]v1alpha1.PrepullImage, error) {
	var found []v1alpha1.PrepullImage
	err := Pages(ctx, c, func() *v1alpha1.PrepullImageList { return &v1alpha1.PrepullImageList{} }, func(page *v1alpha1.PrepullImageList) {
		found = append(found, page.Items...)
	})
	if err != nil {
		return nil, fmt.Errorf("listing PrepullImages: %w", err)
	}
	return found, nil
}

// ReadRuntimeClasses lists what the RuntimeClasses ask of nodes if pods of one of the images have any.
func ReadRuntimeClasses(ctx context.Context, c client.Reader, images []v1alpha1.PrepullImage) (nodeclass.RuntimeClasses, error) {
	has := func(p v1alpha1.Placement) bool { return p.RuntimeClassName != "" }
	asked := func(o v1alpha1.PrepullImage) bool { return slices.ContainsFunc(o.Status.Placements, has) }
	if !slices.ContainsFunc(images, asked) {
		return nil, nil
	}
	var found nodev1.RuntimeClassList
	if err := c.List(ctx, &found); err != nil {
		return nil, fmt.Errorf("listing RuntimeClasses: %w", err)
	}
	return nodeclass.RuntimeClassesOf(found.Items), nil
}

// Images are PrepullImages, those with trouble first.
func Images(objects []v1alpha1.PrepullImage) []Image {
	images := make([]Image, 0, len(objects))
	for i := range objects {
		images = append(images, ImageOf(&objects[i]))
	}
	sortImages(images)
	return images
}

// ReadFleet reads the nodes, and from the namespace of kube-prepull the DaemonSets, their pods and what kubelets say of
// failed pulls. Of what nodes report, the listed images are kept, and those that are asked about.
func ReadFleet(ctx context.Context, c client.Reader, home string, about ...string) (*Fleet, error) {
	f := &Fleet{byName: map[string]*machine{}, pods: map[string][]*prepullPod{}}
	ours := []client.ListOption{client.InNamespace(home), client.MatchingLabels{
		v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentPrepull,
	}}
	err := Pages(ctx, c, func() *appsv1.DaemonSetList { return &appsv1.DaemonSetList{} }, func(page *appsv1.DaemonSetList) {
		for i := range page.Items {
			f.addDaemonSet(&page.Items[i])
		}
	}, ours...)
	if err != nil {
		return nil, fmt.Errorf("listing prepull DaemonSets: %w", err)
	}
	slices.SortFunc(f.lists, func(a, b *list) int { return strings.Compare(a.class, b.class) })
	wanted := f.wanted(about)
	err = Pages(ctx, c, func() *corev1.NodeList { return &corev1.NodeList{} }, func(page *corev1.NodeList) {
		for i := range page.Items {
			f.addNode(&page.Items[i], wanted)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var failed []corev1.Event
	err = Pages(ctx, c, func() *corev1.EventList { return &corev1.EventList{} }, func(page *corev1.EventList) {
		failed = append(failed, page.Items...)
	}, client.InNamespace(home), client.MatchingFieldsSelector{Selector: warmth.FailedPulls})
	if err != nil {
		return nil, fmt.Errorf("listing events of failed pulls: %w", err)
	}
	events := warmth.FailedPullsIn(failed)
	var made []*corev1.Pod
	err = Pages(ctx, c, func() *corev1.PodList { return &corev1.PodList{} }, func(page *corev1.PodList) {
		for i := range page.Items {
			f.addPod(&page.Items[i], events)
			made = append(made, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: page.Items[i].Labels, CreationTimestamp: page.Items[i].CreationTimestamp}})
		}
	}, ours...)
	if err != nil {
		return nil, fmt.Errorf("listing prepull pods: %w", err)
	}
	var refused []corev1.Event
	err = Pages(ctx, c, func() *corev1.EventList { return &corev1.EventList{} }, func(page *corev1.EventList) {
		refused = append(refused, page.Items...)
	}, client.InNamespace(home), client.MatchingFieldsSelector{Selector: plan.RefusedPodEvents})
	if err != nil {
		return nil, fmt.Errorf("listing the events of prepull DaemonSets: %w", err)
	}
	f.addRefused(plan.RefusedPods(refused, made))
	return f, nil
}

// addRefused adds why the pods of DaemonSets are not made.
func (f *Fleet) addRefused(words map[string]string) {
	for _, l := range f.lists {
		for _, name := range l.daemonSets {
			l.refused = cmp.Or(l.refused, words[name])
		}
	}
}

// addDaemonSet adds its images to the list of its class. One that moves from one DaemonSet to another is in both.
func (f *Fleet) addDaemonSet(ds *appsv1.DaemonSet) {
	class := ds.Labels[v1alpha1.LabelNodeClass]
	i := slices.IndexFunc(f.lists, func(l *list) bool { return l.class == class })
	if i < 0 {
		i = len(f.lists)
		f.lists = append(f.lists, &list{class: class})
	}
	l, spec := f.lists[i], &ds.Spec.Template.Spec
	l.labels, l.daemonSets = append(l.labels, ds.Labels[v1alpha1.LabelList]), append(l.daemonSets, ds.Name)
	for _, image := range plan.ListOf(ds) {
		if !slices.ContainsFunc(l.images, func(known plan.Listed) bool { return known.Name == image.Name }) {
			l.images = append(l.images, image)
		}
	}
	l.placement = v1alpha1.Placement{NodeSelector: spec.NodeSelector, Tolerations: spec.Tolerations}
	if a := spec.Affinity; a != nil && a.NodeAffinity != nil {
		l.placement.NodeAffinity = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
}

// wanted are the strings of the images to look for on nodes, by the name under which nodes report them.
func (f *Fleet) wanted(about []string) map[string][]string {
	images := slices.Clone(about)
	for _, l := range f.lists {
		for _, c := range l.images {
			images = append(images, c.Image)
		}
	}
	slices.Sort(images)
	wanted := map[string][]string{}
	for _, image := range slices.Compact(images) {
		if canonical, err := workload.CanonicalImage(image); err == nil {
			wanted[canonical] = append(wanted[canonical], image)
		}
	}
	return wanted
}

func (f *Fleet) addNode(n *corev1.Node, wanted map[string][]string) {
	m := &machine{images: map[string]int64{}}
	for _, reported := range n.Status.Images {
		for _, name := range reported.Names {
			for _, image := range wanted[name] {
				m.images[image] = reported.SizeBytes
			}
		}
	}
	for i := range n.Status.Conditions {
		if c := n.Status.Conditions[i]; c.Type == v1alpha1.ConditionImagesReady {
			m.condition = &c
		}
	}
	m.node = &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, DeletionTimestamp: n.DeletionTimestamp},
		Spec:       n.Spec, Status: corev1.NodeStatus{Conditions: n.Status.Conditions, Capacity: n.Status.Capacity, Allocatable: n.Status.Allocatable},
	}
	f.machines = append(f.machines, m)
	f.byName[n.Name] = m
}

func (f *Fleet) addPod(p *corev1.Pod, failed warmth.FailedPullEvents) {
	node := warmth.NodeOf(p)
	if node == "" {
		return
	}
	pulls, stuck := warmth.PullsOf(p, failed, func(image string) bool { return f.Has(node, image) })
	if words, none := warmth.NoRoom(p); none {
		stuck = words
	}
	f.pods[node] = append(f.pods[node], &prepullPod{
		name: p.Name, class: p.Labels[v1alpha1.LabelNodeClass], lane: p.Labels[v1alpha1.LabelLane], list: p.Labels[v1alpha1.LabelList],
		leaving: p.DeletionTimestamp != nil, gated: plan.WaitsForMirror(p), pulls: pulls, stuck: stuck,
	})
}
