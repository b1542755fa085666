{{/* The port of an http or https URL of another machine, or nothing. */}}
{{- define "countersign.remotePort" -}}
{{- $shape := "^(https?)://([^/?#@]*@)?(\\[[^]]*\\]|[^:/?#]*)(:([0-9]+))?([/?#].*)?$" -}}
{{- $url := lower . -}}
{{- $isLoopback := regexMatch "^(localhost|127\\.[0-9.]+|\\[::1\\])$" (regexReplaceAll $shape $url "${3}") -}}
{{- if and (regexMatch $shape $url) (not $isLoopback) -}}
{{- default (ternary "80" "443" (hasPrefix "http:" $url)) (regexReplaceAll $shape $url "${5}") -}}
{{- end -}}
{{- end -}}

{{/* Not empty if it is plain http to another machine. */}}
{{- define "countersign.isPlainHttp" -}}
{{- if and (hasPrefix "http:" (lower .)) (include "countersign.remotePort" .) -}}true{{- end -}}
{{- end -}}

{{/* Not empty if the NetworkPolicy may let connections out to this port; takes the values and the port. A port's name may be any number. */}}
{{- define "countersign.letsOut" -}}
{{- $port := int (index . 1) -}}
{{- if eq $port 443 -}}true{{- end -}}
{{- range (index . 0).networkPolicy.extraEgress -}}
{{- if not .ports -}}true{{- end -}}
{{- range .ports -}}
{{- $first := default $port .port -}}
{{- if kindIs "string" $first -}}
true
{{- else if and (eq (default "TCP" .protocol) "TCP") (le (int $first) $port) (ge (int (default $first .endPort)) $port) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* An amount of Kubernetes, such as 250m or 1Gi, as a number. */}}
{{- define "countersign.amount" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+([eE][+-]?[0-9]+)?" $text -}}
{{- $kibi := 1024.0 -}}
{{- $units := dict "n" 1e-9 "u" 1e-6 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- range $unit := list "Ki" "Mi" "Gi" "Ti" "Pi" "Ei" -}}
{{- $_ := set $units $unit $kibi -}}
{{- $kibi = mulf $kibi 1024 -}}
{{- end -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $text) | default 1) -}}
{{- end -}}

