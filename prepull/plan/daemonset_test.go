package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func testDaemonSet(o Options, images ...string) *appsv1.DaemonSet {
	var entries []entry
	for _, image := range images {
		entries = append(entries, entry{Candidate: &Candidate{Name: workload.ObjectName(image), image: image}})
	}
	ds := daemonSet(&nodeclass.Class{Name: "linux-arm64", Os: "linux", Arch: "arm64"}, 1, entries, o)
	sign(ds)
	return ds
}

// The whole object is pinned: a change of it is written to every cluster that is upgraded.
const wantDaemonSet = `
metadata:
  labels: {app.kubernetes.io/component: prepull, app.kubernetes.io/name: kube-prepull, kube-prepull.io/node-class: linux-arm64}
  name: kube-prepull-linux-arm64
  namespace: kube-prepull
spec:
  revisionHistoryLimit: 1
  selector:
    matchLabels: {app.kubernetes.io/component: prepull, app.kubernetes.io/name: kube-prepull, kube-prepull.io/node-class: linux-arm64}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 10, maxUnavailable: 0}
  template:
    metadata:
      labels: {app.kubernetes.io/component: prepull, app.kubernetes.io/name: kube-prepull, kube-prepull.io/node-class: linux-arm64}
    spec:
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions:
              - {key: kubernetes.io/os, operator: In, values: [linux]}
              - {key: kubernetes.io/arch, operator: In, values: [arm64]}
              - {key: eks.amazonaws.com/compute-type, operator: NotIn, values: [fargate]}
              - {key: type, operator: NotIn, values: [virtual-kubelet]}
      automountServiceAccountToken: false
      enableServiceLinks: false
      priorityClassName: low
      securityContext:
        runAsGroup: 65532
        runAsNonRoot: true
        runAsUser: 65532
        seccompProfile: {type: RuntimeDefault}
      terminationGracePeriodSeconds: 0
      tolerations:
      - {key: DeletionCandidateOfClusterAutoscaler, operator: Exists}
      - {key: ToBeDeletedByClusterAutoscaler, operator: Exists}
      - {key: ebs.csi.aws.com/agent-not-ready, operator: Exists}
      - {key: efs.csi.aws.com/agent-not-ready, operator: Exists}
      - {key: karpenter.sh/disrupted, operator: Exists}
      - {key: karpenter.sh/unregistered, operator: Exists}
      - {key: kube-prepull.io/warming, operator: Exists}
      - {key: node.cilium.io/agent-not-ready, operator: Exists}
      - {key: node.cloudprovider.kubernetes.io/shutdown, operator: Exists}
      - {key: node.cloudprovider.kubernetes.io/uninitialized, operator: Exists}
      - {key: node.cluster.x-k8s.io/uninitialized, operator: Exists}
      - {key: node.gardener.cloud/critical-components-not-ready, operator: Exists}
      - {key: node.kubernetes.io/disk-pressure, operator: Exists}
      - {key: node.kubernetes.io/memory-pressure, operator: Exists}
      - {key: node.kubernetes.io/network-unavailable, operator: Exists}
      - {key: node.kubernetes.io/not-ready, operator: Exists}
      - {key: node.kubernetes.io/out-of-service, operator: Exists}
      - {key: node.kubernetes.io/pid-pressure, operator: Exists}
      - {key: node.kubernetes.io/unreachable, operator: Exists}
      - {key: node.kubernetes.io/unschedulable, operator: Exists}
      volumes: [{name: noop, emptyDir: {}}]
      initContainers:
      - name: install
        image: registry.test/noop:v1
        args: [install, /prepull-0123456789abcdef0123456789abcdef]
        imagePullPolicy: IfNotPresent
        workingDir: /
        resources: {requests: {cpu: 1m, memory: 4Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
        volumeMounts: [{mountPath: /prepull-0123456789abcdef0123456789abcdef, name: noop}]
      - name: nginx-5be1ecc7
        image: nginx
        command: [/prepull-0123456789abcdef0123456789abcdef/noop]
        imagePullPolicy: IfNotPresent
        workingDir: /
        resources: {requests: {cpu: 1m, memory: 4Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
        volumeMounts: [{mountPath: /prepull-0123456789abcdef0123456789abcdef, name: noop, readOnly: true}]
      containers:
      - name: wait
        image: registry.test/noop:v1
        args: [wait]
        imagePullPolicy: IfNotPresent
        workingDir: /
        resources: {requests: {cpu: 1m, memory: 4Mi}}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
`

