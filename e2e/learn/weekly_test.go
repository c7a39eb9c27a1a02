package learn

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestTheHoursOfTheWeekAreLearned has three pods start with an image, lets a week go by in its status, and has one more pod
// start: the hour of the three is then known, and explain tells of it.
func TestTheHoursOfTheWeekAreLearned(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "weekly", true)
	image := p.Push(t, "weekly/build:v1", images.Image{Seed: 161})
	start := func(names ...string) {
		t.Helper()
		for _, name := range names {
			pod := lab.PodOn("node-1", name, image)
			pod.Namespace = "weekly"
			lab.StartPod(t, p.Cluster, pod)
		}
	}
	start("one", "two", "three")
	name := ""
	lab.Eventually(t, "three starts to be counted", func() error {
		o := p.PrepullImage(t, image)
		if o == nil {
			return errors.New("the image is not known")
		}
		name = o.GetName()
		// The hour may end meanwhile, and then they are in the week.
		if got := lab.Field(o, "status", "starts", "hourCount"); got != "3" && lab.Field(o, "status", "starts", "week") == "" {
			return fmt.Errorf("the hour has %q of them", got)
		}
		return nil
	})
	// In two hours it is a week ago.
	then := time.Now().Add(2*time.Hour - 7*24*time.Hour).UTC()
	patch := fmt.Sprintf(`{"status":{"starts":{"hourCount":3,"week":null,"time":%q}}}`, then.Format(time.RFC3339))
	if _, err := p.Images.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	start("four")
	lab.Eventually(t, "the week to be written", func() error {
		o := p.PrepullImage(t, image)
		if o == nil {
			return errors.New("the image is gone")
		}
		week := lab.Field(o, "status", "starts", "week")
		if len(week) != 7*24 || strings.Count(week, "0") != 7*24-1 || lab.Field(o, "status", "starts", "hourCount") != "1" {
			return fmt.Errorf("the starts are %s", lab.Field(o, "status", "starts"))
		}
		return nil
	})

	k := lab.PluginFor(t, p.Cluster)
	var answer struct {
		Starts struct {
			Expected     float64
			BusiestHours []time.Time
		}
		Rank *struct {
			Place, Of int
			Why       []string
		}
	}
	lab.Eventually(t, "explain to tell the rank", func() error {
		k.Asks(t, &answer, "explain", image)
		if answer.Rank == nil || answer.Rank.Place < 1 || answer.Rank.Place > answer.Rank.Of || answer.Rank.Why[0] != "in use" {
			return fmt.Errorf("it is %+v", answer.Rank)
		}
		return nil
	})
	if hours := answer.Starts.BusiestHours; answer.Starts.Expected < 1 || len(hours) != 1 || hours[0].Weekday() != then.Weekday() || hours[0].Hour() != then.Hour() {
		t.Errorf("explain tells %+v, want the hour of %v", answer.Starts, then)
	}
	stdout, _, _ := k.Run(t, "explain", image)
	for _, words := range []string{"usual in the 4 hours from now on", "busiest hours of the week (UTC): " + then.Format("Mon 15:00") + "\n", "RANK  ", "since more are usual in the next hours"} {
		if !strings.Contains(stdout, words) {
			t.Errorf("explain does not say %q:\n%s", words, stdout)
		}
	}
}
