#!/usr/bin/env bash
# Makes the files of a release, with both images pinned by digest: the chart, install.yaml and the notes.
#   package.sh VERSION MANAGER_DIGEST NOOP_DIGEST FOLDER      $HELM is helm
set -euo pipefail
version=$1 manager=$2 noop=$3 dist=$4
root=$(cd "$(dirname "$0")/../.." && pwd)
helm=${HELM:-helm}

fail() {
	echo "package: $*" >&2
	exit 1
}

for digest in "$manager" "$noop"; do
	[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "$digest is not a digest"
done
for line in "version: $version" "appVersion: $version"; do
	grep -qxF "$line" "$root/deploy/chart/Chart.yaml" || fail "deploy/chart/Chart.yaml has no line \"$line\""
done

mkdir -p "$dist"
awk -v heading="## [$version]" 'index($0, "## [") == 1 { on = index($0, heading) == 1; next } on' "$root/CHANGELOG.md" >"$dist/notes.md"
grep -q '[^[:space:]]' "$dist/notes.md" || fail "CHANGELOG.md says nothing of $version"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$root/deploy/chart" "$work/chart"
# The first digest is the manager's, the second noop's.
awk -v manager="$manager" -v noop="$noop" '
	/^ +digest: ""$/ { sub(/""/, "\"" (++n == 1 ? manager : noop) "\"") }
	{ print }
	END { exit n != 2 }
' "$root/deploy/chart/values.yaml" >"$work/chart/values.yaml" || fail "deploy/chart/values.yaml has not two empty digests"

{
	cat "$root/deploy/namespace.yaml"
	"$helm" template kube-prepull "$work/chart" --namespace kube-prepull --no-hooks
} >"$dist/install.yaml"
grep -qF "/kube-prepull:$version@$manager" "$dist/install.yaml" || fail "install.yaml does not pin the manager"
grep -q "/kube-prepull-noop:[^@]*@$noop" "$dist/install.yaml" || fail "install.yaml does not pin noop"
"$helm" package "$work/chart" --destination "$dist" >&2
