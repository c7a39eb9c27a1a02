package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// podAnswer is what explain pod/NAME -o json prints.
type podAnswer struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Node      string    `json:"node,omitempty"`
	Created   time.Time `json:"created"`

	// OptedIn is true if the namespace is; OptedOut if the pod is not learned from all the same.
	OptedIn  bool `json:"optedIn"`
	OptedOut bool `json:"optedOut"`

	Containers []containerAnswer `json:"containers"`

	// StartsUnknown is why it is not known what the starts cost; empty if it is.
	StartsUnknown string `json:"startsUnknown,omitempty"`
}

// containerAnswer is about the image of one container.
type containerAnswer struct {
	Name   string            `json:"name"`
	Image  string            `json:"image"`
	Policy corev1.PullPolicy `json:"imagePullPolicy"`

	// State of the image in the cluster, empty if kube-prepull does not know it.
	State inventory.ImageState `json:"state,omitempty"`

	// Start is the last one of the container; nil if there was none in the last hour.
	Start *inventory.Start `json:"start,omitempty"`

	// Why says in words why the image was there or not.
	Why string `json:"why"`
}

func (q question) pod(ctx context.Context, namespace, name string) (answer, error) {
	var pod corev1.Pod
	err := q.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &pod)
	if apierrors.IsNotFound(err) {
		return nil, q.noPod(ctx, namespace, name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the pod: %w", err)
	}
	in, err := q.optedIn(ctx, namespace)
	if err != nil {
		return nil, err
	}
	objects, err := inventory.ReadPrepullImages(ctx, q.client)
	if err != nil {
		return nil, err
	}
	if err := q.resolve(ctx, objects); err != nil {
		return nil, err
	}
	fleet, err := inventory.ReadFleet(ctx, q.client, q.home, imagesOf(&pod)...)
	if err != nil {
		return nil, err
	}
	starts, unknown, err := q.starts(ctx, func(s *inventory.Start) bool { return s.Namespace == namespace && s.Pod == name })
	if err != nil {
		return nil, err
	}
	a := &podAnswer{
		Namespace: namespace, Name: name, Node: pod.Spec.NodeName, Created: pod.CreationTimestamp.Time,
		OptedIn: in, OptedOut: pod.Labels[v1alpha1.LabelEnabled] == v1alpha1.Disabled, StartsUnknown: unknown,
	}
	nodes := fleet.Nodes()
	on := slices.IndexFunc(nodes, func(n inventory.Node) bool { return n.Name == a.Node })
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		object := objectOf(objects, c.Image)
		var there *onNode
		if object != nil && on >= 0 {
			image := inventory.ImageOf(object)
			s := standing(object, &image, &nodes[on], fleet.Machine(a.Node), fleet.Has(a.Node, c.Image))
			there = &s
		}
		a.Containers = append(a.Containers, containerAnswerOf(a, &c, object, there, starts))
	}
	return a, nil
}

// noPod is the error for a pod that is not in a namespace. It says where one of the name is, to who may know that.
func (q question) noPod(ctx context.Context, namespace, name string) error {
	var named corev1.PodList
	if err := q.client.List(ctx, &named, client.MatchingFields{metav1.ObjectNameField: name}); err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("looking for the pod: %w", err)
	}
	words := fmt.Sprintf("there is no pod %s in namespace %s", name, namespace)
	if len(named.Items) == 0 {
		return errors.New(words)
	}
	var namespaces []string
	for i := range named.Items {
		namespaces = append(namespaces, named.Items[i].Namespace)
	}
	slices.Sort(namespaces)
	return fmt.Errorf("%s, and there is one in %s: -n %s", words, some(namespaces, maxNames), namespaces[0])
}

// objectOf is the object with an image, byte for byte; nil if there is none.
func objectOf(objects []v1alpha1.PrepullImage, image string) *v1alpha1.PrepullImage {
	object, err := find(objects, image)
	if err != nil || object.Spec.Image != image {
		return nil
	}
	return object
}

func imagesOf(pod *corev1.Pod) []string {
	var images []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		images = append(images, c.Image)
	}
	return images
}

// optedIn reads one namespace.
func (q question) optedIn(ctx context.Context, namespace string) (bool, error) {
	var n corev1.Namespace
	err := q.client.Get(ctx, client.ObjectKey{Name: namespace}, &n)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("reading the namespace: %w", err)
	}
	return err == nil && workload.OptedIn(&n, q.home), nil
}