{{/* What contradicts itself in the settings of the service, one fault a line. */}}
{{- define "countersign.faultsOfSettings" -}}
{{- $values := .Values -}}
{{- $set := dict -}}
{{- range $name, $value := $values.config -}}
{{- $text := include "countersign.text" $value | trim -}}
{{- if and (not (kindIs "invalid" $value)) $text -}}{{- $_ := set $set $name $text -}}{{- end -}}
{{- end -}}
{{- range $name, $_ := $values.secretConfig -}}{{- $_ := set $set $name "" -}}{{- end -}}
{{- $names := keys $set -}}
{{- range $values.extraEnv -}}
{{- $name := trimSuffix "_FILE" .name -}}
{{- if hasKey $set $name }}
extraEnv: {{ $name }} is set in {{ ternary "secretConfig" "config" (hasKey $values.secretConfig $name) }} too
{{- end }}
{{- $names = append $names $name -}}
{{- end -}}
{{- $variables := list -}}
{{- range $values.extraEnv -}}{{- $variables = append $variables .name -}}{{- end -}}
{{- if ne (len $variables) (len (uniq $variables)) }}
extraEnv: two have the same name
{{- end }}
{{- range $enabling := list "OPENID_ISSUER" "OPENID_CLIENT_ID" "OPENID_CLIENT_SECRET" -}}
{{- if has $enabling $names -}}
{{- range $needed := list "OPENID_ISSUER" "OPENID_CLIENT_ID" -}}
{{- if not (has $needed $names) }}
{{ $enabling }} needs {{ $needed }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with $set.OPENID_TOKEN_ENDPOINT_AUTH_METHOD -}}
{{- if eq (ne . "none") (not (has "OPENID_CLIENT_SECRET" $names)) }}
config.OPENID_TOKEN_ENDPOINT_AUTH_METHOD {{ ternary "is none, and OPENID_CLIENT_SECRET is set" "needs OPENID_CLIENT_SECRET" (eq . "none") }}
{{- end }}
{{- end }}
{{- if and (eq (default "" $set.COUNTERSIGN_TOKEN_ALG) "HS256") (not (has "JWT_SECRET" $names)) }}
config.COUNTERSIGN_TOKEN_ALG is HS256, which needs JWT_SECRET
{{- end }}
{{- range $name := list "DOMAIN_SERVER" "DOMAIN_CLIENT" -}}
{{- if and (eq (default "" $set.NODE_ENV) "production") (include "countersign.isPlainHttp" (get $set $name)) }}
config.{{ $name }} is plain http, and config.NODE_ENV is production
{{- end }}
{{- end }}
{{- if include "countersign.isPlainHttp" (default "" $set.OPENID_ISSUER) }}
config.OPENID_ISSUER is plain http
{{- end }}
{{- range $name := splitList "," (default "" $set.COUNTERSIGN_TEMPLATE_ENV) -}}
{{- $name = trim $name -}}
{{- if and $name (not (has $name $variables)) (not (hasKey $set $name)) (not (regexMatch "^(HOSTNAME|HOME|PATH|KUBERNETES_.*)$" $name)) }}
config.COUNTERSIGN_TEMPLATE_ENV names {{ $name }}, which extraEnv does not set
{{- end }}
{{- end }}
{{- if $values.networkPolicy.enabled -}}
{{- $traced := not (or (eq (lower (default "" $set.OTEL_TRACES_EXPORTER)) "none") (eq (lower (default "" $set.OTEL_SDK_DISABLED)) "true")) -}}
{{- $asked := list "OPENID_ISSUER" -}}
{{- if $traced -}}
{{- $asked = append $asked (ternary "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" "OTEL_EXPORTER_OTLP_ENDPOINT" (hasKey $set "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) -}}
{{- end -}}
{{- range $name := $asked -}}
{{- $port := include "countersign.remotePort" (get $set $name) -}}
{{- if and $port (not (include "countersign.letsOut" (list $values $port))) }}
config.{{ $name }} has port {{ $port }}, which networkPolicy.extraEgress does not let through
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Secrets that the service would refuse, one fault a line. They are not shown. */}}
{{- define "countersign.faultsOfSecrets" -}}
{{- $key := " *[A-Za-z0-9_-]{1,32} *: *[A-Za-z0-9+/]{43}= *" -}}
{{- with .Values.encryptionKeys.value | trim -}}
{{- if not (regexMatch (printf "^%s(,%s)*$" $key $key) .) }}
encryptionKeys.value is not of the form id:base64,id:base64, with 32 bytes each
{{- end }}
{{- end }}
{{- with dig "CREDS_KEY" "value" "" .Values.secretConfig | trim -}}
{{- if not (regexMatch "^[0-9A-Fa-f]{64}$" .) }}
secretConfig.CREDS_KEY.value does not have 64 hexadecimal digits
{{- end }}
{{- end }}
{{- with dig "JWT_SECRET" "value" "" .Values.secretConfig -}}
{{- if and (eq (toString $.Values.config.COUNTERSIGN_TOKEN_ALG) "HS256") (lt (len .) 32) }}
secretConfig.JWT_SECRET.value is shorter than 32 bytes
{{- end }}
{{- end }}
{{- with .Values.database.url -}}
{{- if not (regexMatch "^postgres(ql)?://." .) }}
database.url does not begin with postgres://
{{- end }}
{{- end }}
{{- range $caller := .Values.callers.list -}}
{{- range .token_sha256 -}}
{{- if not (regexMatch "^[0-9a-f]{64}$" .) }}
callers.list: {{ $caller.name }} has a token_sha256 that is not 64 lower-case hexadecimal digits
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What contradicts itself in the URL of PostgreSQL and what belongs to it, one fault a line. */}}
{{- define "countersign.faultsOfDatabase" -}}
{{- $values := .Values -}}
{{- $ca := $values.database.ca.existingSecret -}}
{{- with $values.database.url -}}
{{- $shape := "^[a-z]+://([^/@]*@)?(\\[[^]]*\\]|[^:/?]*)(:([0-9]+))?([/?].*)?$" -}}
{{- $port := default "5432" (regexReplaceAll $shape . "${4}") -}}
{{- $isByName := and (regexMatch $shape .) (regexReplaceAll $shape . "${2}") (not (regexMatch "[?&](host|hostaddr|port)=" .)) -}}
{{- if and $isByName $values.networkPolicy.enabled (ne (int $port) (int $values.networkPolicy.databasePort)) }}
database.url has port {{ $port }}, and networkPolicy.databasePort is {{ $values.networkPolicy.databasePort }}
{{- end }}
{{- range $found := regexFindAll "[?&](ssl-?root-?cert|ssl-ca|ssl-?cert|ssl-?key)=[^&]*" . -1 -}}
{{- $name := regexReplaceAll "[?&]([^=]*)=.*" $found "${1}" -}}
{{- $path := regexReplaceAll ".*=" $found "" | replace "%2F" "/" | replace "%2f" "/" -}}
{{- $isMounted := and $ca (eq $path "/etc/countersign/database-ca/ca.crt") -}}
{{- range $values.extraVolumeMounts -}}
{{- if hasPrefix (trimSuffix "/" .mountPath) $path -}}{{- $isMounted = true -}}{{- end -}}
{{- end -}}
{{- if not $isMounted }}
database.url has {{ $name }}, and neither database.ca.existingSecret (which is at /etc/countersign/database-ca/ca.crt) nor extraVolumeMounts has this file
{{- end }}
{{- end }}
{{- if and $ca (not (contains "/etc/countersign/database-ca/ca.crt" (replace "%2F" "/" . | replace "%2f" "/"))) }}
database.ca.existingSecret is of no use without sslrootcert=/etc/countersign/database-ca/ca.crt in database.url
{{- end }}
{{- end }}
{{- if and (include "countersign.isSqlite" .) $ca }}
database.ca.existingSecret is for PostgreSQL alone
{{- end }}
{{- end }}

