package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PrepullImage is one image that should be on nodes before pods need it. kube-prepull makes one for each image that
// it learns from the workloads of opted-in namespaces; a person may declare more.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=ppi
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.image`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Size",type=string,JSONPath=`.status.size`
// +kubebuilder:printcolumn:name="Users",type=integer,JSONPath=`.status.userCount`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Last-Seen",type=date,JSONPath=`.status.lastSeenTime`
// +kubebuilder:printcolumn:name="TTL",type=string,JSONPath=`.spec.ttl`,priority=1
type PrepullImage struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what somebody wants.
	Spec PrepullImageSpec `json:"spec"`

	// status is what was observed.
	// +optional
	Status PrepullImageStatus `json:"status,omitempty"`
}

// PrepullImageList is a list of PrepullImages.
//
// +kubebuilder:object:root=true
type PrepullImageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PrepullImage `json:"items"`
}

// PrepullImageSpec says which image, and for a declared image also where it may go and how it is pulled.
type PrepullImageSpec struct {
	// image is the image string, byte for byte as pods write it: presence on a node and the kubelet's credential
	// record are both keyed by the literal string. Immutable: another image is another object. A string that the kubelet does
	// not take for an image is refused (ParseImageName in pkg/util/parsers/parsers.go of Kubernetes).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.matches('^(([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*|[[][A-Fa-f0-9:]+[]])(:[0-9]+)?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@(sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}))?$') && !self.matches('^[a-f0-9]{64}$')`,message="image is not one that a kubelet can pull, such as registry.example.com/team/app:v1 or registry.example.com/team/app@sha256:...: the repository is in lower case, without spaces"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="image is immutable: create another PrepullImage"
	Image string `json:"image"`

	// nodeSelector names the nodes that want a declared image, by their labels. Empty means every Linux node whose taints
	// are tolerated. A learned image leaves it empty. What cannot be a label is refused, as of a pod (ValidateLabels in
	// k8s.io/apimachinery/pkg/apis/meta/v1/validation).
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule=`self.all(key, key.size() <= 317 && key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)$'))`,message="a key of nodeSelector is not one that a label can have, such as pool or example.com/pool: letters, digits, -, _ and ., 63 at most, after a prefix in lower case"
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// tolerations are the taints that a declared image goes past, as those of a pod: a tainted node gets it only if one of
	// them matches. A learned image leaves it empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// imagePullSecrets are the Secrets that a declared image is pulled with; their namespaces must be opted in. A learned
	// image leaves it empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	ImagePullSecrets []SecretReference `json:"imagePullSecrets,omitempty"`

	// ttl is how long a declared image stays without a use, such as 1h30m, from 1m to 8760h: after its creation, and once a
	// workload of an opted-in namespace has used it, after the last use, or for as long as a learned image is kept if that is
	// longer. From the first use on it counts as a learned image does: what its users ask for decides where it goes, with which
	// pull secrets and in which rank. Then the PrepullImage is deleted, by the leader. Without a ttl a declared image stays until
	// somebody deletes it. A learned image leaves it empty.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1m') && duration(self) <= duration('8760h')`,message="ttl must be from 1m to 8760h, in hours, minutes and seconds such as 24h or 1h30m: there is no unit for days"
	TTL *metav1.Duration `json:"ttl,omitempty"`
}

// LabelValue is a value that a label can have (IsValidLabelValue in k8s.io/apimachinery/pkg/util/validation).
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')",message="it is not a value that a label can have: letters and digits, and between them also -, _ and ."
type LabelValue string

