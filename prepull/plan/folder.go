package plan

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// folderOf is where noop is in prepull pods: where stored DaemonSets have it, the first by name if they differ, so that a restart,
// another leader and an upgrade keep it. It is made where none has one that images cannot know.
func folderOf(stored []*appsv1.DaemonSet, made string) string {
	folder, of := made, ""
	for _, ds := range stored {
		if found := installFolder(ds); workload.IsNoopFolder(found) && (of == "" || ds.Name < of) {
			folder, of = found, ds.Name
		}
	}
	return folder
}

// installFolder is where a DaemonSet installs noop, empty if it does not.
func installFolder(ds *appsv1.DaemonSet) string {
	first := ds.Spec.Template.Spec.InitContainers
	if len(first) == 0 || len(first[0].Args) != 2 {
		return ""
	}
	return first[0].Args[1]
}
