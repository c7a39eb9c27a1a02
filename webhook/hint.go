package webhook

// observed says whether a review is of a kind and operation that hints are made from: every CREATE, and of workloads
// also every UPDATE, because their images change with each rollout while a pod's are as good as fixed.
func observed(r *review) bool {
	if r.subresource != "" {
		return false
	}
	switch r.operation {
	case "CREATE":
		return isWorkload(r) || r.group == "" && r.hint.Kind == "Pod"
	case "UPDATE":
		return isWorkload(r)
	}
	return false
}

// rewritten says whether a review is one whose images may be pinned: those that are observed, and updates of pods.
func rewritten(r *review) bool {
	return observed(r) || r.subresource == "" && r.operation == "UPDATE" && r.group == "" && r.hint.Kind == "Pod"
}

func isWorkload(r *review) bool {
	switch r.hint.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return r.group == "apps"
	case "Job", "CronJob":
		return r.group == "batch"
	}
	return false
}