func TestDaemonSet(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.PriorityClassName = "low"
	got := testDaemonSet(o, "nginx")
	if len(got.Annotations[AnnotationSpecHash]) != 16 {
		t.Errorf("annotations %v", got.Annotations)
	}
	got.Annotations = nil
	list := got.Labels[v1alpha1.LabelList]
	if len(list) != 33 || got.Spec.Template.Labels[v1alpha1.LabelList] != list {
		t.Errorf("labels %v, of the pods %v", got.Labels, got.Spec.Template.Labels)
	}
	delete(got.Labels, v1alpha1.LabelList)
	delete(got.Spec.Template.Labels, v1alpha1.LabelList)
	var want appsv1.DaemonSet
	if err := yaml.UnmarshalStrict([]byte(wantDaemonSet), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Errorf("DaemonSet (-want +got):\n%s", diff)
	}
}

func TestTheDaemonSetDependsOnImagesAndOptionsAlone(t *testing.T) {
	t.Parallel()
	hash := func(o Options, images ...string) string {
		return testDaemonSet(o, images...).Annotations[AnnotationSpecHash]
	}
	base := hash(testOptions, "a:1", "b:1")
	surge, noop, priority, classes := testOptions, testOptions, testOptions, testOptions
	surge.MaxConcurrentNodes = intstr.FromString("20%")
	noop.NoopImage = "registry.test/noop:v2"
	priority.PriorityClassName = "other"
	classes.MaxNodeClasses++
	for name, other := range map[string]string{
		"another order":      hash(testOptions, "b:1", "a:1"),
		"another image":      hash(testOptions, "a:1", "c:1"),
		"one image less":     hash(testOptions, "a:1"),
		"another surge":      hash(surge, "a:1", "b:1"),
		"another noop image": hash(noop, "a:1", "b:1"),
		"another priority":   hash(priority, "a:1", "b:1"),
	} {
		if other == base {
			t.Errorf("%s does not change the hash", name)
		}
	}
	if again := hash(classes, "a:1", "b:1"); again != base {
		t.Error("an option that has nothing to do with it changes the hash")
	}
}

// A pod that cannot pull noop waits for good: one with another login has to take its place. Copies for images come and go.
func TestPodsWithOtherPullSecretsOfNoopAreOthers(t *testing.T) {
	t.Parallel()
	with := testOptions
	with.NoopPullSecrets = []string{"mirror", "a-mirror", "mirror"}
	ds := testDaemonSet(with, "a:1")
	if diff := cmp.Diff([]corev1.LocalObjectReference{{Name: "a-mirror"}, {Name: "mirror"}}, ds.Spec.Template.Spec.ImagePullSecrets); diff != "" {
		t.Errorf("pull secrets (-want +got):\n%s", diff)
	}
	without := testDaemonSet(testOptions, "a:1")
	if samePods(without, ds) || samePods(ds, without) {
		t.Error("pods that wait for noop would wait for good")
	}
	copied := ds.DeepCopy()
	copied.Spec.Template.Spec.ImagePullSecrets = append(copied.Spec.Template.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: v1alpha1.CopyPrefix + "0123456789"})
	if !samePods(ds, copied) || listLabel(ds) != listLabel(copied) {
		t.Error("a copy for an image restarts all pods")
	}
}

