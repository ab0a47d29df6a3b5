#!/usr/bin/env bash
# A schema registry for development and tests: Apicurio from Maven Central, in memory, loopback only. No Docker, no root.
#
#   registry.sh start [PORT]   on PORT (8081), or on a free one with PORT auto. Returns when it answers, and prints the
#                              URL of its Confluent-compatible API. A second call finds the one that runs.
#   registry.sh stop [PORT]    ends it; what was registered is gone
#   registry.sh fetch          only fetches it (about 150 MB)
#
# $REGISTRY_DIR (/tmp/perdure-registry-PORT) holds its pid and log. $REGISTRY_VERSION. Needs Java 21 or newer, wherever
# $JAVA_HOME, $PATH or /usr/lib/jvm have it, and mvn for the first time.
#
# Exit codes: 1 failed, 2 called wrongly, 3 java or mvn is missing, 4 the port is taken by something else.
set -euo pipefail
# shellcheck source=infra/java.sh
. "$(dirname "$0")/java.sh"

version=${REGISTRY_VERSION:-3.3.3}
home=$cache/registry/$version
api=/apis/ccompat/v7
start_s=60
stop_s=10

fill() { # fill FOLDER
  mvn --quiet --batch-mode dependency:copy -DoutputDirectory="$1" \
    -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" || return
  tar -xzf "$1"/*.tar.gz -C "$1" && rm "$1"/*.tar.gz
}

running() { # is its pid alive, and still this registry?
  local pid
  pid=$(cat "$dir/pid" 2> /dev/null) && grep -qsF "perdure.registry=$dir" "/proc/$pid/cmdline"
}

down() {
  ! running
}

answers() { # one HTTP request without curl
  local status
  exec 3<> "/dev/tcp/127.0.0.1/$port" && printf 'GET %s/subjects HTTP/1.0\r\n\r\n' "$api" >&3 && read -rt 5 status <&3
  [[ ${status:-} == *" 200 "* ]]
}

answered_or_dead() {
  (answers) 2> /dev/null || down
}

start() {
  need_java 21
  from_maven "$home" fill
  mkdir -p "$dir"
  exec 8> "$dir/lock"
  flock 8
  # Who waited for the lock behind another start has chosen a port that is not the one it got.
  [ "$chosen" != yes ] || port=$(cat "$dir/port" 2> /dev/null || echo "$port")
  echo "$port" > "$dir/port"
  if ! running; then
    if listening "$port"; then
      clear
      fail "$TAKEN" "port $port is taken by something that is not the registry of $dir"
    fi
    # Both hosts: each listens on all interfaces when it is not told otherwise. The management port is nobody's concern.
    setsid "$java" -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dperdure.registry="$dir" \
      -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$port" \
      -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port=0 \
      -jar "$home/quarkus-run.jar" > "$dir/log" 2>&1 < /dev/null 8>&- &
    echo $! > "$dir/pid"
    sleep 0.1 # until setsid has become java
  fi
  if ! await "$start_s" answered_or_dead || ! running; then
    tail -n 5 "$dir/log" >&2
    fail "$FAILED" "the registry did not start; see $dir/log"
  fi
  echo "http://127.0.0.1:$port$api"
}

stop() {
  if running; then
    signal TERM "$(cat "$dir/pid")"
    await "$stop_s" down || signal KILL "$(cat "$dir/pid")"
  fi
  clear
}

clear() {
  rm -f "$dir"/{pid,log,lock,port}
  [ ! -d "$dir" ] || rmdir "$dir" 2> /dev/null || true # with files of somebody else in it, it stays
}

command=${1:-} port=${2:-}
case $command in
  start | stop) ;;
  fetch) from_maven "$home" fill; exit ;;
  *) usage; exit "$USAGE" ;;
esac
choose_port "${REGISTRY_DIR:-}" 8081
dir=${REGISTRY_DIR:-/tmp/perdure-registry-$port}
[[ $dir == /* ]] || dir=$PWD/$dir
$command
