package learn

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admission/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestTwoThousandImagesAndPlacesForFive creates 2,000 CronJobs, each of an image of its own, on nodes that take five.
// All are known, five are pulled, the others say why not; somebody else's Deployment does not notice.
func TestTwoThousandImagesAndPlacesForFive(t *testing.T) {
	t.Parallel()
	const many, places = 2000, 5
	p := product{lab.Own(t, "node-1")}
	p.Configure(t, "--set", fmt.Sprint("config.maxImagesPerNode=", places))
	p.Namespace(t, "flood", true)
	p.Namespace(t, "bystander", true)
	flood := p.Push(t, "flood/app:v", images.Image{Seed: 151})
	retagMany(t, p, "flood/app:v", many)
	bystander := p.Push(t, "bystander/app:v1", images.Image{Seed: 152})

	t.Log("the images are pushed")
	start := time.Now()
	created := p.deployMany(t, "flood", flood, many)
	lab.Eventually(t, "half of the CronJobs to be created", func() error {
		if n := created(); n < many/2 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	during := lab.StartStopwatch()
	p.Deploy(t, "bystander", lab.Deployment("app", bystander, 1))
	during.Within(t, 5*time.Second, "the bystander's Deployment")
	forge(t, p, lab.DeploymentReview(t, admissionv1.Create, "flood", lab.Deployment("nobody", flood, 0)))
	p.WaitRunning(t, "bystander")
	t.Logf("the bystander's pod runs after %s", during.Elapsed())

	lab.Eventually(t, "five images to be Ready and the others to be over budget", func() error {
		if n := created(); n < many {
			return fmt.Errorf("%d CronJobs are created", n)
		}
		return p.checkBudget(many+1, places)
	})
	t.Logf("all is settled %s after the first CronJob", time.Since(start).Round(100*time.Millisecond))
	p.checkPlaces(t, places)
	for _, manager := range p.Managers(t) {
		if restarts := manager.Status.ContainerStatuses[0].RestartCount; restarts > 0 {
			t.Errorf("manager %s was restarted %d times", manager.Name, restarts)
		}
	}
}

// retagMany gives an image the tags that continue its own with the numbers from 0.
func retagMany(t *testing.T, p product, image string, count int) {
	t.Helper()
	from, err := name.NewTag(p.Registry.Addr()+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	pusher, err := remote.NewPusher(remote.WithTransport(p.Registry.Transport()))
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := remote.Get(from, remote.WithTransport(p.Registry.Transport()))
	if err != nil {
		t.Fatal(err)
	}
	var pushing errgroup.Group
	pushing.SetLimit(8)
	for i := range count {
		pushing.Go(func() error { return pusher.Push(t.Context(), from.Tag(fmt.Sprint(from.TagStr(), i)), descriptor) })
	}
	if err := pushing.Wait(); err != nil {
		t.Fatal(err)
	}
}

// deployMany creates suspended CronJobs, each with a tag of its own, in the background. It returns a function
// that says how many there are.
func (p product) deployMany(t *testing.T, namespace, image string, count int) func() int {
	t.Helper()
	var created atomic.Int64
	var creating errgroup.Group
	creating.SetLimit(16)
	done := make(chan error, 1)
	go func() {
		for i := range count {
			creating.Go(func() error {
				_, err := p.Client().BatchV1().CronJobs(namespace).Create(t.Context(), suspended(fmt.Sprint("app-", i), fmt.Sprint(image, i)), metav1.CreateOptions{})
				if err == nil {
					created.Add(1)
				}
				return err
			})
		}
		done <- creating.Wait()
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("creating the CronJobs: %v", err)
		}
	})
	return func() int { return int(created.Load()) }
}

// suspended is a CronJob: nobody but its owner ever writes it, so that thousands are cheap.
func suspended(name, image string) *batchv1.CronJob {
	never := true
	template := lab.Deployment(name, image, 0).Spec.Template
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.CronJobSpec{
			Schedule: "0 0 1 1 *", Suspend: &never,
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
		},
	}
}

// checkBudget returns an error unless so many images are known, those with a place are Ready and all others say that they
// have none, in the state and in words.
func (p product) checkBudget(known, places int) error {
	list, err := p.Images.List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready, over := 0, 0
	for i := range list.Items {
		object := &list.Items[i]
		status, reason, message := lab.Condition(object, "Selected")
		switch lab.Field(object, "status", "state") {
		case "Ready":
			ready++
		case "Skipped: OverBudget":
			if status != "False" || reason != "OverBudget" || !strings.Contains(message, fmt.Sprintf("%d images at most", places)) {
				return fmt.Errorf("%s is over budget, and Selected is %s, %s, %q", object.GetName(), status, reason, message)
			}
			over++
		}
	}
	if len(list.Items) != known || ready != places || over != known-places {
		return fmt.Errorf("%d are known, %d Ready, %d over budget", len(list.Items), ready, over)
	}
	return nil
}

// checkPlaces checks that the only DaemonSet has so many images, and had few lists until then.
func (p product) checkPlaces(t *testing.T, places int) {
	t.Helper()
	all := p.DaemonSets(t)
	if len(all) != 1 {
		t.Fatalf("there are %d DaemonSets, want one", len(all))
	}
	if images := len(lab.ImagesOf(&all[0].Spec.Template.Spec)); images != places {
		t.Errorf("the DaemonSet has %d images, want %d", images, places)
	}
	t.Logf("the DaemonSet's generation is %d", all[0].Generation)
	if all[0].Generation > 15 {
		t.Errorf("the DaemonSet was written %d times, want 15 at most", all[0].Generation)
	}
}