// Toleration is one of a pod. What a pod cannot have is refused (ValidateTolerations in pkg/apis/core/validation/validation.go of
// Kubernetes).
//
// +kubebuilder:validation:XValidation:rule="has(self.key) && size(self.key) > 0 || has(self.operator) && self.operator == 'Exists'",message="operator must be Exists where key is empty, which means all taints"
// +kubebuilder:validation:XValidation:rule="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || size(self.value) == 0",message="value must be empty where operator is Exists"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",message="effect must be NoExecute where tolerationSeconds is set"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || self.value.matches(has(self.operator) && self.operator in ['Lt', 'Gt'] ? '^(0|-?[1-9][0-9]{0,18})$' : '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')",message="value is not one that a taint can have: letters and digits, and between them also -, _ and .; for Lt and Gt it is a whole number"
type Toleration struct {
	// key of the taint; empty with the operator Exists means all taints.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule=`size(self) == 0 || self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)$')`,message="key is not one that a taint can have, such as gpu or example.com/gpu: letters, digits, -, _ and ., 63 at most, after a prefix in lower case"
	Key string `json:"key,omitempty"`

	// operator is Exists, Equal, Lt or Gt: how the value of the taint compares. Empty means Equal.
	// +optional
	// +kubebuilder:validation:Enum="";Exists;Equal;Lt;Gt
	Operator corev1.TolerationOperator `json:"operator,omitempty"`

	// value of the taint.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value,omitempty"`

	// effect of the taint: NoSchedule, PreferNoSchedule or NoExecute. Empty means all of them.
	// +optional
	// +kubebuilder:validation:Enum="";NoSchedule;PreferNoSchedule;NoExecute
	Effect corev1.TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds is how long a pod stays on a node with such a taint. It means nothing here.
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// SecretReference names a Secret in a namespace.
type SecretReference struct {
	// namespace of the Secret.
	// +kubebuilder:validation:MinLength=1
	Namespace string `json:"namespace"`

	// name of the Secret.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}

// PrepullImageStatus is what was observed of an image: who uses it, where it is, and what stands in the way.
type PrepullImageStatus struct {
	// conditions are Selected (is it worth a place on the nodes), Ready (is it on every node that wants it) and
	// PullFailed (does a registry or a node refuse it, in its own words).
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// state is the conditions in a word or two, for people: Ready, Pulling, Pending, PullFailed: <why>, Skipped: <why>.
	// +optional
	State string `json:"state,omitempty"`

	// firstSeenTime is when a stored object was first read that uses the image.
	// +optional
	FirstSeenTime *metav1.Time `json:"firstSeenTime,omitempty"`

	// lastSeenTime is the last time at which the image was known to be in use. It is not touched while nothing
	// changes: an image with users is in use now.
	// +optional
	LastSeenTime *metav1.Time `json:"lastSeenTime,omitempty"`

	// firstReadyTime is when every node that wanted the image had it for the first time.
	// +optional
	FirstReadyTime *metav1.Time `json:"firstReadyTime,omitempty"`

	// starts counts pods that were started with the image, decaying with a half-life of 24 hours, and remembers the hours of
	// the week in which they were.
	// +optional
	Starts *Starts `json:"starts,omitempty"`

	// users are workloads that use the image, five at most, those that count first. At a userCount of 0 they are the last
	// ones that did: they say why and how long the image is kept.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	Users []User `json:"users,omitempty"`

	// userCount is how many workloads use the image now: their templates name it, and their pods do not run another one in
	// its place, or a pod of theirs runs it.
	// +optional
	UserCount int32 `json:"userCount,omitempty"`

	// remembered is set if nobody has used the image for longer than it is kept, and it is likely to start again within a
	// week. It is then pulled a few hours before its usual time, and else only known.
	// +optional
	Remembered bool `json:"remembered,omitempty"`

	// placements are where the users may run: the distinct scheduling constraints of their pods. Users with more than
	// eight different ones, or with one that is too large to keep, have a single one that allows every node.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Placements []Placement `json:"placements,omitempty"`

	// pullSecrets are the Secrets that the users' pods pull the image with, those of their service accounts included;
	// 32 at most, which the namespaces of the users take in turn.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	PullSecrets []SecretReference `json:"pullSecrets,omitempty"`

	// priority is the highest value of the annotation kube-prepull.io/priority on the users' pod templates. Over budget,
	// a higher one goes first.
	// +optional
	Priority int32 `json:"priority,omitempty"`

	// required is what the annotation kube-prepull.io/required on the users' pod templates says of the image: true if one of
	// them says so, false if all do. A node must have a required image before it is called warm.
	// +optional
	Required *bool `json:"required,omitempty"`

	// autoscaled is set if a HorizontalPodAutoscaler scales one of the users. Over budget, such an image goes first.
	// +optional
	Autoscaled bool `json:"autoscaled,omitempty"`

	// alwaysPull is set if a user's container pulls the image at every start (imagePullPolicy Always). The prepull pods
	// then do the same, and the digest is asked again at the refreshInterval.
	// +optional
	AlwaysPull bool `json:"alwaysPull,omitempty"`

	// digest is what the image's tag pointed to when the registry was asked last, such as sha256:0f3a…; empty if it was
	// never asked or the image is given by its digest.
	// +optional
	Digest string `json:"digest,omitempty"`

	// downloadBytes is the size of the image's compressed layers as its manifest tells; 0 if the registry was not asked or
	// did not answer. It stands in for sizeBytes as long as no node has the image.
	// +optional
	DownloadBytes int64 `json:"downloadBytes,omitempty"`

	// sizeBytes is the size of the image as a node reports it; 0 if not known yet.
	// +optional
	SizeBytes int64 `json:"sizeBytes,omitempty"`

	// size is sizeBytes for people, such as 1.2 GB.
	// +optional
	Size string `json:"size,omitempty"`

	// nodes counts the nodes by how far the image is.
	// +optional
	Nodes NodeCounts `json:"nodes,omitempty"`

	// ready is the nodes that have the image out of those that want it, for people: 18/20.
	// +optional
	Ready string `json:"ready,omitempty"`

	// lastPullSeconds is how long the slowest node waited for the image when it came to the nodes, up to the firstReadyTime: whole
	// seconds from the status of the prepull pods, about one too many. 0 if it was there before.
	// +optional
	LastPullSeconds int64 `json:"lastPullSeconds,omitempty"`

	// retries are the node classes in which the image could not be pulled, until it has been there. Before its time it
	// is left out of the class's list, afterwards it is the last of the list.
	// +optional
	// +listType=map
	// +listMapKey=nodeClass
	Retries []Retry `json:"retries,omitempty"`
}

// Placement is what a pod asks of its node.
type Placement struct {
	// nodeSelector are the labels that a node must have.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// nodeAffinity is the required node affinity: one of its terms must match. Preferences are not kept.
	// +optional
	NodeAffinity *corev1.NodeSelector `json:"nodeAffinity,omitempty"`

	// tolerations are those that matter to where the pod may start.
	// +optional
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// runtimeClassName is the RuntimeClass of the pod: the nodeSelector and the tolerations of its scheduling count, too. If
	// there is none of that name, no pod can start.
	// +optional
	RuntimeClassName string `json:"runtimeClassName,omitempty"`

	// resources are the extended resources that the pod asks for, such as example.com/gpu: a node must offer all of them.
	// Sorted; of more than 16 the first ones.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Resources []string `json:"resources,omitempty"`
}

// Starts is a decaying count, and when in the week it grows.
type Starts struct {
	// count is the value at time.
	Count resource.Quantity `json:"count"`
	// time is when count was computed.
	Time metav1.Time `json:"time"`
	// hourCount is how many starts there were in the hour of time, up to then. They come into week when the hour is over.
	// +optional
	HourCount int32 `json:"hourCount,omitempty"`
	// week is how many starts each hour of the week had, from Monday 00:00 UTC on: a character for each. 0 is none, 1 a
	// quarter of a start, and each further one of 2 to 9 and a to z is 1.41 times the one before. It is an average of the
	// weeks, in which each counts half as much as the next one. Empty if there were none.
	// +optional
	// +kubebuilder:validation:MaxLength=168
	Week string `json:"week,omitempty"`
}

// User is a workload that uses an image.
type User struct {
	// kind of the workload: Deployment, StatefulSet, DaemonSet, Job, CronJob or Pod.
	Kind string `json:"kind"`
	// namespace of the workload.
	Namespace string `json:"namespace"`
	// name of the workload.
	Name string `json:"name"`
	// uid of the workload.
	// +optional
	UID types.UID `json:"uid,omitempty"`

	// runs is the image that the workload's pods have in the place of this one, which only its template names: something
	// replaces it when pods are created. Such a user does not count, and an image with no other one is not pulled. Empty if
	// pods run this image, or none has been seen yet.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Runs string `json:"runs,omitempty"`
}

// NodeCounts counts nodes.
type NodeCounts struct {
	// desired is how many nodes should have the image.
	Desired int32 `json:"desired"`
	// ready is how many of them have it.
	Ready int32 `json:"ready"`
	// failed is how many of them could not pull it.
	Failed int32 `json:"failed"`
}

// Retry says when a failing image is tried again on the nodes of one class: an image may exist for one architecture and
// not for another.
type Retry struct {
	// nodeClass is the class of nodes, such as linux-amd64.
	NodeClass string `json:"nodeClass"`
	// failures in a row.
	Failures int32 `json:"failures"`
	// time of the next try: 5 minutes after the first failure, 1 minute if a registry asked for rest, twice as long after each
	// further one, 6 hours at most.
	Time metav1.Time `json:"time"`
	// reason of the last failure, as in the condition PullFailed: NotFound, RateLimited, ...
	// +optional
	Reason string `json:"reason,omitempty"`
}

// Types of the conditions of a PrepullImage.
const (
	// ConditionSelected is True while the image has a place in the DaemonSets; its reason says why not.
	ConditionSelected = "Selected"
	// ConditionReady is True while every node that wants the image has it.
	ConditionReady = "Ready"
	// ConditionPullFailed is True while a node could not pull the image; its message is the registry's.
	ConditionPullFailed = "PullFailed"
)
