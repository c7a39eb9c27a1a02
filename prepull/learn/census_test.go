package learn

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// censusOf is an empty census of opted-in namespaces without any other label.
func censusOf(names ...string) *census {
	namespaces := map[string]map[string]string{}
	for _, name := range names {
		namespaces[name] = nil
	}
	c := newCensus(namespaces)
	for _, name := range names {
		c.read[name] = true
	}
	return c
}

func TestCensus(t *testing.T) {
	t.Parallel()
	cron := &batchv1.CronJob{ObjectMeta: workloadtest.InShop("sum")}
	cron.Spec.JobTemplate.Spec.Template.Spec = workloadtest.Spec("sum:v1")
	ended := workloadtest.Job("once", "once:v1")
	ended.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	endedOfCron := workloadtest.Controlled(workloadtest.Job("sum-28", "sum:v1"), "CronJob", "sum")
	endedOfCron.Status = ended.Status
	idle := workloadtest.Deployment("idle", "idle:v1")
	idle.Spec.Replicas = new(int32)
	deleted := workloadtest.Deployment("deleted", "deleted:v1")
	deleted.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	crashed := workloadtest.Pod("crashed", "crashed:v1")
	crashed.Status.Phase = corev1.PodFailed
	sum := v1alpha1.User{Kind: "CronJob", Namespace: "shop", Name: "sum", UID: "uid-of-sum"}

	for name, test := range map[string]struct {
		objects []client.Object
		image   string
		want    []v1alpha1.User
	}{
		"a Deployment":                     {[]client.Object{workloadtest.Deployment("api", "app:v1")}, "app:v1", deployments("api")},
		"a Deployment without replicas":    {[]client.Object{idle}, "idle:v1", deployments("idle")},
		"a Deployment that is deleted":     {[]client.Object{deleted}, "deleted:v1", nil},
		"two, in the order of their names": {[]client.Object{workloadtest.Deployment("b", "x"), workloadtest.Deployment("a", "x")}, "x", deployments("a", "b")},
		"a Deployment and its pods are one user": {
			[]client.Object{workloadtest.Deployment("api", "app:v1"), workloadtest.RolledOut("api", "app:v1"), workloadtest.RolledOut("api", "app:v1")}, "app:v1", deployments("api"),
		},
		"a sidecar that was injected into the pods": {
			[]client.Object{workloadtest.Deployment("api", "app:v1"), workloadtest.RolledOut("api", "proxy:v1")}, "proxy:v1", deployments("api"),
		},
		"a pod is known before its Deployment": {
			[]client.Object{workloadtest.RolledOut("api", "proxy:v1"), workloadtest.Deployment("api", "app:v1")}, "proxy:v1", deployments("api"),
		},
		"a CronJob between two runs": {[]client.Object{cron}, "sum:v1", []v1alpha1.User{sum}},
		"a CronJob, its job and the job's pod are one user": {
			[]client.Object{cron, workloadtest.Controlled(workloadtest.Job("sum-29", "sum:v1"), "CronJob", "sum"), workloadtest.Controlled(workloadtest.Pod("sum-29-x", "sum:v1"), "Job", "sum-29")},
			"sum:v1", []v1alpha1.User{sum},
		},
		"a pod that outlives its job's end is the CronJob's": {
			[]client.Object{endedOfCron, workloadtest.Controlled(workloadtest.Pod("sum-28-x", "late:v1"), "Job", "sum-28")}, "late:v1", []v1alpha1.User{sum},
		},
		"a job that has ended":  {[]client.Object{ended}, "once:v1", nil},
		"a pod that has ended":  {[]client.Object{crashed}, "crashed:v1", nil},
		"an image nobody named": {[]client.Object{workloadtest.Deployment("api", "app:v1")}, "app:v2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop")
			for _, o := range test.objects {
				c.add(o)
			}
			c.settle()
			if diff := cmp.Diff(test.want, c.usersOf(test.image, nil)); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
		})
	}
}

