{{- define "ark.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of all names; the longest one that is made of it has 15 characters more. */}}
{{- define "ark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "ark.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ark.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Prefix of the names of cluster-wide objects, and of those in others' namespaces: of no other release. */}}
{{- define "ark.clusterName" -}}
{{- if eq (include "ark.fullname" .) .Release.Namespace -}}
{{- include "ark.fullname" . -}}
{{- else -}}
{{- $name := printf "%s-%s" .Release.Namespace (include "ark.fullname" .) -}}
{{- /* Cut off, two could be the same; a hash of the whole tells them apart. */ -}}
{{- if gt (len $name) 48 }}{{ $name = printf "%s-%s" (trunc 39 $name | trimSuffix "-") (sha256sum $name | trunc 8) }}{{ end -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/* metadata of an object. Arguments: root, name, component, namespace (none for cluster-wide), annotations. */}}
{{- define "ark.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "ark.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ark.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: ark
{{ include "ark.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ark.selector" -}}
app.kubernetes.io/name: {{ include "ark.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "ark.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "ark.accountName" -}}
{{- $account := .part.serviceAccount -}}
{{- if $account.create -}}
{{- $account.name | default (printf "%s-%s" (include "ark.fullname" .root) .component) -}}
{{- else -}}
{{- $account.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* A name or an address as it stands before a port: an IPv6 address in brackets. */}}
{{- define "ark.host" -}}
{{- if contains ":" . }}[{{ . }}]{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{- define "ark.scalerAddress" -}}
{{- $name := printf "%s-scaler.%s" (include "ark.fullname" .) .Release.Namespace -}}
{{- printf "%s:%v" (include "ark.host" (.Values.scaler.service.clusterIP | default $name)) .Values.scaler.port -}}
{{- end -}}

{{/* Where Redis is, as far as it may be seen: nothing where it stands in a Secret. */}}
{{- define "ark.redisUrl" -}}
{{- $redis := .Values.redis -}}
{{- if $redis.bundled.enabled -}}
{{- $name := printf "%s-redis.%s" (include "ark.fullname" .) .Release.Namespace -}}
{{- printf "redis://%s:6379/0" (include "ark.host" ($redis.bundled.service.clusterIP | default $name)) -}}
{{- else -}}
{{- $redis.url -}}
{{- end -}}
{{- end -}}

{{/* The variable with Redis' URL. Arguments: root, variable. */}}
{{- define "ark.redisVariable" -}}
{{- $secret := .root.Values.redis.existingSecret -}}
- name: {{ .variable }}
{{- if $secret.name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}
{{- else }}
  value: {{ include "ark.redisUrl" .root | quote }}
{{- end }}
{{- end -}}

{{/* Not the same for the chart's Secrets and cert-manager's: each leaves the other's alone when tls.source changes. */}}
{{- define "ark.secretSuffix" -}}
{{- ternary "cert" "tls" (eq .Values.tls.source "cert-manager") -}}
{{- end -}}

{{- define "ark.serverSecret" -}}
{{- if eq .Values.tls.source "secrets" -}}
{{- .Values.tls.secrets.server -}}
{{- else -}}
{{- printf "%s-%s" (include "ark.fullname" .) (include "ark.secretSuffix" .) -}}
{{- end -}}
{{- end -}}

{{- define "ark.clientSecret" -}}
{{- if eq .Values.tls.source "secrets" -}}
{{- .Values.tls.secrets.client -}}
{{- else -}}
{{- printf "%s-client-%s" (include "ark.clusterName" .) (include "ark.secretSuffix" .) -}}
{{- end -}}
{{- end -}}

{{/* Where KEDA finds the client's Secret: in the namespace of a TriggerAuthentication, its own for a cluster-wide one. */}}
{{- define "ark.clientNamespace" -}}
{{- .Values.watchNamespace | default .Values.keda.namespace -}}
{{- end -}}

{{/* An installation for one namespace has none that is cluster-wide. */}}
{{- define "ark.authenticationKind" -}}
{{- ternary "TriggerAuthentication" "ClusterTriggerAuthentication" (not (empty .Values.watchNamespace)) -}}
{{- end -}}

{{/* Names of the servers' certificate, separated by commas; addresses among them. */}}
{{- define "ark.serverNames" -}}
{{- $names := list -}}
{{- range $service := list "scaler" "operator" -}}
{{- $base := printf "%s-%s.%s" (include "ark.fullname" $) $service $.Release.Namespace -}}
{{- $names = concat $names (list $base (printf "%s.svc" $base) (printf "%s.svc.cluster.local" $base)) -}}
{{- end -}}
{{- with .Values.scaler.service.clusterIP }}{{ $names = append $names . }}{{ end -}}
{{- concat $names (.Values.tls.extraNames | default list) | uniq | join "," -}}
{{- end -}}

{{/*
Fail where a value, or anything in it, has a password: as user info of a URL, broken ones and those without a scheme
too, or in its query. "$(NAME)" is none. Arguments: path, value, instead.
*/}}
{{- define "ark.refusePasswords" -}}
{{- $it := . -}}
{{- if kindIs "map" .value -}}
{{- range $name, $value := .value -}}
{{- include "ark.refusePasswords" (dict "path" (printf "%s.%s" $it.path $name) "value" $value "instead" $it.instead) -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $value := .value -}}
{{- $path := $it.path -}}
{{- if and (kindIs "map" $value) $value.name -}}{{- $path = printf "%s[%v]" $path $value.name -}}{{- end -}}
{{- include "ark.refusePasswords" (dict "path" $path "value" $value "instead" $it.instead) -}}
{{- end -}}
{{- else if kindIs "string" .value -}}
{{- $text := regexReplaceAll "\\$\\([A-Za-z0-9_.-]+\\)" .value "" -}}
{{- $userInfo := "://[^ ]*:([^@:]|:[^/@])+@" -}}
{{- $noScheme := "(^|[ =])[^:/ ]*:(/?[^/ @][^ ]*)@" -}}
{{- $query := "(?i)[?&][^= &]*pass[^= &]*=" -}}
{{- if or (regexMatch $userInfo $text) (regexMatch $noScheme $text) (regexMatch $query $text) -}}
{{- fail (printf "%s has a password, and whoever may read Deployments would see it: %s" .path .instead) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What no schema can say; each message names the value. */}}
{{- define "ark.check" -}}
{{- $redis := .Values.redis -}}
{{- $ways := len (compact (list $redis.url $redis.existingSecret.name (ternary "bundled" "" $redis.bundled.enabled))) -}}
{{- if and (eq $ways 0) (or .Values.scaler.enabled .Values.operator.enabled) -}}
{{- fail "no Redis is configured: set redis.url, redis.existingSecret.name, or for a trial redis.bundled.enabled=true" -}}
{{- else if gt $ways 1 -}}
{{- fail "redis.url, redis.existingSecret.name and redis.bundled.enabled: only one of them may be set" -}}
{{- end -}}
{{- include "ark.refusePasswords" (dict "path" "redis.url" "value" $redis.url "instead" "put the URL into a Secret, and its name into redis.existingSecret.name") -}}
{{- include "ark.refusePasswords" (dict "path" "agents.redisUrl" "value" .Values.agents.redisUrl "instead" "put it as AGENT_REDIS into the agents' Secret (agents.secret)") -}}
{{- range $part := list "scaler" "operator" -}}
{{- range $name := list "settings" "extraEnv" "extraContainers" "podAnnotations" "podLabels" -}}
{{- $instead := ternary "put the URL into a Secret, and its name into redis.existingSecret.name" "use valueFrom.secretKeyRef" (eq $name "settings") -}}
{{- include "ark.refusePasswords" (dict "path" (printf "%s.%s" $part $name) "value" (get (get $.Values $part) $name) "instead" $instead) -}}
{{- end -}}
{{- end -}}
{{- range $word := $redis.bundled.extraArgs -}}
{{- if regexMatch "(?i)(pass|auth|user|aclfile)" (toString $word) -}}
{{- fail "redis.bundled.extraArgs would show a password to whoever may read Deployments: the bundled Redis is for trials, use a Redis of your own with redis.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tls.enabled (eq .Values.tls.source "secrets") (not (and .Values.tls.secrets.server .Values.tls.secrets.client)) -}}
{{- fail "tls.source is secrets: set tls.secrets.server and tls.secrets.client" -}}
{{- end -}}
{{- if and .Values.tls.enabled (eq .Values.tls.source "chart") (not .Values.tls.newOnEachRender) -}}
{{- /* One that whoever installs may see: for one namespace, perhaps no other. */}}
{{- $there := .Values.watchNamespace | default "kube-system" -}}
{{- if not (lookup "v1" "Namespace" "" $there) -}}
{{- fail (printf "tls.source is chart, which needs a cluster with namespace %s to look up existing certificates: otherwise each rendering would make new ones and lock KEDA out at each sync. %s tls.source to cert-manager or secrets, or tls.newOnEachRender=true for a look" $there (ternary "Create the namespace, or set" "Set" (not (empty .Values.watchNamespace)))) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.authorization (not (and .Values.metrics.tls .Values.tls.enabled)) -}}
{{- fail "metrics.authorization needs metrics.tls and tls.enabled: callers send a token" -}}
{{- end -}}
{{- if and .Values.scaler.service.headless .Values.scaler.service.clusterIP -}}
{{- fail "scaler.service.headless and scaler.service.clusterIP: only one of them may be set" -}}
{{- end -}}
{{- end -}}
