# Starts a throw-away PostgreSQL server on loopback and sets COUNTERSIGN_TEST_POSTGRES to it. Sourced by scripts/test.

PG_OLDEST=14
pg_home=

# Prints the directory of the newest version of the server's programs, or nothing.
pg_programs() {
  local directory version best=
  for directory in "$(dirname "$(command -v initdb || echo /nowhere/initdb)")" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
    [ -x "$directory/initdb" ] && [ -x "$directory/pg_ctl" ] || continue
    version=$("$directory/initdb" --version | grep -oE '[0-9]+' | head -n 1)
    if [ "$version" -ge "$PG_OLDEST" ]; then best=$directory; fi
  done
  echo "$best"
}

# Prints the user that runs the server: PostgreSQL refuses to run as root, so root runs it as another user.
pg_user() {
  [ "$(id -u)" = 0 ] || { id -un && return; }
  if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

as_pg_user() {
  if [ "$(id -u)" != 0 ]; then
    "$@"
  elif command -v runuser >/dev/null; then
    (cd / && runuser -u "$(pg_user)" -- "$@")
  else
    (cd / && setpriv --reuid "$(pg_user)" --regid "$(id -g "$(pg_user)")" --clear-groups -- "$@")
  fi
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Starts a server, unless COUNTERSIGN_TEST_POSTGRES names one.
need_postgres() {
  [ -z "${COUNTERSIGN_TEST_POSTGRES:-}" ] || return 0
  local programs port settings
  programs=$(pg_programs)
  if [ -z "$programs" ]; then
    install_package postgresql
    programs=$(pg_programs)
    [ -n "$programs" ] || die "please install PostgreSQL $PG_OLDEST or newer, with initdb and pg_ctl"
  fi
  pg_home=$(mktemp -d /tmp/countersign-postgres.XXXXXX)
  pg_ctl=$programs/pg_ctl
  if [ "$(id -u)" = 0 ]; then chown "$(pg_user)" "$pg_home"; fi
  port=$(free_port)
  # Many connections, because the tests run in parallel and each service has a pool of up to 20.
  settings="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$pg_home -c max_connections=400"
  # The data is thrown away, so nothing has to survive a crash.
  settings+=" -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
  as_pg_user "$programs/initdb" --pgdata "$pg_home/data" --username countersign --auth trust --encoding UTF8 --no-locale --no-sync >/dev/null
  as_pg_user "$pg_ctl" --pgdata "$pg_home/data" --log "$pg_home/log" --wait --silent -o "$settings" start || die "$(cat "$pg_home/log")"
  export COUNTERSIGN_TEST_POSTGRES="postgres://countersign@127.0.0.1:$port/postgres?sslmode=disable"
  echo "PostgreSQL of $programs at $COUNTERSIGN_TEST_POSTGRES"
}

stop_postgres() {
  [ -n "$pg_home" ] || return 0
  as_pg_user "$pg_ctl" --pgdata "$pg_home/data" --mode immediate --silent stop || true
  rm -rf "$pg_home"
  pg_home=
}
