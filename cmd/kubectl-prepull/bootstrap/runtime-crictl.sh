# Whatever runtime crictl is set up for. It takes credentials from its environment: on a command line everybody could
# read them.
answers() { within 10 crictl version; }
present() { within 60 crictl inspecti -q "$1" </dev/null >/dev/null 2>&1; }
fetch() {
  local image=$1 host=${1%%/*}
  if [ -z "${auth[$host]}" ]; then
    within "$limit" crictl pull "$image"
    return
  fi
  CRICTL_AUTH=${auth[$host]} within "$limit" crictl pull "$image"
}
