{{/* The settings of the service, for every container that runs it. The migration's job opens neither the callers' file nor certificates. */}}
{{- define "countersign.env" -}}
- name: COUNTERSIGN_LISTEN
  value: {{ printf "%s:50051" .Values.listenAddress | quote }}
- name: COUNTERSIGN_HEALTH_LISTEN
  value: {{ printf "%s:50052" .Values.listenAddress | quote }}
- name: COUNTERSIGN_OPS_LISTEN
  value: {{ printf "%s:9464" .Values.listenAddress | quote }}
{{- if kindIs "invalid" .Values.config.COUNTERSIGN_OPS_URL }}
- name: COUNTERSIGN_OPS_URL
  value: {{ printf "http://%s-ops.%s.svc:9464" (include "countersign.fullname" .) .Release.Namespace | quote }}
{{- end }}
- name: COUNTERSIGN_CALLERS
  value: /etc/countersign/config/callers.yaml
- name: COUNTERSIGN_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- if eq .Values.tls.source "mesh" }}
- name: COUNTERSIGN_PLAINTEXT
  value: mesh
{{- else }}
- name: COUNTERSIGN_TLS_CERT
  value: /etc/countersign/tls/tls.crt
- name: COUNTERSIGN_TLS_KEY
  value: /etc/countersign/tls/tls.key
{{- end }}
{{- if .Values.tls.clientCa.existingSecret }}
- name: COUNTERSIGN_TLS_CLIENT_CA
  value: /etc/countersign/client-ca/ca.crt
{{- end }}
{{- if include "countersign.isSqlite" . }}
- name: DATABASE_URL
  value: sqlite:/var/lib/countersign/countersign.db
{{- end }}
{{- range $name, $_ := fromYaml (include "countersign.secretFiles" (list . "")) }}
- name: {{ $name }}_FILE
  value: /etc/countersign/secrets/{{ $name }}
{{- end }}
{{- range $name, $value := .Values.config }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $name }}
  value: {{ include "countersign.text" $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Every secret setting by its name, with the Secret and the key that hold it; takes the context, and the suffix of the Secret that
the chart makes for the migration's job, or "". */}}
{{- define "countersign.secretFiles" -}}
{{- $root := index . 0 -}}
{{- $suffix := index . 1 -}}
{{- $fullname := include "countersign.fullname" $root -}}
{{- $given := printf "%s%s" $fullname $suffix -}}
{{- if not (include "countersign.isSqlite" $root) }}
{{- with $root.Values.database }}
DATABASE_URL:
  secret: {{ default $given .existingSecret }}
  key: {{ ternary .existingSecretKey "DATABASE_URL" (ne .existingSecret "") }}
{{- end }}
{{- end }}
{{- if not (hasKey $root.Values.secretConfig "CREDS_KEY") }}
{{- with $root.Values.encryptionKeys }}
COUNTERSIGN_ENCRYPTION_KEYS:
  {{- if .existingSecret }}
  secret: {{ .existingSecret }}
  key: {{ .existingSecretKey }}
  {{- else if .value }}
  secret: {{ $given }}
  key: COUNTERSIGN_ENCRYPTION_KEYS
  {{- else }}
  secret: {{ $fullname }}{{ default "-keys" $suffix }}
  key: keys
  {{- end }}
{{- end }}
{{- end }}
{{- range $name, $secret := $root.Values.secretConfig }}
{{ $name }}:
  secret: {{ default $given $secret.existingSecret }}
  key: {{ default $name $secret.key }}
{{- end }}
{{- end }}

{{- define "countersign.volumeMounts" -}}
- name: config
  mountPath: /etc/countersign/config
  readOnly: true
{{- if ne .Values.tls.source "mesh" }}
- name: tls
  mountPath: /etc/countersign/tls
  readOnly: true
{{- end }}
{{- if .Values.tls.clientCa.existingSecret }}
- name: client-ca
  mountPath: /etc/countersign/client-ca
  readOnly: true
{{- end }}
{{- if .Values.callers.kubernetesApi }}
- name: kubernetes
  mountPath: /etc/countersign/kubernetes
  readOnly: true
{{- end }}
{{- if include "countersign.isSqlite" . }}
- name: data
  mountPath: /var/lib/countersign
{{- end }}
{{ include "countersign.secretVolumeMounts" . }}
{{- end }}

{{/* What the migration's job needs of them: the secret settings, and what the values add. */}}
{{- define "countersign.secretVolumeMounts" -}}
- name: secrets
  mountPath: /etc/countersign/secrets
  readOnly: true
{{- if .Values.database.ca.existingSecret }}
- name: database-ca
  mountPath: /etc/countersign/database-ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The volumes are mounted whole, not by subPath, so that a changed ConfigMap or Secret reaches the process. */}}
{{- define "countersign.volumes" -}}
{{- $fullname := include "countersign.fullname" . -}}
- name: config
  projected:
    sources:
      - configMap:
          name: {{ $fullname }}
      {{- with .Values.callers.existingConfigMap }}
      - configMap:
          name: {{ . }}
          items:
            - key: {{ $.Values.callers.existingConfigMapKey }}
              path: callers.yaml
      {{- end }}
{{- if ne .Values.tls.source "mesh" }}
- name: tls
  secret:
    secretName: {{ include "countersign.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.clientCa }}
{{- if .existingSecret }}
- name: client-ca
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- if .Values.callers.kubernetesApi }}
- name: kubernetes
  projected:
    sources:
      # For the cluster's own audience, its API server.
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
{{- end }}
{{- if include "countersign.isSqlite" . }}
- name: data
  {{- if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ default $fullname .Values.persistence.existingClaim }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{ include "countersign.secretVolumes" (list . "") }}
{{- end }}

{{/* The volumes of `secretVolumeMounts`; takes what `secretFiles` takes. */}}
{{- define "countersign.secretVolumes" -}}
{{- $root := index . 0 -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $file := fromYaml (include "countersign.secretFiles" .) }}
      - secret:
          name: {{ $file.secret }}
          items:
            - key: {{ $file.key }}
              path: {{ $name }}
      {{- end }}
{{- with $root.Values.database.ca }}
{{- if .existingSecret }}
- name: database-ca
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The secrets that stand in the values. */}}
{{- define "countersign.givenSecrets" -}}
{{- if and .Values.database.url (not (include "countersign.isSqlite" .)) }}
DATABASE_URL: {{ b64enc .Values.database.url }}
{{- end }}
{{- if .Values.encryptionKeys.value }}
COUNTERSIGN_ENCRYPTION_KEYS: {{ b64enc .Values.encryptionKeys.value }}
{{- end }}
{{- range $name, $secret := .Values.secretConfig }}
{{- if $secret.value }}
{{ $name }}: {{ b64enc $secret.value }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not empty if the chart makes the key that seals. */}}
{{- define "countersign.makesKeys" -}}
{{- $isGiven := or .Values.encryptionKeys.value .Values.encryptionKeys.existingSecret (hasKey .Values.secretConfig "CREDS_KEY") -}}
{{- if and .Values.generateSecrets (not $isGiven) }}true{{ end }}
{{- end }}
