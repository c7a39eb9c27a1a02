{{- /*
What the manager made is in no release: a Job deletes it. It runs after the rest of the release is gone, when the manager
no longer has a permission, or even a pod, to make it again. It and its permissions live as long as it runs.
*/ -}}
{{- define "kube-prepull.cleanup.metadata" -}}
name: kube-prepull-cleanup
labels:
  {{- include "kube-prepull.labels" . | nindent 2 }}
annotations:
  {{- with .Values.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  helm.sh/hook: post-delete
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
