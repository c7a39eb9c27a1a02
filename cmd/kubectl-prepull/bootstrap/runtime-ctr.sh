# containerd, in the namespace of the kubelet, with the registry settings of the node: those of PREPULL_HOSTS_DIR, if they
# are not where they usually are. It is told the credentials of a registry in a file that root alone can read: on a
# command line everybody could.
answers() { within 10 ctr version; }
present() { within 60 ctr -n k8s.io images ls -q </dev/null 2>/dev/null | grep -Fx -- "$1" >/dev/null; }
fetch() {
  local image=$1 host=${1%%/*} hosts=${PREPULL_HOSTS_DIR:-/etc/containerd/certs.d}
  if [ -n "${auth[$host]}" ]; then
    hosts=$work/hosts
    mkdir -p "$hosts/$host"
    cat >"$output.toml" <<EOF
server = "https://$host"

[host."https://$host"]
  capabilities = ["pull", "resolve"]
  [host."https://$host".header]
    Authorization = "Basic ${auth[$host]}"
EOF
    mv -f "$output.toml" "$hosts/$host/hosts.toml" # at once: other pulls read it
  fi
  if [ -d "$hosts" ]; then
    within "$limit" ctr -n k8s.io images pull --hosts-dir "$hosts" "$image"
  else
    within "$limit" ctr -n k8s.io images pull "$image"
  fi
}
