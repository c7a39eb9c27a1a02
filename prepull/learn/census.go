package learn

import (
	"maps"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// maxTaught is how many containers and image volumes the templates of a namespace may have in a census, which holds them until
// the pods were read.
const maxTaught = 100_000

// census is what the stored objects of opted-in namespaces say about images.
type census struct {
	// namespaces are all opted-in ones, with their labels, and read are those that were read to the end.
	namespaces map[string]map[string]string
	read       map[string]bool
	// rolling are the namespaces in which a rollout is under way.
	rolling map[string]bool
	// users are the users of each image, without their UIDs.
	users map[string]map[v1alpha1.User]standing
	// uids are the UIDs of all users that are stored, as far as they are known.
	uids map[v1alpha1.User]types.UID
	// templates are those that pods may correct, until the namespace was read; byUID finds those of pods that name their owner.
	templates map[v1alpha1.User][]*predicted
	byUID     map[types.UID]*predicted

	// taught is how many containers and image volumes the templates of a namespace have, and named how many images a namespace was
	// the first to name.
	taught, named map[string]int

	// proven tells whether a pod of a user, without its UID, has been seen with an image. Of what templates say only that counts;
	// nil if all of it does.
	proven func(image string, user v1alpha1.User) bool

	// pullSecrets is set if the pull secrets of workloads are learned.
	pullSecrets bool
	// demands are what the users of each image ask for, except for what scalers and service accounts tell.
	demands map[string]workload.Demand
	// scaled are the workloads that a HorizontalPodAutoscaler scales, without their UIDs.
	scaled map[v1alpha1.User]bool
	// accounts are the images that are pulled with the secrets of a service account, by its namespace and name.
	accounts map[string]map[string]map[string]bool
	// placements are those that were met, by their keys: thousands of workloads share a few.
	placements map[string][]v1alpha1.Placement
}

// predicted is what a stored object with a template says about its pods.
type predicted struct {
	workload.Template
	workload.Requirements
	user       v1alpha1.User
	images     []string
	correction workload.Correction
}

// standing is how a workload stands to an image.
type standing struct {
	certainty certainty
	// inPlace is what its pods have in the place of the image, if that is known.
	inPlace string
}

type certainty int8

const (
	foretold certainty = iota // a template names the image, and no pod has told
	replaced                  // pods have another image in its place
	run                       // a pod has it
)

func newCensus(namespaces map[string]map[string]string) *census {
	return &census{
		namespaces: namespaces,
		read:       map[string]bool{},
		rolling:    map[string]bool{},
		users:      map[string]map[v1alpha1.User]standing{},
		uids:       map[v1alpha1.User]types.UID{},
		templates:  map[v1alpha1.User][]*predicted{},
		byUID:      map[types.UID]*predicted{},
		taught:     map[string]int{},
		named:      map[string]int{},
		demands:    map[string]workload.Demand{},
		scaled:     map[v1alpha1.User]bool{},
		accounts:   map[string]map[string]map[string]bool{},
		placements: map[string][]v1alpha1.Placement{},
	}
}

// whole tells whether all opted-in namespaces were read: what was not seen is not there.
func (c *census) whole() bool { return len(c.read) == len(c.namespaces) }

// add counts one stored object. Workloads must come before their pods. What a namespace has beyond maxTaught is left out, the
// same each time, because lists have an order.
func (c *census) add(obj metav1.Object) {
	namespace := c.namespaces[obj.GetNamespace()]
	user, f := workload.UserOf(obj), workload.RequirementsOf(obj, namespace)
	if !c.pullSecrets {
		f.Secrets, f.Account = nil, ""
	}
	pod, isPod := obj.(*corev1.Pod)
	var of *predicted
	if isPod {
		if of = c.templateOf(user); of != nil {
			user, f.Placement = of.user, of.PlacementOf(f.Placement)
		}
	} else {
		template := workload.TemplateOf(obj, namespace)
		if c.taught[obj.GetNamespace()] += template.Pulls(); c.taught[obj.GetNamespace()] > maxTaught {
			return
		}
		of = &predicted{Template: template, Requirements: f, user: user}
		c.byUID[obj.GetUID()] = of
	}
	if obj.GetDeletionTimestamp() != nil || workload.Finished(obj) {
		return
	}
	key := workload.WithoutUID(user)
	if user.UID != "" || c.uids[key] == "" {
		c.uids[key] = user.UID
	}
	images := workload.ImagesOf(obj, namespace)
	if !isPod {
		of.images = images
		c.templates[key] = append(c.templates[key], of)
		if workload.RollsOut(obj) {
			c.rolling[obj.GetNamespace()] = true
		}
		return
	}
	for _, image := range images {
		c.stand(image, key, standing{certainty: run})
		c.demand(image, obj.GetNamespace(), f)
	}
	if of != nil && of.Has(pod.Labels) {
		of.correction = of.correction.With(of.Template, workload.PullsOf(pod))
	}
}

// templateOf is what the pods of a user were made of, nil if it is not known. A Deployment is found by its name.
func (c *census) templateOf(user v1alpha1.User) *predicted {
	if user.UID != "" {
		return c.byUID[user.UID]
	}
	if of := c.templates[user]; len(of) > 0 {
		return of[0]
	}
	return nil
}

// settle counts what templates predict and pods do not tell better. All pods must have come.
func (c *census) settle() {
	for _, key := range slices.SortedFunc(maps.Keys(c.templates), workload.CompareUsers) {
		for _, t := range c.templates[key] {
			for _, image := range t.images {
				if c.proven != nil && !c.proven(image, key) {
					continue
				}
				switch by := t.correction.InPlaceOf(image); {
				case by != "":
					c.stand(image, key, standing{replaced, by})
				case !t.correction.Runs(image):
					c.stand(image, key, standing{})
					c.demand(image, t.user.Namespace, t.Requirements)
				}
			}
		}
	}
	clear(c.templates)
	clear(c.byUID)
}

// stand notes how a user stands to an image, if nothing more certain is known. A namespace names as many images as there may be
// PrepullImages at most.
func (c *census) stand(image string, user v1alpha1.User, s standing) {
	if c.users[image] == nil {
		if len(image) > workload.MaxImageLength || c.named[user.Namespace] == maxImages {
			return
		}
		c.named[user.Namespace]++
		c.users[image] = map[v1alpha1.User]standing{}
	}
	known, found := c.users[image][user]
	if !found || s.certainty > known.certainty || s.certainty == known.certainty && s.inPlace < known.inPlace {
		c.users[image][user] = s
	}
}

// demand adds what a workload or a pod asks for an image that is counted.
func (c *census) demand(image, namespace string, f workload.Requirements) {
	if c.users[image] == nil {
		return
	}
	asked := f.DemandFor(image)
	asked.Placements = c.shared(f.Placement)
	c.demands[image] = c.demands[image].Plus(asked)
	if f.Account != "" {
		c.addAccount(namespace, f.Account, image)
	}
}

// shared is a placement alone, in memory once however often it is met.
func (c *census) shared(p v1alpha1.Placement) []v1alpha1.Placement {
	key := workload.PlacementKey(p)
	if c.placements[key] == nil {
		c.placements[key] = []v1alpha1.Placement{p}
	}
	return c.placements[key]
}

// addAccount notes that an image is pulled with what a service account has.
func (c *census) addAccount(namespace, account, image string) {
	if c.accounts[namespace] == nil {
		c.accounts[namespace] = map[string]map[string]bool{}
	}
	if c.accounts[namespace][account] == nil {
		c.accounts[namespace][account] = map[string]bool{}
	}
	c.accounts[namespace][account][image] = true
}

// addSecrets counts the pull secrets of a service account. Its workloads must come first.
func (c *census) addSecrets(namespace, account string, secrets []v1alpha1.SecretReference) {
	for image := range c.accounts[namespace][account] {
		c.demands[image] = c.demands[image].Plus(workload.Demand{PullSecrets: secrets})
	}
}

// addScaler counts one HorizontalPodAutoscaler.
func (c *census) addScaler(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	target := hpa.Spec.ScaleTargetRef
	c.scaled[v1alpha1.User{Kind: target.Kind, Namespace: hpa.Namespace, Name: target.Name}] = true
}

// stored is true if a stored object is u or has u as its controller.
func (c *census) stored(u v1alpha1.User) bool {
	_, ok := c.uids[workload.WithoutUID(u)]
	return ok
}

// usersOf returns the users of an image, those first that count. Where only a template names it, what was known before of its
// pods still holds.
func (c *census) usersOf(image string, before []v1alpha1.User) []v1alpha1.User {
	var users []v1alpha1.User
	for u, s := range c.users[image] {
		u.UID, u.Runs = c.uids[u], s.inPlace
		if at := userIn(before, u); s.certainty == foretold && at >= 0 {
			u.Runs = before[at].Runs
		}
		users = append(users, u)
	}
	slices.SortFunc(users, compareUsers)
	return users
}

// demandOf returns what the users of an image ask for.
func (c *census) demandOf(image string) workload.Demand {
	d := c.demands[image]
	for u := range c.users[image] {
		d.Autoscaled = d.Autoscaled || c.scaled[u]
	}
	return d
}
