package inventory

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestWhatAnImageIsKeptFor(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	r, err := retentionOf([]byte("retention: 2h\nsomethingNew: true\n"))
	if err != nil || r.Gone.Duration != 2*time.Hour || r.Rollback.Duration != 24*time.Hour {
		t.Fatalf("the retention is %v, %v", r, err)
	}
	if r, err := retentionOf(nil); err != nil || r.Gone.Duration != 24*time.Hour {
		t.Errorf("without a configuration it is %v, %v", r, err)
	}
	if _, err := retentionOf([]byte("retention: soon")); err == nil {
		t.Error("no duration is read")
	}
	used := func(count int32, users ...string) v1alpha1.PrepullImage {
		o := v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}}}
		o.Status.UserCount, o.Status.LastSeenTime = count, &metav1.Time{Time: noon}
		for _, name := range users {
			o.Status.Users = append(o.Status.Users, v1alpha1.User{Kind: "Deployment", Namespace: "shop", Name: name})
		}
		return o
	}
	others := []v1alpha1.PrepullImage{used(1, "api"), used(1, "api"), used(0, "gone")}
	for i, image := range []string{"r.test/sidecar:v1", "r.test/app:v2", "r.test/gone:v1"} {
		others[i].Spec.Image, others[i].Status.FirstSeenTime = image, &metav1.Time{Time: noon.Add(time.Duration(i) * time.Second)}
	}
	app, sidecar := used(0, "api"), used(0, "api")
	app.Spec.Image, sidecar.Spec.Image = "mirror.test/app:v1", "r.test/sidecar:v0"
	opted := map[string]bool{"shop": true}
	remembered, declared := used(0, "gone"), used(0, "api")
	remembered.Status.Remembered, declared.Labels = true, nil
	passing, handed := v1alpha1.PrepullImage{}, used(0, "gone")
	passing.CreationTimestamp = metav1.NewTime(noon)
	handed.Labels, handed.Status.FirstSeenTime = nil, &metav1.Time{Time: noon}
	passing.Spec.TTL, handed.Spec.TTL = &metav1.Duration{Duration: time.Hour}, &metav1.Duration{Duration: 5 * time.Hour}
	unused, both := v1alpha1.PrepullImage{ObjectMeta: used(0).ObjectMeta}, used(0, "api")
	unused.CreationTimestamp = metav1.NewTime(noon.Add(-time.Hour))
	both.Status.Users = append(both.Status.Users, v1alpha1.User{Kind: "Deployment", Namespace: "left", Name: "api"})
	for name, test := range map[string]struct {
		image   v1alpha1.PrepullImage
		optedIn map[string]bool
		want    *Kept
	}{
		"in use":                              {used(1, "api"), opted, nil},
		"declared":                            {declared, opted, nil},
		"declared, used by who opted out":     {declared, map[string]bool{}, nil},
		"its workload uses another":           {used(0, "api"), opted, &Kept{For: KeptForRollback, Until: noon.Add(24 * time.Hour)}},
		"its workload uses another version":   {app, opted, &Kept{For: KeptForRollback, Until: noon.Add(24 * time.Hour), By: "r.test/app:v2"}},
		"and another one of its other images": {sidecar, opted, &Kept{For: KeptForRollback, Until: noon.Add(24 * time.Hour), By: "r.test/sidecar:v1"}},
		"its workload is gone":                {used(0, "gone"), opted, &Kept{For: KeptForRetention, Until: noon.Add(2 * time.Hour)}},
		"its namespace opted out":             {used(0, "gone"), map[string]bool{"other": true}, &Kept{For: KeptForOptOut, Until: noon.Add(time.Minute)}},
		"all namespaces opted out":            {used(0, "api"), map[string]bool{}, &Kept{For: KeptForOptOut, Until: noon.Add(time.Minute)}},
		"one of its namespaces opted out":     {both, opted, &Kept{For: KeptForRollback, Until: noon.Add(24 * time.Hour)}},
		"namespaces may not be read":          {used(0, "gone"), nil, &Kept{For: KeptForRetention, Until: noon.Add(2 * time.Hour)}},
		"remembered":                          {remembered, opted, &Kept{For: KeptForUsualTime, Until: noon.Add(8 * 24 * time.Hour)}},
		"remembered, and opted out":           {remembered, map[string]bool{}, &Kept{For: KeptForOptOut, Until: noon.Add(time.Minute)}},
		"declared with an end":                {passing, opted, &Kept{For: KeptForTTL, Until: noon.Add(time.Hour)}},
		"used, with a later end":              {handed, opted, &Kept{For: KeptForRetention, Until: noon.Add(5 * time.Hour)}},
		"used, with a later end, opted out":   {handed, map[string]bool{}, &Kept{For: KeptForOptOut, Until: noon.Add(5 * time.Hour)}},
		"its maker died before the first use": {unused, map[string]bool{}, &Kept{For: KeptForRetention, Until: noon.Add(time.Hour)}},
	} {
		got := r.KeptOf(&test.image, others, test.optedIn)
		if (got == nil) != (test.want == nil) || got != nil && *got != *test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
