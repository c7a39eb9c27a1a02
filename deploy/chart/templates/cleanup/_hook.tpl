{{- /*
What the manager made is in no release: a Job deletes it, before Helm deletes the release. It stops the managers first, so that
nothing is made again. If it fails the release is still there, and a second uninstallation does the rest. It and its permissions
live as long as it runs.
*/ -}}
{{- define "kube-prepull.cleanup.metadata" -}}
name: kube-prepull-cleanup
labels:
  {{- include "kube-prepull.labels" . | nindent 2 }}
annotations:
  {{- with .Values.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  helm.sh/hook: pre-delete
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
  helm.sh/hook-output-log-policy: hook-failed
{{- end -}}

{{- /* Where a manager is, there is its image: no pull has to be waited for, least of all behind those of a node that is held. What
keeps managers apart would keep it away from them. */ -}}
{{- define "kube-prepull.cleanup.affinity" -}}
{{- $affinity := omit (deepCopy (.Values.affinity | default dict)) "podAntiAffinity" -}}
{{- $pods := $affinity.podAffinity | default dict -}}
{{- $beside := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "kube-prepull.selector" . | fromYaml)) -}}
{{- $preferred := append ($pods.preferredDuringSchedulingIgnoredDuringExecution | default list) (dict "weight" 100 "podAffinityTerm" $beside) -}}
{{- $_ := set $affinity "podAffinity" (set $pods "preferredDuringSchedulingIgnoredDuringExecution" $preferred) -}}
{{- toYaml $affinity -}}
{{- end -}}
