{{- /* What helm test runs: the manager's own program asks, as a pod of the cluster, for what others ask for. */ -}}
{{- define "kube-prepull.check.metadata" -}}
name: kube-prepull-check
labels:
  {{- include "kube-prepull.labels" . | nindent 2 }}
{{ include "kube-prepull.check.annotations" . }}
{{- end -}}

{{- define "kube-prepull.check.annotations" -}}
annotations:
  {{- with .Values.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  helm.sh/hook: test
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
  helm.sh/hook-output-log-policy: hook-failed
{{- end -}}

{{- define "kube-prepull.check.selector" -}}
app.kubernetes.io/name: kube-prepull
app.kubernetes.io/component: check
{{- end -}}
