package webhook

import (
	"fmt"
	"strings"
)

// slippedNote says what to do about pods with a tag that their template pins.
func slippedNote(g *findingGroup) string {
	_, digest, _ := strings.Cut(g.digest, "@")
	who, runs, its, was, remedy := "pod "+g.pod.Name, "runs", "its", "it was", "delete the pod to have it replaced"
	if g.others > 0 {
		who, runs, its, was = fmt.Sprintf("%s and %d more", who, g.others), "run", "their", "they were"
		remedy = "delete the pods to have them replaced"
	}
	if g.controller.Kind == "Job" {
		remedy = "run the job again if that matters" // a pod that is deleted counts as failed
	}
	return fmt.Sprintf("%s %s %s instead of the digest %s that %s revision is pinned to: %s created while kube-prepull did not answer; %s",
		who, runs, g.image, digest, its, was, remedy)
}

// goneNote says how a workload of some kind gets another digest for one that is gone.
func goneNote(f *finding, workload string) string {
	var remedy string
	switch workload {
	case "Deployment", "DaemonSet":
		remedy = "restart the rollout"
	case "StatefulSet":
		remedy = "restart the rollout and delete the pod " + f.pod.Name // which the rollout may wait for
	case "CronJob":
		remedy = "change the CronJob's pod template, an annotation is enough,"
	default:
		remedy = "create the " + strings.ToLower(workload) + " again"
	}
	return fmt.Sprintf("%s is gone from the registry: %s to pin what %s points to now", f.digest, remedy, f.image)
}
