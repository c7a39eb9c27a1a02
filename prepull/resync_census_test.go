package prepull

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// rolledOut is a pod of a Deployment, with an image that the Deployment does not name.
func rolledOut(deployment, image string) *corev1.Pod {
	pod := controlled(shopPod(deployment+"-5d9c-x", image), "ReplicaSet", deployment+"-5d9c")
	return labelled(pod, appsv1.DefaultDeploymentUniqueLabelKey, "5d9c")
}

func TestCensus(t *testing.T) {
	t.Parallel()
	cron := &batchv1.CronJob{ObjectMeta: inShop("sum")}
	cron.Spec.JobTemplate.Spec.Template.Spec = specOf("sum:v1")
	ended := shopJob("once", "once:v1")
	ended.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	endedOfCron := controlled(shopJob("sum-28", "sum:v1"), "CronJob", "sum")
	endedOfCron.Status = ended.Status
	idle := shopDeployment("idle", "idle:v1")
	idle.Spec.Replicas = new(int32)
	deleted := shopDeployment("deleted", "deleted:v1")
	deleted.DeletionTimestamp = &metav1.Time{Time: noon}
	crashed := shopPod("crashed", "crashed:v1")
	crashed.Status.Phase = corev1.PodFailed
	sum := v1alpha1.User{Kind: "CronJob", Namespace: "shop", Name: "sum", UID: "uid-of-sum"}

	for name, test := range map[string]struct {
		objects []client.Object
		image   string
		want    []v1alpha1.User
	}{
		"a Deployment":                     {[]client.Object{shopDeployment("api", "app:v1")}, "app:v1", deployments("api")},
		"a Deployment without replicas":    {[]client.Object{idle}, "idle:v1", deployments("idle")},
		"a Deployment that is deleted":     {[]client.Object{deleted}, "deleted:v1", nil},
		"two, in the order of their names": {[]client.Object{shopDeployment("b", "x"), shopDeployment("a", "x")}, "x", deployments("a", "b")},
		"a Deployment and its pods are one user": {
			[]client.Object{shopDeployment("api", "app:v1"), rolledOut("api", "app:v1"), rolledOut("api", "app:v1")}, "app:v1", deployments("api"),
		},
		"a sidecar that was injected into the pods": {
			[]client.Object{shopDeployment("api", "app:v1"), rolledOut("api", "proxy:v1")}, "proxy:v1", deployments("api"),
		},
		"a pod is known before its Deployment": {
			[]client.Object{rolledOut("api", "proxy:v1"), shopDeployment("api", "app:v1")}, "proxy:v1", deployments("api"),
		},
		"a CronJob between two runs": {[]client.Object{cron}, "sum:v1", []v1alpha1.User{sum}},
		"a CronJob, its job and the job's pod are one user": {
			[]client.Object{cron, controlled(shopJob("sum-29", "sum:v1"), "CronJob", "sum"), controlled(shopPod("sum-29-x", "sum:v1"), "Job", "sum-29")},
			"sum:v1", []v1alpha1.User{sum},
		},
		"a pod that outlives its job's end is the CronJob's": {
			[]client.Object{endedOfCron, controlled(shopPod("sum-28-x", "late:v1"), "Job", "sum-28")}, "late:v1", []v1alpha1.User{sum},
		},
		"a job that has ended":  {[]client.Object{ended}, "once:v1", nil},
		"a pod that has ended":  {[]client.Object{crashed}, "crashed:v1", nil},
		"an image nobody named": {[]client.Object{shopDeployment("api", "app:v1")}, "app:v2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCensus([]string{"shop"})
			for _, o := range test.objects {
				c.add(o)
			}
			if diff := cmp.Diff(test.want, c.usersOf(test.image)); diff != "" {
				t.Errorf("users (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStored(t *testing.T) {
	t.Parallel()
	c := newCensus([]string{"shop"})
	c.add(labelled(shopDeployment("quiet"), v1alpha1.LabelEnabled, "false"))
	c.add(rolledOut("api", "app:v1"))
	for name, want := range map[string]bool{"quiet": true, "api": true, "gone": false} {
		if got := c.stored(deployments(name)[0]); got != want {
			t.Errorf("Deployment %s stored = %t, want %t", name, got, want)
		}
	}
}
