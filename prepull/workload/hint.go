package workload

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
