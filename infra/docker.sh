#!/usr/bin/env bash
# A Docker engine with an image of Kafka, for tests of containers where no registry of images can be reached.
#
#   eval "$(docker.sh up)"     uses the engine that answers, or starts one; builds the image from this machine's own
#                              Java, Kafka's jars and a few tools, once; prints the variables that tests read
#   docker.sh run COMMAND...   runs a command in the network of the engine that `up` has started
#   docker.sh down             ends that engine; its images stay
#   docker.sh wipe             and deletes them
#
# An engine that it starts has a network namespace of its own, with loopback and Docker's bridge in it and no way out:
# the machine's interfaces and firewall stay as they are, and ports that containers publish are seen with `run` only.
# $DOCKER_DIR (/tmp/perdure-docker) holds it. $KAFKA_VERSION. Needs root, and `apt-get` where dockerd is not installed.
#
# Exit codes: 1 failed, 2 called wrongly, 3 no engine can be had here.
set -euo pipefail
# shellcheck source=infra/java.sh
. "$(dirname "$0")/java.sh"

dir=${DOCKER_DIR:-/tmp/perdure-docker}
[[ $dir == /* ]] || dir=$PWD/$dir
version=${KAFKA_VERSION:-4.4.0}
image=perdure-kafka:$version
jars=$cache/kafka-jars/$version
host=unix://$dir/docker.sock
start_s=30
stop_s=20
# What the container's scripts, and those of testcontainers, call.
tools=(awk cat chmod cut env grep hostname ls mkdir sed sh sleep tr)

# --- the engine -------------------------------------------------------------------------------------------------------

running() { # does the engine of this folder run?
  local pid
  pid=$(cat "$dir/pid" 2> /dev/null) && grep -qsF -- "$dir/data" "/proc/$pid/cmdline"
}

ended() {
  ! running
}

answers() {
  DOCKER_HOST=$host docker version > /dev/null 2>&1
}

answers_or_ended() {
  answers || ended
}

install_engine() {
  [ "$(id -u)" = 0 ] || fail "$MISSING" "no Docker engine answers, and only root could start one"
  command -v dockerd > /dev/null && command -v docker > /dev/null && return
  command -v apt-get > /dev/null || fail "$MISSING" "no Docker engine is installed, and there is no apt-get"
  echo "${0##*/}: installing docker.io" >&2
  # The package would start an engine of its own, with a bridge and firewall rules, but not at run level 1.
  {
    apt-get update -q
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends docker.io
  } > "$dir/apt.log" 2>&1 || {
    tail -n 3 "$dir/apt.log" >&2
    fail "$MISSING" "docker.io cannot be installed; see $dir/apt.log"
  }
}

# In a new network namespace loopback is down, and iproute2 may not be installed.
raise_loopback='import fcntl, os, socket, struct, sys
IFF_UP, SIOCSIFFLAGS = 1, 0x8914
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
os.execvp(sys.argv[1], sys.argv[1:])'

start_engine() {
  local options=(
    --host "$host" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid"
    # Nothing of the machine's own: the namespace has no firewall and needs no way out.
    --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false
    # A lower score, which is its default, needs a capability that root may lack in a container.
    --oom-score-adjust 0
  )
  rm -f "$dir/docker.pid" # of an engine that was killed
  setsid unshare --net -- python3 -c "$raise_loopback" dockerd "${options[@]}" > "$dir/log" 2>&1 < /dev/null 8>&- &
  echo $! > "$dir/pid"
  sleep 0.2 # until python3 has become dockerd
  await "$start_s" answers_or_ended || true
  answers && return
  tail -n 5 "$dir/log" >&2
  down
  fail "$MISSING" "no Docker engine can be started here; see $dir/log"
}

# --- the image --------------------------------------------------------------------------------------------------------

