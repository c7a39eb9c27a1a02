{{- define "kube-prepull.labels" -}}
{{ include "kube-prepull.ownLabels" . }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What every object of the release has beside its name. */ -}}
{{- define "kube-prepull.metadata" -}}
{{- include "kube-prepull.labelled" (dict "root" .) -}}
{{- end -}}

{{- /* The same, with more labels. */ -}}
{{- define "kube-prepull.labelled" -}}
labels:
  {{- include "kube-prepull.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kube-prepull.ownLabels" -}}
app.kubernetes.io/name: kube-prepull
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "kube-prepull.selector" -}}
app.kubernetes.io/name: kube-prepull
app.kubernetes.io/component: webhook
{{- end -}}

{{- /* An image reference from a repository, a tag and a digest. */ -}}
{{- define "kube-prepull.reference" -}}
{{- .repository -}}
{{- with .tag }}:{{ . }}{{ end -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "kube-prepull.image" -}}
{{- include "kube-prepull.reference" (dict "repository" .Values.image.repository "tag" (.Values.image.tag | default .Chart.AppVersion) "digest" .Values.image.digest) -}}
{{- end -}}

{{- /* The configuration file. */ -}}
{{- define "kube-prepull.configuration" -}}
apiVersion: kube-prepull.io/v1alpha1
kind: Configuration
noopImage: {{ include "kube-prepull.reference" .Values.noop.image | quote }}
{{- with .Values.noop.imagePullSecrets }}
noopPullSecrets: {{ toJson . }}
{{- end }}
priorityClassName: {{ .Values.priorityClass.name | quote }}
{{- if .Values.certificate.secretName }}
certificateDirectory: /etc/kube-prepull-certificate
{{- end }}
{{- if eq (include "kube-prepull.pullSecretRoles" .) "namespaces" }}
pullSecretRoles: namespaces
{{- end }}
{{- with .Values.config }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Not empty if the pull secrets of workloads are used. */ -}}
{{- define "kube-prepull.pullSecrets" -}}
{{- if ne (toString (.Values.config | default dict).pullSecrets) "false" }}true{{ end -}}
{{- end -}}

{{- /* Where the pull secrets of workloads may be read: cluster or namespaces, empty if they are not used. */ -}}
{{- define "kube-prepull.pullSecretRoles" -}}
{{- if include "kube-prepull.pullSecrets" . }}{{ .Values.rbac.pullSecrets }}{{ end -}}
{{- end -}}

{{- /* Not empty if pods with a digest get another pull policy than Always. */ -}}
{{- define "kube-prepull.rewritePullPolicy" -}}
{{- if ne (toString (.Values.config | default dict).rewritePullPolicy) "false" }}true{{ end -}}
{{- end -}}

{{- /* Not empty if nodes are given a condition. */ -}}
{{- define "kube-prepull.nodeCondition" -}}
{{- if eq (toString (.Values.config | default dict).nodeCondition) "true" }}true{{ end -}}
{{- end -}}

{{- /* The key of the taint that is taken from warm nodes, empty without a gate. */ -}}
{{- define "kube-prepull.gate" -}}
{{- $gate := (.Values.config | default dict).gate | default dict -}}
{{- if eq (toString $gate.enabled) "true" }}{{ $gate.taintKey | default "kube-prepull.io/warming" }}{{ end -}}
{{- end -}}

{{- /* Where nobody else runs yet, because all nodes are held, the manager must run all the same: it untaints them. */ -}}
{{- define "kube-prepull.tolerations" -}}
{{- $tolerations := .Values.tolerations | default list -}}
{{- with include "kube-prepull.gate" . }}{{ $tolerations = append $tolerations (dict "key" . "operator" "Exists") }}{{ end -}}
{{- with $tolerations }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* Where the serving certificate comes from. */ -}}
{{- define "kube-prepull.certificates" -}}
{{- (.Values.config | default dict).certificates | default "auto" -}}
{{- end -}}

{{- /* Empty if there are no metrics, or else how they are served: http to all, https to those who may get them. */ -}}
{{- define "kube-prepull.metrics" -}}
{{- $config := .Values.config | default dict -}}
{{- if ne (toString $config.metricsAddress) "0" -}}
{{- ternary "http" "https" (eq (toString $config.metricsAuthentication) "false") -}}
{{- end -}}
{{- end -}}

{{- /* How Prometheus scrapes, from the values of a ServiceMonitor or a PodMonitor. The certificate is for the webhook's
Service, whoever serves it. */ -}}
{{- define "kube-prepull.scrape" -}}
{{- $scheme := include "kube-prepull.metrics" .root -}}
port: metrics
path: /metrics
scheme: {{ $scheme }}
{{- with .monitor.interval }}
interval: {{ . }}
{{- end }}
{{- if eq $scheme "https" }}
{{- with .monitor.authorization }}
authorization:
  {{- toYaml . | nindent 2 }}
{{- end }}
tlsConfig:
  {{- if .monitor.tlsConfig }}
  {{- toYaml .monitor.tlsConfig | nindent 2 }}
  {{- else }}
  ca:
    configMap:
      name: kube-prepull-trust
      key: ca.crt
  serverName: kube-prepull.{{ .root.Release.Namespace }}.svc
  {{- end }}
{{- end }}
{{- end -}}

{{- define "kube-prepull.podSecurityContext" -}}
runAsNonRoot: true
{{- /* OpenShift gives each namespace users of its own, and refuses others. */}}
{{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "kube-prepull.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* A pod beside the managers, which runs once and may go where they go. */ -}}
{{- define "kube-prepull.hookPod" -}}
restartPolicy: Never
automountServiceAccountToken: true
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "kube-prepull.podSecurityContext" . | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "kube-prepull.tolerations" . }}
tolerations:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kube-prepull.hookContainer" -}}
image: {{ include "kube-prepull.image" . }}
env:
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
resources:
  requests:
    cpu: 10m
    memory: 32Mi
securityContext:
  {{- include "kube-prepull.securityContext" . | nindent 2 }}
{{- end -}}
