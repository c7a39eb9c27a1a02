package v1alpha1

const (
	// LabelEnabled opts in: "true" on a namespace lets kube-prepull learn its images and pre-pull them.
	// "false" on a pod or a pod template opts that one workload out.
	LabelEnabled = "kube-prepull.io/enabled"

	// LabelNodeClass names the class of nodes that a prepull DaemonSet, and each of its pods, serves.
	LabelNodeClass = "kube-prepull.io/node-class"

	// LabelLane is on the prepull DaemonSets of a class, and their pods, from the second one on: its number. There is one for each
	// image that a node pulls at the same time, see the configuration key pullsPerNode.
	LabelLane = "kube-prepull.io/lane"

	// LabelList is on a prepull DaemonSet and its pods: a hash of what the pods are made to do. A pod that has the value of
	// its DaemonSet has the current list of images.
	LabelList = "kube-prepull.io/list"

	// LabelName is on every object that kube-prepull owns, with the value Name.
	LabelName = "app.kubernetes.io/name"

	// LabelComponent says which part of kube-prepull an object belongs to: ComponentWebhook or ComponentPrepull.
	LabelComponent = "app.kubernetes.io/component"

	// LabelManagedBy with the value Name marks a PrepullImage that was learned. One without it was declared by a person:
	// it is pulled too, goes before the learned ones, and expires only if it has a spec.ttl.
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// LabelDeclaredBy with the value "wait" marks a PrepullImage that kubectl prepull wait declared. It means nothing to the
	// managers; an uninstallation deletes such objects, which nobody would end otherwise.
	LabelDeclaredBy = "kube-prepull.io/declared-by"

	// AnnotationPriority on a pod template (or a bare pod) is a whole number: over budget, the images of workloads with a
	// higher one go first. Without it the priority is 0.
	AnnotationPriority = "kube-prepull.io/priority"

	// AnnotationRequired on a pod template (or a bare pod), or on a declared PrepullImage, says whether a node must have the
	// images before it is called warm: "true" also those that are larger than gate.maxBytes leaves room for, "false" none
	// that no other workload needs. Without it the images in use within budget count.
	AnnotationRequired = "kube-prepull.io/required"

	// ConditionImagesReady is the type of the condition that tells of a node whether it has its images; the configuration
	// key nodeCondition turns it on.
	ConditionImagesReady = "kube-prepull.io/ImagesReady"

	// TaintWarming is the key of the taint with which a node registers to be kept free of pods until its images are there,
	// unless the configuration key gate.taintKey names another one.
	TaintWarming = "kube-prepull.io/warming"

	// SchedulingGateMirror is on prepull pods that wait for the mirror of their node, as the configuration key mirror says.
	SchedulingGateMirror = "kube-prepull.io/mirror"

	// StartupTaintPrefix begins the keys of taints that the cluster autoscaler expects to go once a new node has started;
	// gate.taintKey may have it.
	StartupTaintPrefix = "startup-taint.cluster-autoscaler.kubernetes.io/"

	// ReadinessTaintPrefix begins the keys of taints that the node-readiness-controller takes away, and that Karpenter (1.14
	// and later) expects to go once a new node has started, as the cluster autoscaler does with --startup-taint-prefix;
	// gate.taintKey may have it.
	ReadinessTaintPrefix = "readiness.k8s.io/"

	// LabelRewrite on a namespace pins the images of its workloads to digests: RewriteLatest those that are tagged latest or
	// not at all, RewriteTags those with any tag. On a pod template (or a bare pod) it says the same for that one workload,
	// also where a controller owns it, and any other value, such as "off", exempts it.
	LabelRewrite = "kube-prepull.io/rewrite"

	// AnnotationPin and the name of a container make the annotation of a pod template that pins the container's image: the
	// image as it is written there, "@" and the digest. Pods get the digest; for another image the pin means nothing.
	AnnotationPin = "pin.kube-prepull.io/"

	// AnnotationVolumePin and the name of a volume make the annotation that pins an image volume.
	AnnotationVolumePin = "pinvol.kube-prepull.io/"

	// AnnotationRewritten is on a pod whose images were replaced: a list of container=image (volume/name=image for a volume),
	// separated by commas, with the images as they were.
	AnnotationRewritten = "kube-prepull.io/rewritten"

	// AnnotationSkipped and the name of an init container make the annotation of a prepull pod whose node goes without the
	// container's image, because it could not pull it: since when, and why.
	AnnotationSkipped = "skipped.kube-prepull.io/"

	// Name is the value of LabelName, and the name of the namespace, the release, the Deployment and the Service.
	Name = "kube-prepull"

	// ComponentWebhook marks the manager, which serves the webhook, learns and reconciles.
	ComponentWebhook = "webhook"

	// ComponentPrepull marks the prepull DaemonSets and their pods.
	ComponentPrepull = "prepull"
)

// DeclaredByWait is the value of LabelDeclaredBy on what kubectl prepull wait declared.
const DeclaredByWait = "wait"

// Values of LabelEnabled.
const (
	Enabled  = "true"
	Disabled = "false"
)

// Values of LabelRewrite.
const (
	RewriteLatest = "latest"
	RewriteTags   = "tags"
)

// CopyPrefix is what the names of all copies of pull secrets start with, in the manager's namespace.
const CopyPrefix = Name + "-pull-"