// What is pinned is counted as what its pods pull, with all that its workload asks for.
func TestCensusOfPinnedWorkloads(t *testing.T) {
	t.Parallel()
	digest := "app@" + workloadtest.DigestA
	cron := &batchv1.CronJob{ObjectMeta: workloadtest.InShop("sum")}
	cron.Spec.JobTemplate.Spec.Template = workloadtest.PinnedDeployment("", "app:v1").Spec.Template
	job := workloadtest.Controlled(workloadtest.Job("sum-29"), "CronJob", "sum")
	job.Spec.Template = cron.Spec.JobTemplate.Spec.Template
	sum := v1alpha1.User{Kind: "CronJob", Namespace: "shop", Name: "sum", UID: "uid-of-sum"}
	idle := workloadtest.PinnedDeployment("api", "app:v1")
	idle.Spec.Replicas = new(int32)
	onGPU := workloadtest.PinnedDeployment("api", "app:v1")
	onGPU.Spec.Template.Spec.NodeSelector = map[string]string{"gpu": "true"}
	onGPU.Spec.Template.Annotations[v1alpha1.AnnotationPriority] = "7"
	onGPU.Spec.Template.Annotations[v1alpha1.AnnotationRequired] = "true"
	office := workloadtest.PinnedDeployment("api", "app:v1")
	office.Namespace = "office"
	api := deployments("api")
	secret := workload.SecretsIn("shop", []string{"d"})

	for name, test := range map[string]struct {
		objects []client.Object
		image   string
		want    []v1alpha1.User
		demand  workload.Demand
	}{
		"before the first pod":                 {[]client.Object{idle}, digest, api, workload.Demand{Placements: anyNode, PullSecrets: secret, Autoscaled: true}},
		"the tag is nobody's":                  {[]client.Object{idle}, "app:v1", nil, workload.Demand{}},
		"with the pods, which are rewritten":   {[]client.Object{idle, workloadtest.RolledOut("api", digest)}, digest, api, workload.Demand{Placements: anyNode, PullSecrets: secret, Autoscaled: true}},
		"a pod that missed the webhook":        {[]client.Object{idle, workloadtest.RolledOut("api", "app:v1")}, "app:v1", api, workload.Demand{Placements: anyNode, Autoscaled: true}},
		"where it runs and how much it counts": {[]client.Object{onGPU}, digest, api, workload.Demand{Placements: gpuDemand.Placements, PullSecrets: secret, Priority: 7, Need: workload.Required, Autoscaled: true}},
		"a CronJob, its job and the job's pod": {
			[]client.Object{cron, job, workloadtest.Controlled(workloadtest.Pod("sum-29-x", digest), "Job", "sum-29")}, digest, []v1alpha1.User{sum}, workload.Demand{Placements: anyNode, PullSecrets: secret},
		},
		"a namespace that is not rewritten":               {[]client.Object{office}, digest, nil, workload.Demand{}},
		"what is opted out is not learned, pinned or not": {[]client.Object{exempt(workloadtest.PinnedDeployment("api", "app:v1"), v1alpha1.LabelEnabled, "false")}, digest, nil, workload.Demand{}},
		"what is exempt has its tag":                      {[]client.Object{exempt(idle.DeepCopy(), v1alpha1.LabelRewrite, "off")}, "app:v1", api, workload.Demand{Placements: anyNode, PullSecrets: secret, Autoscaled: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCensus(map[string]map[string]string{"shop": workloadtest.Rewritten, "office": nil})
			c.pullSecrets = true
			for _, o := range test.objects {
				c.add(o)
			}
			c.settle()
			hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}
			hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "api"}
			c.addScaler(hpa)
			c.addSecrets("shop", "default", secret)
			if diff := cmp.Diff(test.want, c.usersOf(test.image, nil)); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.demand, c.demandOf(test.image), cmp.AllowUnexported(workload.Demand{})); diff != "" {
				t.Errorf("demand (-want +got):\n%s", diff)
			}
		})
	}
}