func containerAnswerOf(a *podAnswer, c *corev1.Container, object *v1alpha1.PrepullImage, there *onNode, starts []inventory.Start) containerAnswer {
	answer := containerAnswer{Name: c.Name, Image: c.Image, Policy: c.ImagePullPolicy}
	if i := slices.IndexFunc(starts, func(s inventory.Start) bool { return s.Container == c.Name }); i >= 0 {
		answer.Start = &starts[i]
	}
	if object != nil {
		answer.State = inventory.ImageOf(object).State
	}
	answer.Why = why(a, &answer, object, there)
	return answer
}

// why says why a container found its image on the node or not. there is how the image stands now on the pod's node, nil if
// that is gone.
func why(a *podAnswer, c *containerAnswer, object *v1alpha1.PrepullImage, there *onNode) string {
	switch {
	case c.Start != nil && c.Start.Hit && c.Start.SavedSeconds > 0:
		return "a prepull pod had brought it, and nothing else had used it since"
	case c.Start != nil && c.Start.Hit:
		return "it was on the node"
	case !a.OptedIn:
		return "the namespace is not opted in: kubectl label namespace " + a.Namespace + " " + v1alpha1.LabelEnabled + "=" + v1alpha1.Enabled
	case a.OptedOut && object == nil:
		return "the pod has the label " + v1alpha1.LabelEnabled + "=" + v1alpha1.Disabled + ", and nobody else uses the image"
	case object == nil && workload.ValidImage(c.Image) != nil:
		return "it is not the name of an image: no kubelet can pull it"
	case object == nil:
		return "kube-prepull does not know the image yet"
	case a.Node == "":
		return "the pod has no node yet"
	case c.Policy == corev1.PullAlways && c.Start != nil:
		return "imagePullPolicy is Always: the kubelet asks the registry at every start, and pulls the layers that are missing"
	}
	if image := inventory.ImageOf(object); image.State == inventory.ImageFailing || image.State == inventory.ImageSkipped {
		return image.Message
	}
	seen := object.Status.FirstSeenTime
	if seen == nil || !seen.Time.Before(a.Created) {
		return "the image was learned from this pod or its workload: who is first pulls for itself"
	}
	switch {
	case there == nil:
		return "its node is gone"
	case there.State != warmth.PullDone:
		return there.Message
	case c.Start == nil:
		return "the image is on the node now"
	}
	return "the node was still pulling, or the image had been removed from it; it is there now"
}

func (a *podAnswer) write(p *page) {
	p.text("POD", a.Namespace+"/"+a.Name)
	p.text("NODE", a.Node)
	p.text("CREATED", cli.Ago(a.Created, p.now))
	in := cli.Good("the namespace is opted in")
	if !a.OptedIn {
		in = cli.Busy("the namespace is not opted in")
	} else if a.OptedOut {
		in = cli.Busy("the namespace is opted in, and the pod has the label " + v1alpha1.LabelEnabled + "=" + v1alpha1.Disabled)
	}
	p.line("OPTED IN", in)
	if a.StartsUnknown != "" {
		p.text("STARTS", "not known: "+a.StartsUnknown)
	}
	for i := range a.Containers {
		c := &a.Containers[i]
		p.out.WriteByte('\n')
		p.text("CONTAINER", c.Name)
		p.text("IMAGE", c.Image)
		state := "not known to kube-prepull"
		if c.State != "" {
			state = string(c.State)
		}
		p.text("STATE", state)
		p.line("START", startText(c, p.now))
		p.text("WHY", c.Why)
	}
}

// startText says what the last start of a container cost.
func startText(c *containerAnswer, now time.Time) cli.Text {
	s := c.Start
	switch {
	case s == nil:
		return cli.Plain("none in the last hour")
	case !s.Hit:
		return cli.Bad(fmt.Sprintf("%s: waited %s for the image", cli.Ago(s.Time, now), cli.Seconds(s.WaitedSeconds)))
	case s.SavedSeconds > 0:
		return cli.Good(fmt.Sprintf("%s: the image was there, which saved %s", cli.Ago(s.Time, now), cli.Seconds(s.SavedSeconds)))
	}
	return cli.Good(cli.Ago(s.Time, now) + ": the image was there")
}
