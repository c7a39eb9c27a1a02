package bootstrap

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// aksPreparedImage is a call of the Azure CLI that makes a version of a Prepared Image Specification: AKS builds a node image
// with these container images in it (https://learn.microsoft.com/azure/aks/prepared-image-specification).
const aksPreparedImage = `#!/usr/bin/env bash
# Makes a version of a Prepared Image Specification of AKS, with these images in it. Arguments are added to those of az.
#   RESOURCE_GROUP=shop NAME=web VERSION=v1 bash prepared-image
set -euo pipefail
exec az aks prepared-image-specification create \
  --resource-group "${RESOURCE_GROUP:?}" --name "${NAME:?}" --version "${VERSION:?}" \
  "$@" --container-images \
%s
`

// gkeBootDisk is a call of the tool that makes the image of a secondary boot disk of GKE nodes
// (https://cloud.google.com/kubernetes-engine/docs/how-to/data-container-image-preloading).
const gkeBootDisk = `#!/usr/bin/env bash
# Makes the disk image for the secondary boot disk of a node pool of GKE, with these images in it. Arguments are added to those of
# gke-disk-image-builder, which BUILDER names: the zone, the size of the disk, where logs go.
#   BUILDER=./image-builder PROJECT=shop IMAGE=web-v1 bash boot-disk --zone=europe-west4-a --gcs-path=gs://logs --disk-size-gb=50
set -euo pipefail
exec "${BUILDER:?}" --project-name="${PROJECT:?}" --image-name="${IMAGE:?}" "$@" \
%s
`

// aks names images as pods do, which is how the kubelet will ask for them.
func aks(images []workload.Image, _ *Output) (string, []string, error) {
	return arguments(aksPreparedImage, "  %s", images, func(name string) (string, error) { return name, workload.ValidImage(name) })
}

// gke names images in full, as containerd does, to which its tool speaks.
func gke(images []workload.Image, _ *Output) (string, []string, error) {
	return arguments(gkeBootDisk, "  --container-image=%s", images, workload.CanonicalImage)
}

// arguments puts images into a script, each as an argument on a line of its own.
func arguments(script, argument string, images []workload.Image, nameOf func(string) (string, error)) (string, []string, error) {
	if len(images) == 0 {
		return "", nil, errors.New("there is no image to pull, so there is no script")
	}
	var lines []string
	known := map[string]bool{}
	for _, image := range images {
		name, err := nameOf(image.Name)
		if err != nil {
			return "", nil, fmt.Errorf("image %q: %w", image.Name, err)
		}
		if !known[name] {
			lines = append(lines, fmt.Sprintf(argument, quote(name)))
		}
		known[name] = true
	}
	return fmt.Sprintf(script, strings.Join(lines, " \\\n")), nil, nil
}