// exempt adds a label to the template of a Deployment.
func exempt(d *appsv1.Deployment, key, value string) *appsv1.Deployment {
	d.Spec.Template.Labels = map[string]string{key: value}
	return d
}

func TestStored(t *testing.T) {
	t.Parallel()
	c := censusOf("shop")
	c.add(workloadtest.Labelled(workloadtest.Deployment("quiet"), v1alpha1.LabelEnabled, "false"))
	c.add(workloadtest.RolledOut("api", "app:v1"))
	for name, want := range map[string]bool{"quiet": true, "api": true, "gone": false} {
		if got := c.stored(deployments(name)[0]); got != want {
			t.Errorf("Deployment %s stored = %t, want %t", name, got, want)
		}
	}
}

func TestDemandOf(t *testing.T) {
	t.Parallel()
	gpu := func(d *appsv1.Deployment) *appsv1.Deployment {
		d.Spec.Template.Spec.NodeSelector = map[string]string{"gpu": "true"}
		return d
	}
	scaler := func(kind, namespace, name string) *autoscalingv2.HorizontalPodAutoscaler {
		hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "any"}}
		hpa.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: kind, Name: name}
		return hpa
	}
	secrets := func(names ...string) workload.Demand {
		return workload.Demand{Placements: anyNode, PullSecrets: workload.SecretsIn("shop", names)}
	}
	scaled := workload.Demand{Placements: anyNode, Autoscaled: true}
	onGPU := workload.Demand{Placements: gpuDemand.Placements}
	agent := &appsv1.DaemonSet{ObjectMeta: workloadtest.InShop("agent")}
	agent.Spec.Template.Spec = workloadtest.Spec("agent:v1")
	agent.Spec.Template.Spec.Affinity = workloadtest.RequireZones([]string{"a"})
	ofAgent := workloadtest.Controlled(workloadtest.Pod("agent-x", "agent:v1", "proxy:v1"), "DaemonSet", "agent")
	ofAgent.Spec.Affinity = workloadtest.Requiring(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{workloadtest.OnNode("n1")}})
	inZone := workload.Demand{Placements: []v1alpha1.Placement{workload.RequirementsOf(agent, nil).Placement}}
	db := &appsv1.StatefulSet{ObjectMeta: workloadtest.InShop("db")}
	db.Spec.Template.Spec = workloadtest.Spec("db:v1")
	robot := workloadtest.Deployment("robot", "app:v1")
	robot.Spec.Template.Spec.ServiceAccountName = "robot"
	own := workloadtest.Deployment("own", "app:v1")
	own.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}}
	job := workloadtest.Controlled(workloadtest.Pod("sum-x", "app:v1"), "Job", "sum")
	job.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}}

	for name, test := range map[string]struct {
		objects   []client.Object
		noSecrets bool
		accounts  map[string]string
		image     string
		want      workload.Demand
	}{
		"a Deployment that asks for nothing":               {objects: []client.Object{workloadtest.Deployment("api", "app:v1")}, image: "app:v1", want: freely},
		"an image nobody named":                            {objects: []client.Object{workloadtest.Deployment("api", "app:v1")}, image: "app:v2"},
		"two users, one of them on GPUs":                   {objects: []client.Object{workloadtest.Deployment("a", "x"), gpu(workloadtest.Deployment("b", "x"))}, image: "x", want: freely.Plus(onGPU)},
		"a template, and a pod of the one before":          {objects: []client.Object{gpu(workloadtest.Deployment("api", "app:v1")), workloadtest.RolledOut("api", "app:v1")}, image: "app:v1", want: freely.Plus(onGPU)},
		"a Deployment that is scaled by load":              {objects: []client.Object{workloadtest.Deployment("api", "app:v1"), scaler("Deployment", "shop", "api")}, image: "app:v1", want: scaled},
		"the scaler is read first":                         {objects: []client.Object{scaler("Deployment", "shop", "api"), workloadtest.Deployment("api", "app:v1")}, image: "app:v1", want: scaled},
		"a StatefulSet that is scaled by load":             {objects: []client.Object{db, scaler("StatefulSet", "shop", "db")}, image: "db:v1", want: scaled},
		"a sidecar of one that is":                         {objects: []client.Object{workloadtest.Deployment("api", "app:v1"), workloadtest.RolledOut("api", "proxy:v1"), scaler("Deployment", "shop", "api")}, image: "proxy:v1", want: scaled},
		"another kind is scaled":                           {objects: []client.Object{workloadtest.Deployment("api", "app:v1"), scaler("StatefulSet", "shop", "api")}, image: "app:v1", want: freely},
		"one of another namespace is scaled":               {objects: []client.Object{workloadtest.Deployment("api", "app:v1"), scaler("Deployment", "office", "api")}, image: "app:v1", want: freely},
		"a DaemonSet's pod runs where the DaemonSet's may": {objects: []client.Object{agent, ofAgent}, image: "agent:v1", want: inZone},
		"so does the sidecar that was injected":            {objects: []client.Object{agent, ofAgent}, image: "proxy:v1", want: inZone},
		"a pod of a DaemonSet that is not there":           {objects: []client.Object{ofAgent}, image: "agent:v1", want: freely},
		"the secrets of the default account": {
			objects: []client.Object{workloadtest.Deployment("api", "app:v1")}, accounts: map[string]string{"default": "d"}, image: "app:v1", want: secrets("d"),
		},
		"of two accounts, and of a workload's own": {
			objects:  []client.Object{workloadtest.Deployment("api", "app:v1"), robot, own},
			accounts: map[string]string{"default": "d", "robot": "r"}, image: "app:v1", want: secrets("d", "own", "r"),
		},
		"a workload with its own has none of its account": {
			objects: []client.Object{own}, accounts: map[string]string{"default": "d"}, image: "app:v1", want: secrets("own"),
		},
		"a pod says it itself": {objects: []client.Object{job}, accounts: map[string]string{"default": "d"}, image: "app:v1", want: secrets("own")},
		"no secrets are learned": {
			objects: []client.Object{own, robot, job}, noSecrets: true, accounts: map[string]string{"robot": "r"}, image: "app:v1", want: freely,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop")
			c.pullSecrets = !test.noSecrets
			for _, o := range test.objects {
				if hpa, ok := o.(*autoscalingv2.HorizontalPodAutoscaler); ok {
					c.addScaler(hpa)
					continue
				}
				c.add(o)
			}
			c.settle()
			if test.noSecrets && len(c.accounts) > 0 {
				t.Errorf("service accounts would be read: %v", c.accounts)
			}
			for account, secret := range test.accounts {
				c.addSecrets("shop", account, workload.SecretsIn("shop", []string{secret}))
			}
			if diff := cmp.Diff(test.want, c.demandOf(test.image), cmp.AllowUnexported(workload.Demand{})); diff != "" {
				t.Errorf("demandOf (-want +got):\n%s", diff)
			}
		})
	}
}