build() {
  docker image inspect "$image" > /dev/null 2>&1 && return
  local root home tool
  need_java 17
  "$(dirname "$0")/kafka.sh" fetch
  echo "${0##*/}: building $image, once" >&2
  root=$(mktemp -d "$dir/image.XXXXXX")
  mkdir -p "$root"/{bin,tmp,opt/kafka,etc/kafka/docker,var/lib/kafka}
  chmod 1777 "$root/tmp"
  for tool in "${tools[@]}"; do cp -L "$(command -v "$tool")" "$root/bin/$tool"; done
  cp "$jars"/*.jar "$root/opt/kafka"
  home=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.home = //p')
  # Symbolic links in it may lead out of it (Debian has its settings in /etc). What only compilers want stays here.
  tar -C "$home" -ch --ignore-failed-read --exclude=./jmods --exclude=./lib/ct.sym --exclude=./lib/src.zip \
    --exclude=./man --exclude=./docs --exclude=./legal . 2> /dev/null | { mkdir "$root/opt/java" && tar -C "$root/opt/java" -x; }
  add_libraries "$root"
  start_script > "$root/etc/kafka/docker/run"
  chmod +x "$root/etc/kafka/docker/run"
  tar -C "$root" -c . | docker import --change 'ENV PATH=/opt/java/bin:/bin' --change 'CMD ["/etc/kafka/docker/run"]' - "$image" >&2
  rm -rf "$root"
}

add_libraries() { # add_libraries ROOT: every shared library that the programs in it ask for, where they look for it
  local root=$1 found
  found=$(find "$root/bin" "$root/opt/java/bin" "$root/opt/java/lib" -type f \( -perm -u+x -o -name '*.so' \) -exec ldd {} + 2> /dev/null |
    grep -oE '/[^ ]+\.so[^ ]*' | grep -vF "$root" | sort -u || true)
  [ -n "$found" ] || fail "$FAILED" "ldd finds no library of $java"
  while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -Ln "$library" "$root$library"
  done <<< "$found"
}

start_script() { # what the public image of Kafka has in the same place, as far as tests need it
  cat << 'X'
#!/bin/sh
# KAFKA_A_B=c is the setting a.b=c. The image is for tests, so the defaults are quick and small.
set -e
{
  echo "log.dirs=/var/lib/kafka/data"
  env | awk -F= '/^KAFKA_[A-Z_]+=/ && !/^KAFKA_(JVM|ZOOKEEPER_CONNECT)=/ {
    name = tolower(substr($1, 7)); gsub("_", ".", name); print name "=" substr($0, index($0, "=") + 1)
  }'
} > /etc/kafka/server.properties
run="java ${KAFKA_JVM:--Xmx256m -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1} -cp /opt/kafka/*"
set -f # the star is for Java
$run kafka.tools.StorageTool format --ignore-formatted -t "$CLUSTER_ID" -c /etc/kafka/server.properties
exec $run kafka.Kafka /etc/kafka/server.properties
X
}

# --- commands ---------------------------------------------------------------------------------------------------------

up() {
  mkdir -p "$dir"
  exec 8> "$dir/lock"
  flock 8
  if ! running && docker version > /dev/null 2>&1; then
    build
    echo "export PERDURE_TEST_DOCKER_IMAGE=$image"
    return
  fi
  if ! running; then
    install_engine
    start_engine
  fi
  export DOCKER_HOST=$host
  build
  # Ryuk, which would end forgotten containers, is an image too, and cannot be had.
  echo "export DOCKER_HOST=$host TESTCONTAINERS_RYUK_DISABLED=true PERDURE_TEST_DOCKER_IMAGE=$image" \
    "PERDURE_TEST_DOCKER_NET=/proc/$(cat "$dir/pid")/ns/net"
}

inside() { # inside COMMAND...
  running || fail "$FAILED" "no engine of $dir runs"
  (($#)) || fail "$USAGE" "run which COMMAND?"
  DOCKER_HOST=$host exec nsenter --net="/proc/$(cat "$dir/pid")/ns/net" --preserve-credentials -- "$@"
}

down() {
  local pid
  if running; then
    pid=$(cat "$dir/pid")
    signal TERM "$pid"
    await "$stop_s" ended || signal KILL "$pid"
  fi
  # What the engine leaves behind of networks, and of containers that were killed with it.
  sed -n "s|^[^ ]* \($dir/[^ ]*\) .*|\1|p" /proc/mounts | sort -r | while read -r mount; do umount "$mount" || true; done
  rm -f "$dir"/{pid,docker.pid,docker.sock}
}

wipe() {
  down
  rm -rf "${dir:?}"/{data,exec,log,apt.log,lock} "$dir"/image.*
  [ ! -d "$dir" ] || rmdir "$dir" 2> /dev/null || true # with files of somebody else in it, it stays
}

command=${1:-}
[ -z "$command" ] || shift
case $command in
  up | down | wipe) "$command" ;;
  run) inside "$@" ;;
  *) usage; exit "$USAGE" ;;
esac