{{/* What contradicts itself in the callers, one fault a line. */}}
{{- define "countersign.faultsOfCallers" -}}
{{- $values := .Values -}}
{{- $callers := $values.callers -}}
{{- $isGenerated := and $callers.generated.enabled (not $callers.existingConfigMap) -}}
{{- $names := ternary (list $callers.generated.name) list (not (empty $isGenerated)) -}}
{{- $hashes := list -}}
{{- $certified := list -}}
{{- $jwts := list -}}
{{- range $callers.list -}}
{{- $names = append $names .name -}}
{{- $hashes = concat $hashes (default list .token_sha256) -}}
{{- $caller := . -}}
{{- with .jwt -}}
{{- $jwts = append $jwts (list .issuer .audience .subject | toJson) -}}
{{- range compact (list .ca_file .token_file) -}}
{{- if and (hasPrefix "/etc/countersign/kubernetes/" .) (not $callers.kubernetesApi) }}
callers.list: {{ $caller.name }} names a file in /etc/countersign/kubernetes, which needs callers.kubernetesApi
{{- end }}
{{- end }}
{{- end }}
{{- $own := compact (list .spiffe_id (lower (default "" .dns_san))) -}}
{{- $certified = concat $certified $own -}}
{{- if and $own (not $values.tls.clientCa.existingSecret) }}
callers.list: {{ .name }} proves itself by a certificate, which needs tls.clientCa.existingSecret
{{- end }}
{{- end }}
{{- if ne (len $names) (len (uniq $names)) }}
callers: two have the same name
{{- end }}
{{- if ne (len $hashes) (len (uniq $hashes)) }}
callers.list: two have the same token_sha256
{{- end }}
{{- if ne (len $certified) (len (uniq $certified)) }}
callers.list: two have the same spiffe_id or dns_san
{{- end }}
{{- if ne (len $jwts) (len (uniq $jwts)) }}
callers.list: two have the same issuer, audience and subject
{{- end }}
{{- if not (or $isGenerated $callers.existingConfigMap $hashes $jwts) -}}
{{- if and $values.ingress.enabled (not (hasKey $values.ingress.annotations "nginx.ingress.kubernetes.io/proxy-ssl-secret")) }}
ingress ends TLS, and every caller proves itself by a certificate, which does not get past it: give a caller a token_sha256 or a jwt
{{- end }}
{{- if $values.grpcRoute.enabled }}
grpcRoute leads through a Gateway that ends TLS, and every caller proves itself by a certificate, which does not get past it: give a caller a token_sha256 or a jwt
{{- end }}
{{- end }}
{{- end }}

{{/* What contradicts itself in what keeps data and in certificates, one fault a line. */}}
{{- define "countersign.faultsOfStorage" -}}
{{- with .Values.persistence -}}
{{- if and .existingClaim (not (and .enabled (include "countersign.isSqlite" $))) }}
persistence.existingClaim is for SQLite with persistence.enabled alone
{{- end }}
{{- if and .existingClaim (or .storageClass .annotations) }}
persistence.storageClass and persistence.annotations are for a claim that the chart makes, and persistence.existingClaim is set
{{- end }}
{{- end }}
{{- with .Values.tls -}}
{{- if and .certManager.issuerRef (ne .source "certManager") }}
tls.certManager.issuerRef needs tls.source: certManager
{{- end }}
{{- if le (trimSuffix "h" .certManager.duration | int) (trimSuffix "h" .certManager.renewBefore | int) }}
tls.certManager.renewBefore is not shorter than tls.certManager.duration
{{- end }}
{{- if and .extraNames (not (has .source (list "generated" "certManager"))) }}
tls.extraNames is for certificates that the chart or cert-manager makes
{{- end }}
{{- end }}
{{- end }}