// Once a workload has pods, what they run and where they may counts instead of what the template says.
func TestPodsCorrectWhatTemplatesSay(t *testing.T) {
	t.Parallel()
	gateway := func(updated, replicas int32) *appsv1.Deployment {
		d := workloadtest.Deployment("gateway", "auto")
		d.Spec.Template.Spec.Containers[0].Name = "proxy"
		d.Status = appsv1.DeploymentStatus{UpdatedReplicas: updated, Replicas: replicas}
		return d
	}
	pod := func(image string) *corev1.Pod {
		p := workloadtest.RolledOut("gateway", image)
		p.Spec.Containers[0].Name = "proxy"
		p.Spec.NodeSelector = map[string]string{"gpu": "true"}
		return p
	}
	cron := &batchv1.CronJob{ObjectMeta: workloadtest.InShop("sum")}
	cron.Spec.JobTemplate.Spec.Template.Spec = gateway(0, 0).Spec.Template.Spec
	job := workloadtest.Controlled(workloadtest.Job("sum-29"), "CronJob", "sum")
	job.Spec.Template.Spec = cron.Spec.JobTemplate.Spec.Template.Spec
	ofJob := workloadtest.Controlled(workloadtest.Pod("sum-29-x", "proxy:v1"), "Job", "sum-29")
	ofJob.Spec.Containers[0].Name = "proxy"
	agent := &appsv1.DaemonSet{ObjectMeta: workloadtest.InShop("agent")}
	agent.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "1"}
	agent.Spec.Template.Spec = workloadtest.Spec("auto")
	agent.Spec.Template.Spec.Affinity = workloadtest.RequireZones([]string{"a"})
	ofAgent := workloadtest.Labelled(workloadtest.Controlled(workloadtest.Pod("agent-x", "auto"), "DaemonSet", "agent"), "pod-template-generation", "1")
	ofAgent.Spec.Affinity = workloadtest.Requiring(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{workloadtest.OnNode("n1")}})
	ofAgent.Spec.NodeSelector = map[string]string{"gpu": "true"}
	inZoneWithGPU := v1alpha1.Placement{NodeSelector: ofAgent.Spec.NodeSelector, NodeAffinity: workload.PlacementOf(&agent.Spec.Template.Spec, false).NodeAffinity}

	const all = "auto proxy:v1"
	onGPU, anywhere := v1alpha1.Placement{NodeSelector: map[string]string{"gpu": "true"}}, v1alpha1.Placement{}
	for name, test := range map[string]struct {
		objects []client.Object
		before  string // what pods were known to run in the place of auto
		runs    string // what they are known to run then
		users   map[string]int
		where   map[string][]v1alpha1.Placement
	}{
		"a template without pods is believed": {
			objects: []client.Object{gateway(0, 0)}, users: map[string]int{"auto": 1}, where: map[string][]v1alpha1.Placement{"auto": {anywhere}},
		},
		"pods run another image, elsewhere": {
			objects: []client.Object{gateway(1, 1), pod("proxy:v1")}, runs: "proxy:v1", users: map[string]int{"proxy:v1": 1},
			where: map[string][]v1alpha1.Placement{"proxy:v1": {onGPU}},
		},
		"pods run the image, elsewhere": {
			objects: []client.Object{gateway(1, 1), pod("auto")}, users: map[string]int{"auto": 1}, where: map[string][]v1alpha1.Placement{"auto": {onGPU}},
		},
		"a pod of the template before says nothing of the new one": {
			objects: []client.Object{gateway(1, 2), pod("proxy:v1")}, users: map[string]int{"auto": 1, "proxy:v1": 1},
			where: map[string][]v1alpha1.Placement{"auto": {anywhere}, "proxy:v1": {onGPU}},
		},
		"what pods ran is remembered during a rollout": {
			objects: []client.Object{gateway(1, 2), pod("proxy:v1")}, before: "proxy:v0", runs: "proxy:v0", users: map[string]int{"proxy:v1": 1},
			where: map[string][]v1alpha1.Placement{"proxy:v1": {onGPU}},
		},
		"and without pods": {objects: []client.Object{gateway(0, 0)}, before: "proxy:v0", runs: "proxy:v0"},
		"until a pod runs the image": {
			objects: []client.Object{gateway(1, 1), pod("auto")}, before: "proxy:v0", users: map[string]int{"auto": 1},
			where: map[string][]v1alpha1.Placement{"auto": {onGPU}},
		},
		"a job's pods tell of its CronJob": {
			objects: []client.Object{cron, job, ofJob}, runs: "proxy:v1", users: map[string]int{"proxy:v1": 1},
			where: map[string][]v1alpha1.Placement{"proxy:v1": {anywhere}},
		},
		"pods of a DaemonSet do not show its affinity": {
			objects: []client.Object{agent, ofAgent}, users: map[string]int{"auto": 1}, where: map[string][]v1alpha1.Placement{"auto": {inZoneWithGPU}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop")
			for _, o := range test.objects {
				c.add(o)
			}
			c.settle()
			var before []v1alpha1.User
			if test.before != "" {
				before = deployments("gateway")
				before[0].Runs = test.before
			}
			for _, image := range strings.Fields(all) {
				users := c.usersOf(image, before)
				if got := inUse(users); got != test.users[image] {
					t.Errorf("%s has %d users, want %d", image, got, test.users[image])
				}
				if diff := cmp.Diff(test.where[image], c.demandOf(image).Placements); diff != "" && test.users[image] > 0 {
					t.Errorf("where %s may run (-want +got):\n%s", image, diff)
				}
				runs := ""
				for _, u := range users {
					runs += u.Runs
				}
				if image == "auto" && runs != test.runs {
					t.Errorf("pods run %q in the place of auto, want %q", runs, test.runs)
				}
			}
		})
	}
}