func TestUpToDate(t *testing.T) {
	t.Parallel()
	spec := func(ds *appsv1.DaemonSet) *corev1.PodSpec { return &ds.Spec.Template.Spec }
	// defaulted is what the API server makes of our DaemonSet, as far as it matters.
	defaulted := func(ds *appsv1.DaemonSet) {
		spec(ds).RestartPolicy = corev1.RestartPolicyAlways
		spec(ds).DNSPolicy = corev1.DNSClusterFirst
		spec(ds).SchedulerName = corev1.DefaultSchedulerName
		for i := range spec(ds).InitContainers {
			spec(ds).InitContainers[i].TerminationMessagePath = corev1.TerminationMessagePathDefault
			spec(ds).InitContainers[i].TerminationMessagePolicy = corev1.TerminationMessageReadFile
		}
		ds.Annotations["deprecated.daemonset.template.generation"] = "3"
		ds.Labels["team"] = "somebody"
	}
	for name, tc := range map[string]struct {
		edit func(*appsv1.DaemonSet)
		want bool
	}{
		"what the API server adds does not matter": {func(*appsv1.DaemonSet) {}, true},
		"an image that somebody changed does":      {func(ds *appsv1.DaemonSet) { spec(ds).InitContainers[1].Image = "evil" }, false},
		"an image that somebody removed does":      {func(ds *appsv1.DaemonSet) { spec(ds).InitContainers = spec(ds).InitContainers[:2] }, false},
		"an image that somebody added does": {func(ds *appsv1.DaemonSet) {
			spec(ds).InitContainers = append(spec(ds).InitContainers, corev1.Container{Name: "x"})
		}, false},
		"a container that somebody added does": {func(ds *appsv1.DaemonSet) {
			spec(ds).Containers = append(spec(ds).Containers, corev1.Container{Name: "x"})
		}, false},
		"a volume that somebody added does": {func(ds *appsv1.DaemonSet) {
			spec(ds).Volumes = append(spec(ds).Volumes, corev1.Volume{Name: "x"})
		}, false},
		"a node selector does": {func(ds *appsv1.DaemonSet) { spec(ds).NodeSelector = map[string]string{"a": "b"} }, false},
		"another surge does": {func(ds *appsv1.DaemonSet) {
			ds.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(1))
		}, false},
		"a label that somebody removed does":  {func(ds *appsv1.DaemonSet) { delete(ds.Labels, v1alpha1.LabelNodeClass) }, false},
		"a hash that somebody removed does":   {func(ds *appsv1.DaemonSet) { delete(ds.Annotations, AnnotationSpecHash) }, false},
		"a tolerance that somebody took does": {func(ds *appsv1.DaemonSet) { spec(ds).Tolerations = nil }, false},
		"a restart that somebody asked for does not": {func(ds *appsv1.DaemonSet) {
			ds.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desired := testDaemonSet(testOptions, "a:1", "b:1")
			stored := desired.DeepCopy()
			defaulted(stored)
			accepted := stored.DeepCopy()
			tc.edit(stored)
			if got := upToDate(stored, desired, ""); got != tc.want {
				t.Errorf("a new leader: upToDate = %v, want %v", got, tc.want)
			}
			if got := upToDate(stored, desired, AcceptedHash(&accepted.Spec)); got != tc.want {
				t.Errorf("who wrote it: upToDate = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAnOptionThatIsGoneIsWritten(t *testing.T) {
	t.Parallel()
	with := testOptions
	with.PriorityClassName = "low"
	if upToDate(testDaemonSet(with, "a:1"), testDaemonSet(testOptions, "a:1"), "") {
		t.Error("the priority class would stay for ever")
	}
}

func TestWhatAnAdmissionWebhookMakesOfItIsAccepted(t *testing.T) {
	t.Parallel()
	desired := testDaemonSet(testOptions, "a:1")
	stored := desired.DeepCopy()
	stored.Spec.Template.Spec.Containers[0].Image = "mirror.test/noop:v1"
	if upToDate(stored, desired, "") {
		t.Error("somebody may have changed it by hand")
	}
	accepted := AcceptedHash(&stored.Spec)
	if !upToDate(stored, desired, accepted) {
		t.Error("it would be written again for ever")
	}
}

func TestAFieldThatWeDoNotSetIsPutBackByWhoWroteTheRest(t *testing.T) {
	t.Parallel()
	desired := testDaemonSet(testOptions, "a:1")
	accepted := AcceptedHash(&desired.Spec)
	stored := desired.DeepCopy()
	stored.Spec.Template.Spec.ServiceAccountName = "somebody"
	if upToDate(stored, desired, accepted) {
		t.Error("anybody may change it")
	}
	if !upToDate(stored, desired, "") {
		t.Error("a new leader cannot know that no API server defaulted it")
	}
}

func TestListed(t *testing.T) {
	t.Parallel()
	if got := ListOf(nil); got != nil {
		t.Errorf("no DaemonSet lists %v", got)
	}
	if got := ListOf(&appsv1.DaemonSet{}); got != nil {
		t.Errorf("an empty DaemonSet lists %v", got)
	}
	if got := ListOf(testDaemonSet(testOptions, "a:1", "b:1")); len(got) != 2 || got[0].Image != "a:1" || got[1].Image != "b:1" {
		t.Errorf("got %v", got)
	}
}

// Whoever switches the host's network on or off means the pods that run, too.
func TestTheNetworkOfTheHostRestartsThePods(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{inUse("a:1")}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	o := testOptions
	o.HostNetwork = true
	p := Make(s, o, prepulltest.Noon)
	if len(p.Roll) != 1 || !p.Roll[0].Spec.Template.Spec.HostNetwork || p.Roll[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || !p.Classes[0].Reasons.Ordinary {
		t.Fatalf("%d are written, because %+v", len(p.Roll), p.Classes[0].Reasons)
	}
	s.carryOut(p)
	if again := Make(s, testOptions, prepulltest.Noon); len(again.Roll) != 1 || again.Roll[0].Spec.Template.Spec.HostNetwork {
		t.Errorf("the pods stay on the host's network")
	}
}
