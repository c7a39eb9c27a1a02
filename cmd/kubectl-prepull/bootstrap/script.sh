#!/usr/bin/env bash
# Pulls container images before the kubelet needs them. Made by kubectl prepull: do not change it, make it anew.
#
# It goes on after an image that cannot be pulled, ends in time, and can run again: what is there is not pulled again.
# PREPULL_PARALLEL, PREPULL_TRIES and PREPULL_TIMEOUT (seconds, for everything) replace the numbers below.
# Exit codes: 0 all images are there, 1 some are not, 2 it cannot begin: the container runtime does not answer.
set -uo pipefail
export PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

parallel=${PREPULL_PARALLEL:-@PARALLEL@}
tries=${PREPULL_TRIES:-3}
limit=${PREPULL_TIMEOUT:-@TIMEOUT@}

images=(
@IMAGES@
)

log() { printf 'prepull: %s\n' "$*" >&2; }

for number in "$parallel" "$tries" "$limit"; do
  case $number in
  0* | *[!0-9]*)
    log "PREPULL_PARALLEL, PREPULL_TRIES and PREPULL_TIMEOUT are numbers from 1, not $number"
    exit 2
    ;;
  esac
done

# within runs a command for so many seconds at most, and no longer than there is time for everything.
within() {
  local most=$1 left=$((limit - SECONDS))
  shift
  [ "$left" -lt "$most" ] && most=$left
  [ "$most" -gt 0 ] || return
  timeout -k 5 "$most" "$@"
}

@RUNTIME@
# credentials prints user:password for the registries of cloud platforms, by the platform's own helper.
credentials() {
  local host=$1 region token
  case $host in
  *.dkr.ecr.*.amazonaws.com | *.dkr.ecr.*.amazonaws.com.cn | *.dkr.ecr-fips.*.amazonaws.com | *.dkr-ecr.*.on.aws)
    region=${host#*.dkr?ecr*.}
    token=$(within 60 aws ecr get-login-password --region "${region%%.*}") && printf 'AWS:%s' "$token"
    ;;
  gcr.io | *.gcr.io | *-docker.pkg.dev)
    if command -v gcloud >/dev/null; then
      token=$(within 60 gcloud auth print-access-token)
    else
      token=$(curl -sSf --max-time 10 -H 'Metadata-Flavor: Google' \
        http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token |
        sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p')
    fi
    [ -n "$token" ] && printf 'oauth2accesstoken:%s' "$token"
    ;;
  *.azurecr.io)
    token=$(within 60 az acr login --name "${host%%.*}" --expose-token --output tsv --query accessToken) &&
      printf '00000000-0000-0000-0000-000000000000:%s' "$token"
    ;;
  *) ;;
  esac
}

# login gets the credentials of each registry once. Without any, its images are pulled as anybody may pull them.
declare -A auth
login() {
  local image host
  for image in "${images[@]}"; do
    host=${image%%/*}
    [ -z "${auth[$host]+known}" ] || continue
    if ! auth[$host]=$(credentials "$host" </dev/null 2>"$work/login" | base64 | tr -d '\n'); then
      auth[$host]=
      log "no credentials for $host: $(tail -n 1 "$work/login")"
    fi
  done
}

pull() {
  local image=$1 try output=$work/output.$BASHPID
  if present "$image"; then
    log "$image is there"
    echo >>"$work/there"
    return
  fi
  for ((try = 1; try <= tries; try++)); do
    [ "$SECONDS" -lt "$limit" ] || break
    if fetch "$image" </dev/null >"$output" 2>&1; then
      log "$image is pulled"
      echo >>"$work/there"
      return
    fi
    [ "$try" -eq "$tries" ] || sleep "$try"
  done
  log "$image is not pulled: $(tail -n 1 "$output" 2>/dev/null || echo 'no time was left')"
}

umask 077
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
: >"$work/there"

# On some systems the container runtime is started after this script.
for ((second = 0; ; second++)); do
  answers >/dev/null 2>&1 </dev/null && break
  if [ "$second" -ge 60 ] || [ "$SECONDS" -ge "$limit" ]; then
    log "the container runtime does not answer"
    exit 2
  fi
  [ "$second" -ne 0 ] || systemctl --no-block start containerd >/dev/null 2>&1 </dev/null || true
  sleep 1
done

login
for image in "${images[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$parallel" ]; do
    wait -n
  done
  pull "$image" &
done
wait

there=$(wc -l <"$work/there") || there=0 # a full disk loses lines, which must not pass for images
log "$there of ${#images[@]} images are there after $SECONDS s"
[ "$there" -eq "${#images[@]}" ]