// Thousands of workloads with equal constraints hold them in memory once.
func TestACensusSharesEqualPlacements(t *testing.T) {
	t.Parallel()
	c := censusOf("shop")
	const workloads = maxImages
	for i := range workloads {
		d := workloadtest.Deployment(fmt.Sprint("app-", i), fmt.Sprint("app:", i))
		d.Spec.Template.Spec.NodeSelector = map[string]string{"pool": "a"}
		c.add(d)
	}
	c.settle()
	if len(c.placements) != 1 || len(c.demands) != workloads {
		t.Fatalf("%d placements of %d images", len(c.placements), len(c.demands))
	}
	one := &c.demandOf("app:0").Placements[0]
	for i := range workloads {
		if other := c.demandOf(fmt.Sprint("app:", i)).Placements; len(other) != 1 || &other[0] != one {
			t.Fatalf("app:%d has a placement of its own", i)
		}
	}
}

// FuzzCensus reads any JSON as an object of some kinds: whatever the API server may store, it can be counted.
func FuzzCensus(f *testing.F) {
	f.Add([]byte(`{"spec":{"containers":[{"image":"a"},{"image":""}],"volumes":[{"image":{}},{"image":null}]}}`))
	f.Add([]byte(`{"metadata":{"labels":null,"ownerReferences":[{"kind":"ReplicaSet","controller":true}]},"spec":{"template":{"spec":{"initContainers":[{"image":"b"}]}}}}`))
	for _, pin := range []string{"app:v1@" + workloadtest.DigestA, "app@" + workloadtest.DigestA, "@", ""} {
		template := `{"metadata":{"annotations":{"pin.kube-prepull.io/c":"` + pin + `"}},"spec":{"containers":[{"name":"c","image":"app:v1","imagePullPolicy":"Always"}]}}`
		f.Add([]byte(template))
		f.Add([]byte(`{"spec":{"template":` + template + `}}`))
		f.Add([]byte(`{"spec":{"jobTemplate":{"spec":{"template":` + template + `}}}}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, obj := range []client.Object{&corev1.Pod{}, &appsv1.Deployment{}, &batchv1.CronJob{}} {
			_ = json.Unmarshal(raw, obj)
			for _, namespace := range []map[string]string{nil, workloadtest.Rewritten} {
				c := newCensus(map[string]map[string]string{obj.GetNamespace(): namespace})
				c.add(obj)
				c.settle()
				changes, _ := planResync(nil, c, testRetention, prepulltest.Noon)
				for _, change := range changes {
					if change.retire || change.image == "" {
						t.Errorf("%s makes the change %+v", raw, change)
					}
				}
			}
		}
	})
}
