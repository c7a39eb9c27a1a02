package webhook

import "k8s.io/apimachinery/pkg/types"

// Hint names an object that is worth looking at. It says nothing about images: what is learned is read back from the
// API server, so that dry runs, requests rejected later and forged reviews teach nothing.
type Hint struct {
	// Kind is Pod, Deployment, StatefulSet, DaemonSet, Job or CronJob.
	Kind      string
	Namespace string
	// Name is empty if the API server has yet to make it up from GenerateName.
	Name         string
	GenerateName string
	// OwnerKind, OwnerName and OwnerUID are the object's controller, if it has one.
	OwnerKind string
	OwnerName string
	OwnerUID  types.UID
	Labels    map[string]string
	// Client is the address that the review came from.
	Client string
}

// observed says whether a review is of a kind and operation that hints are made from: every CREATE, and of workloads
// also every UPDATE, because their images change with each rollout while a pod's are as good as fixed.
func observed(r *review) bool {
	if r.subresource != "" {
		return false
	}
	switch r.operation {
	case "CREATE":
		return isWorkload(r) || r.group == "" && r.hint.Kind == "Pod"
	case "UPDATE":
		return isWorkload(r)
	}
	return false
}

// rewritten says whether a review is one whose images may be pinned: those that are observed, and updates of pods.
func rewritten(r *review) bool {
	return observed(r) || r.subresource == "" && r.operation == "UPDATE" && r.group == "" && r.hint.Kind == "Pod"
}

func isWorkload(r *review) bool {
	switch r.hint.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return r.group == "apps"
	case "Job", "CronJob":
		return r.group == "batch"
	}
	return false
}