{{/* What contradicts itself in the network, one fault a line. */}}
{{- define "countersign.faultsOfNetwork" -}}
{{- $values := .Values -}}
{{- if and (eq $values.service.appProtocol "kubernetes.io/h2c") (ne $values.tls.source "mesh") }}
service.appProtocol: kubernetes.io/h2c is clear text, and tls.source is not mesh
{{- end }}
{{- with $values.networkPolicy -}}
{{- if .enabled -}}
{{- if not (or .callers .gateways .extraIngress) }}
networkPolicy admits no caller: networkPolicy.callers, gateways and extraIngress are empty
{{- end }}
{{- if and (or $values.ingress.enabled $values.grpcRoute.enabled) (not .gateways) }}
ingress and grpcRoute need networkPolicy.gateways: nothing that they pass on would be admitted
{{- end }}
{{- if and (or $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled) (not (or .prometheus .extraIngress)) }}
monitoring needs networkPolicy.prometheus: nobody could read the metrics
{{- end }}
{{- $isOpen := or .gateways .extraIngress -}}
{{- range .callers -}}{{- if .ipBlock -}}{{- $isOpen = true -}}{{- end -}}{{- end -}}
{{- if and (ne $values.service.type "ClusterIP") (not $isOpen) }}
service.type: {{ $values.service.type }} is for callers outside the cluster, and networkPolicy admits pods alone: networkPolicy.callers has no ipBlock
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What contradicts itself in pods, their number and their labels, one fault a line. */}}
{{- define "countersign.faultsOfPods" -}}
{{- $values := .Values -}}
{{- $resources := default dict $values.resources -}}
{{- with $values.autoscaling -}}
{{- if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
autoscaling.minReplicas is more than autoscaling.maxReplicas
{{- end }}
{{- if not (or .targetCPUUtilizationPercentage .metrics) }}
autoscaling.enabled needs autoscaling.targetCPUUtilizationPercentage or autoscaling.metrics
{{- end }}
{{- $cpu := or (dig "requests" "cpu" "" $resources) (dig "limits" "cpu" "" $resources) -}}
{{- if and .targetCPUUtilizationPercentage (not $cpu) }}
autoscaling.targetCPUUtilizationPercentage is a share of resources.requests.cpu, which is not set
{{- end }}
{{- end }}
{{- end }}
{{- with $values.serviceAccount -}}
{{- if and .annotations (not .create) }}
serviceAccount.annotations needs serviceAccount.create
{{- end }}
{{- if and .create (eq .name "default") }}
serviceAccount.name: default exists in every namespace, so serviceAccount.create has to be false
{{- end }}
{{- end }}
{{- range $resource, $limit := $resources.limits -}}
{{- $request := get (default dict $resources.requests) $resource -}}
{{- if and $request $limit (gt (include "countersign.amount" $request | float64) (include "countersign.amount" $limit | float64)) }}
resources.requests.{{ $resource }} is more than resources.limits.{{ $resource }}
{{- end }}
{{- end }}
{{- with $values.securityContext -}}
{{- $user := get (ternary . $values.podSecurityContext (hasKey . "runAsUser")) "runAsUser" -}}
{{- $isUser := get (ternary . $values.podSecurityContext (hasKey . "runAsNonRoot")) "runAsNonRoot" -}}
{{- if and $isUser (eq (toString $user) "0") }}
securityContext: runAsUser is 0, and runAsNonRoot is true
{{- end }}
{{- if and .privileged (eq (toString .allowPrivilegeEscalation) "false") }}
securityContext: privileged is true, and allowPrivilegeEscalation is false
{{- end }}
{{- end }}
{{- $sources := dict "podLabels" $values.podLabels "monitoring.labels" $values.monitoring.labels "monitoring.dashboard.labels" $values.monitoring.dashboard.labels -}}
{{- range $source, $labels := $sources -}}
{{- range $label, $_ := $labels -}}
{{- if hasKey $values.commonLabels $label }}
{{ $source }}: {{ $label }} is set in commonLabels too
{{- end }}
{{- end }}
{{- end }}
{{- $volumes := list -}}
{{- range $values.extraVolumes -}}{{- $volumes = append $volumes .name -}}{{- end -}}
{{- if ne (len $volumes) (len (uniq $volumes)) }}
extraVolumes: two have the same name
{{- end }}
{{- $paths := list -}}
{{- range $values.extraVolumeMounts -}}
{{- $paths = append $paths (trimSuffix "/" .mountPath) -}}
{{- if not (has .name $volumes) }}
extraVolumeMounts: {{ .name }} is not in extraVolumes
{{- end }}
{{- end }}
{{- if ne (len $paths) (len (uniq $paths)) }}
extraVolumeMounts: two have the same mountPath
{{- end }}
{{- $containers := list -}}
{{- range $values.extraContainers -}}{{- $containers = append $containers .name -}}{{- end -}}
{{- if ne (len $containers) (len (uniq $containers)) }}
extraContainers: two have the same name
{{- end }}
{{- end }}
