# Installs what the tests need besides Cargo's packages; each `need_…` does so once. Sourced by scripts/test and scripts/prove.

die() {
  echo "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# install_package NAME…: installs packages with apt, or asks for them if the system has no apt.
install_package() {
  command -v apt-get >/dev/null || die "please install: $*"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
}

# changed FILE STAMP: whether FILE has changed since STAMP was written.
changed() { ! sha256sum --check --status "$2" 2>/dev/null; }

# The packages of tests/oidc: the OpenID provider and buf.
need_node() {
  local stamp=tests/oidc/node_modules/.stamp
  command -v npm >/dev/null || die "please install Node.js 20 or newer, with npm"
  changed tests/oidc/package-lock.json "$stamp" || return 0
  (cd tests/oidc && npm ci --loglevel=error)
  sha256sum tests/oidc/package-lock.json >"$stamp"
}

# A virtual environment with the packages of tests/python.
PYTHON=.cache/python/bin/python
need_python() {
  local stamp=.cache/python/.stamp
  command -v python3 >/dev/null || install_package python3 python3-venv
  changed tests/python/requirements.txt "$stamp" || return 0
  rm -rf .cache/python
  python3 -m venv .cache/python || { install_package python3-venv && python3 -m venv --clear .cache/python; }
  "$PYTHON" -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
  sha256sum tests/python/requirements.txt >"$stamp"
}

need_go() { command -v go >/dev/null || install_package golang; }

# go_tool NAME VERSION PACKAGE: builds a program into a cache outside the checkout, so that a fresh clone finds it, and prints its path.
go_tool() {
  local directory=${XDG_CACHE_HOME:-$HOME/.cache}/countersign/$1-$2
  if [ ! -x "$directory/$1" ]; then
    need_go >&2
    # An older Go fetches the toolchain that the program asks for.
    GOBIN=$directory GOTOOLCHAIN=auto CGO_ENABLED=0 go install "$3@$2" >&2
  fi
  echo "$directory/$1"
}

# go_files NAME VERSION MODULE FILE…: copies files of a Go module into the same cache, and prints their directory.
go_files() {
  local directory=${XDG_CACHE_HOME:-$HOME/.cache}/countersign/$1-$2 module
  if [ ! -d "$directory" ]; then
    need_go >&2
    module=$(go mod download -json "$3@$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    rm -rf "$directory.new"
    mkdir -p "$directory.new"
    (cd "$module" && cp "${@:4}" "$directory.new")
    mv "$directory.new" "$directory"
  fi
  echo "$directory"
}

# Helm, and schemas: the programs are in HELM and KUBECTL_VALIDATE, the definitions of other vendors' kinds in the directories CRDS.
need_helm() {
  local gateway monitoring certificates
  HELM=$(go_tool helm v3.22.0 helm.sh/helm/v3/cmd/helm)
  KUBECTL_VALIDATE=$(go_tool kubectl-validate v0.0.4 sigs.k8s.io/kubectl-validate)
  gateway=$(go_files gateway-api v1.4.1 sigs.k8s.io/gateway-api \
    config/crd/standard/gateway.networking.k8s.io_{grpcroutes,backendtlspolicies}.yaml)
  monitoring=$(go_files prometheus-operator v0.85.0 github.com/prometheus-operator/prometheus-operator \
    example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,servicemonitors,prometheusrules}.yaml)
  certificates=$(go_files cert-manager v1.19.1 github.com/cert-manager/cert-manager deploy/crds/cert-manager.io_certificates.yaml)
  CRDS=$gateway,$monitoring,$certificates
  export HELM KUBECTL_VALIDATE CRDS
}

# grpcurl, of the version that README.md installs.
need_grpcurl() {
  GRPCURL=$(go_tool grpcurl v1.9.4 github.com/fullstorydev/grpcurl/cmd/grpcurl)
  export GRPCURL
}

# Prometheus and promtool.
need_prometheus() { command -v promtool >/dev/null || install_package prometheus; }

# Prints the hosts of the registries that this machine's package managers use, one per line.
registry_hosts() {
  {
    npm config get registry 2>/dev/null || true
    python3 -m pip config list 2>/dev/null || true
    cat "${CARGO_HOME:-$HOME/.cargo}"/config* 2>/dev/null || true
    cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true
    env | grep -iE '^[^=]*(registry|index_?url|goproxy)[^=]*=' || true
  } | grep -oE 'https?://[^/"'\'' :,|]+' | sed -E 's,^https?://([^@]*@)?,,' | grep -vxE 'github\.com|localhost|127\.0\.0\.1' | sort -u || true
}
