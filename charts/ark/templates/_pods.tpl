{{/* Labels of Pods: none that changes with the chart's version, which would start all of them anew, Redis too. */}}
{{- define "ark.podLabels" -}}
app.kubernetes.io/part-of: ark
{{ include "ark.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the Pods of scaler and operator have in common. Arguments: root, component, part (its values). */}}
{{- define "ark.podTemplate" -}}
metadata:
  labels:
    {{- include "ark.podLabels" . | nindent 4 }}
    {{- with .part.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) (.part.podAnnotations | default dict) (.root.Values.commonAnnotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "ark.accountName" . }}
  automountServiceAccountToken: {{ eq .component "operator" }}
  # A Service named ark-scaler would give every Pod an ARK_SCALER_PORT.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .part.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "ark.podSecurity" (.part.podSecurityContext | default dict) | nindent 4 }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .part.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if .part.topologySpreadConstraints }}
    {{- toYaml .part.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "ark.selector" . | nindent 10 }}
    {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "ark.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      securityContext:
        {{- include "ark.containerSecurity" (.part.securityContext | default dict) | nindent 8 }}
      {{- include .container . | nindent 6 }}
      {{- with .part.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      livenessProbe:
        httpGet: {path: /healthz, port: http{{ if include "ark.metricsTls" .root }}, scheme: HTTPS{{ end }}}
        {{- with .part.livenessProbe }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      readinessProbe:
        httpGet: {path: /readyz, port: http{{ if include "ark.metricsTls" .root }}, scheme: HTTPS{{ end }}}
        {{- with .part.readinessProbe }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml .part.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if .root.Values.tls.enabled }}
        - {name: tls, mountPath: /etc/ark/tls, readOnly: true}
        {{- end }}
        {{- if .root.Values.metrics.authorization }}
        - {name: cluster-ca, mountPath: /etc/ark/cluster, readOnly: true}
        {{- end }}
        {{- with .part.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .part.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - {name: tmp, emptyDir: {}}
    {{- if .root.Values.tls.enabled }}
    - name: tls
      secret: {secretName: {{ include "ark.serverSecret" .root }}}
    {{- end }}
    {{- if .root.Values.metrics.authorization }}
    - name: cluster-ca
      configMap: {name: kube-root-ca.crt}
    {{- end }}
    {{- with .part.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The variables that both have. Arguments: as above, and prefix. */}}
{{- define "ark.commonVariables" -}}
{{- include "ark.redisVariable" (dict "root" .root "variable" (printf "%sREDIS" .prefix)) }}
- {name: {{ .prefix }}LOG_LEVEL, value: {{ .root.Values.log.level | quote }}}
- {name: {{ .prefix }}LOG_FORMAT, value: {{ .root.Values.log.format | quote }}}
{{- with .root.Values.allowStreams }}
- {name: {{ $.prefix }}ALLOW_STREAMS, value: {{ . | quote }}}
{{- end }}
{{- if .root.Values.metrics.authorization }}
- {name: {{ .prefix }}METRICS_API_SERVER, value: "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"}
- {name: {{ .prefix }}METRICS_API_SERVER_CA, value: /etc/ark/cluster/ca.crt}
{{- end }}
{{- end -}}

{{/*
A container's variables: extraEnv wins over settings, and both over what the chart sets; a name must be there once.
Arguments: as above, and variables, the template that has the chart's.
*/}}
{{- define "ark.variables" -}}
{{- $own := include .variables . | fromYamlArray -}}
{{- range $name, $value := .part.settings -}}
{{- /* As JSON a large number is written out; toString would make 1e+06 of it. */ -}}
{{- $own = append $own (dict "name" $name "value" (ternary $value (toJson $value) (kindIs "string" $value))) -}}
{{- end -}}
{{- $all := list -}}
{{- $seen := dict -}}
{{- range $variable := reverse (concat $own (.part.extraEnv | default list)) -}}
{{- if not (hasKey $seen $variable.name) -}}
{{- $_ := set $seen $variable.name true -}}
{{- $all = prepend $all $variable -}}
{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "ark.podSecurity" -}}
{{- $own := dict "runAsNonRoot" true "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532 "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- include "ark.overridden" (dict "own" $own "users" .) -}}
{{- end -}}

{{- define "ark.containerSecurity" -}}
{{- $own := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- include "ark.overridden" (dict "own" $own "users" .) -}}
{{- end -}}

{{/*
The user's keys in the place of the chart's, one by one: false and 0 count (merge takes them for nothing), and null takes a
key away, as OpenShift needs it for runAsUser. Arguments: own, users.
*/}}
{{- define "ark.overridden" -}}
{{- $all := dict -}}
{{- range $name, $value := .own }}{{ if not (hasKey $.users $name) }}{{ $_ := set $all $name $value }}{{ end }}{{ end -}}
{{- range $name, $value := .users }}{{ if not (kindIs "invalid" $value) }}{{ $_ := set $all $name $value }}{{ end }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "ark.metricsTls" -}}
{{- if and .Values.metrics.tls .Values.tls.enabled -}}yes{{- end -}}
{{- end -}}
