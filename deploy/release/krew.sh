#!/usr/bin/env bash
# Packs each binary of the plugin with the license, and writes the manifest that krew installs it with.
#   krew.sh VERSION FOLDER      the folder has kubectl-prepull-OS-ARCH, and is where everything goes
set -euo pipefail
version=$1 dist=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
home=https://github.com/kube-prepull/kube-prepull
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

manifest=$dist/prepull.yaml
cat >"$manifest" <<EOF
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: prepull
spec:
  version: v$version
  homepage: $home
  shortDescription: Show, explain and export images that are pulled ahead
  description: |
    Shows what kube-prepull has on the nodes, explains why an image is missing
    there and what that costs, and prints the images of a cluster or of
    manifests as what pulls them beforehand: DaemonSets, user data of nodes,
    node images.
  platforms:
EOF

for binary in "$dist"/kubectl-prepull-*; do
	case $binary in *.tar.gz) continue ;; esac
	name=$(basename "$binary" .exe)
	program=kubectl-prepull
	if [[ $binary == *.exe ]]; then
		program+=.exe
	fi
	IFS=- read -r _ _ os arch <<<"$name"
	install -m 755 "$binary" "$work/$program"
	install -m 644 "$root/LICENSE" "$work/LICENSE"
	# Equal files are equal archives: no time, no owner.
	tar -C "$work" --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - "$program" LICENSE | gzip -n >"$dist/$name.tar.gz"
	rm "$work/$program"
	sum=$(sha256sum "$dist/$name.tar.gz")
	cat >>"$manifest" <<EOF
    - selector:
        matchLabels:
          os: $os
          arch: $arch
      uri: $home/releases/download/v$version/$name.tar.gz
      sha256: ${sum%% *}
      bin: $program
EOF
done
