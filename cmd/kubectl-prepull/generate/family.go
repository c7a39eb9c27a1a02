package generate

import (
	"fmt"
	"maps"
	"slices"
)

// family knows the objects of an input by name, to find who controls whom: what comes from a live cluster has a Deployment, its
// ReplicaSets and their Pods.
type family map[identity]map[string]any

type identity struct{ kind, namespace, name string }

func familyOf(objects []map[string]any) family {
	f := family{}
	for _, object := range objects {
		kind, _ := object["kind"].(string)
		f[identity{kind, at(object, "metadata", "namespace"), at(object, "metadata", "name")}] = object
	}
	return f
}

// head is the object that the controllers of an object lead to, as far as they are in the input: itself, if none is.
func (f family) head(object map[string]any) map[string]any {
	for range len(f) {
		owner := controllerOf(object)
		next := f[identity{at(owner, "kind"), at(object, "metadata", "namespace"), at(owner, "name")}]
		if owner == nil || next == nil {
			break
		}
		object = next
	}
	return object
}

// controllerOf is the owner reference to the controller of an object, nil if there is none.
func controllerOf(object map[string]any) map[string]any {
	references, _ := mapAt(object, "metadata")["ownerReferences"].([]any)
	for _, r := range references {
		if reference, ok := r.(map[string]any); ok && reference["controller"] == true {
			return reference
		}
	}
	return nil
}

// ControllerOf is kind and name of the controller of an object, empty if it has none.
func ControllerOf(object map[string]any) string {
	owner := controllerOf(object)
	if owner == nil {
		return ""
	}
	return printable(at(owner, "kind") + " " + at(owner, "name"))
}

// at is a string at a path, empty if there is none.
func at(object map[string]any, path ...string) string {
	last := len(path) - 1
	text, _ := mapAt(object, path[:last]...)[path[last]].(string)
	return text
}

// leftover says why an object of a live cluster will start no container any more, or nothing if it may.
func leftover(object map[string]any) string {
	switch {
	case at(object, "metadata", "deletionTimestamp") != "":
		return "it is being deleted"
	case at(object, "status", "phase") == "Succeeded" || at(object, "status", "phase") == "Failed":
		if object["kind"] == "Pod" {
			return "it has finished"
		}
	case object["kind"] == "Job" && hasEnded(object):
		return "it has finished"
	}
	replicas, found := mapAt(object, "spec")["replicas"]
	if found && fmt.Sprint(replicas) == "0" && controllerOf(object) != nil {
		return "it has no pods any more"
	}
	return ""
}

// hasEnded tells whether the conditions of a Job say so.
func hasEnded(job map[string]any) bool {
	conditions, _ := mapAt(job, "status")["conditions"].([]any)
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
	})
}

// ofScheduler tells whether an object is a pod of a live cluster: its node is the scheduler's choice.
func ofScheduler(object map[string]any) bool {
	return object["kind"] == "Pod" && (at(object, "metadata", "uid") != "" || len(mapAt(object, "status")) > 0)
}

// ofDaemonSet tells whether a pod is one of a DaemonSet, which binds each of its pods to one node.
func ofDaemonSet(pod map[string]any) bool {
	if at(controllerOf(pod), "kind") == "DaemonSet" {
		return true
	}
	required := mapAt(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
	terms, _ := required["nodeSelectorTerms"].([]any)
	return slices.ContainsFunc(terms, func(t any) bool {
		term, _ := t.(map[string]any)
		fields, _ := term["matchFields"].([]any)
		return slices.ContainsFunc(fields, func(f any) bool {
			field, _ := f.(map[string]any)
			return field["key"] == "metadata.name"
		})
	})
}

// counted are notes about objects that are left out for the same reason, one for each reason.
func counted(why map[string][]string) []string {
	var notes []string
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		names := why[reason]
		if more := len(names) - 1; more > 0 {
			notes = append(notes, fmt.Sprintf("%s and %d more are left out: %s", names[0], more, reason))
		} else {
			notes = append(notes, fmt.Sprintf("%s is left out: %s", names[0], reason))
		}
	}
	return notes
}
