# containerd, in the namespace of the kubelet. It is told the credentials of a registry in a file that root alone can
# read: on a command line everybody could.
answers() { ctr version; }
present() { ctr -n k8s.io images ls -q </dev/null 2>/dev/null | grep -Fx -- "$1" >/dev/null; }
fetch() {
  local left=$1 image=$2 host=${2%%/*} file
  if [ -z "${auth[$host]}" ]; then
    timeout "$left" ctr -n k8s.io images pull "$image"
    return
  fi
  file=$work/hosts/$host/hosts.toml
  mkdir -p "$work/hosts/$host"
  cat >"$output.toml" <<EOF
server = "https://$host"

[host."https://$host"]
  capabilities = ["pull", "resolve"]
  [host."https://$host".header]
    Authorization = "Basic ${auth[$host]}"
EOF
  mv -f "$output.toml" "$file" # at once: other pulls read it
  timeout "$left" ctr -n k8s.io images pull --hosts-dir "$work/hosts" "$image"
}
