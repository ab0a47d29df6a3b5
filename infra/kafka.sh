#!/usr/bin/env bash
# Kafka brokers for development and tests: KRaft mode, jars from Maven Central, loopback only. No Docker, no root.
#
#   kafka.sh start [NODES] [PORT]   1 (the default) or 3 nodes on PORT (9092), PORT+1, ... Returns when they serve, and
#                                   prints the bootstrap servers. Starts only what does not run, so it also repairs.
#                                   PORT auto: free ports, which later calls with the same $KAFKA_DIR find again.
#   kafka.sh stop [PORT]            ends the nodes; the data stays
#   kafka.sh wipe [PORT]            kills the nodes, and deletes the data
#   kafka.sh fetch                  only fetches the jars
#
# To break things, one node at a time (1, 2, 3):
#   kafka.sh kill NODE [PORT]       SIGKILL
#   kafka.sh pause NODE [PORT]      SIGSTOP; `resume` lets it go on
#   kafka.sh resume NODE [PORT]
#   kafka.sh revive NODE [PORT]     starts that node and leaves others down; in a cluster of 3 another one must be up
#
# $KAFKA_DIR (/tmp/perdure-kafka-PORT) has a folder for each node: N/pid, N/log, N/server.properties, N/data. Controllers
# listen on PORT+101, ... $KAFKA_PROPS: more lines for server.properties. $KAFKA_JVM: the default starts quickly and
# stays small; to measure, set "-Xmx512m". $KAFKA_HOST: an address of this machine to serve at, instead of 127.0.0.1.
# $KAFKA_VERSION. Needs Java 17 or newer, and mvn for the first time.
#
# Exit codes: 1 failed, 2 called wrongly, 3 java or mvn is missing, 4 a port is taken by something else.
set -euo pipefail
# shellcheck source=infra/java.sh
. "$(dirname "$0")/java.sh"

version=${KAFKA_VERSION:-4.4.0}
jars=$cache/kafka-jars/$version
start_s=90 # a node that is not up by then never will be; three on a busy machine with two cores take 15
stop_s=15
host=${KAFKA_HOST:-127.0.0.1}

# --- arguments --------------------------------------------------------------------------------------------------------

command=${1:-} nodes="" node="" port=""
case $command in
  start) nodes=${2:-} port=${3:-} ;;
  kill | pause | resume | revive) node=${2:-} port=${3:-} ;;
  stop | wipe) port=${2:-} ;;
  fetch) ;;
  *) usage; exit "$USAGE" ;;
esac
[[ $nodes =~ ^[13]?$ ]] || fail "$USAGE" "NODES is 1 or 3, not '$nodes'"
[[ $node =~ ^[123]?$ ]] || fail "$USAGE" "NODE is 1, 2 or 3, not '$node'"

recorded() { # recorded NAME: what an earlier start wrote down
  cat "$dir/$1" 2> /dev/null || true
}

neighbours() { # every port of a cluster of 3
  echo "$1" $(($1 + 1)) $(($1 + 2)) $(($1 + 101)) $(($1 + 102)) $(($1 + 103))
}

choose_port "${KAFKA_DIR:-}" 9092 neighbours
dir=${KAFKA_DIR:-/tmp/perdure-kafka-$port}
[[ $dir == /* ]] || dir=$PWD/$dir

# --- one node ---------------------------------------------------------------------------------------------------------

running() { # running NODE: is its pid alive, and still this node? A zombie's command line is empty.
  local pid
  pid=$(cat "$dir/$1/pid" 2> /dev/null) && grep -qsF "$dir/$1/server.properties" "/proc/$pid/cmdline"
}

down() {
  ! running "$1"
}

pid_of() {
  cat "$dir/$1/pid"
}

need_running() {
  running "$1" || fail "$FAILED" "node $1 in $dir does not run"
}

configure() { # configure NODE
  local voters="" i copies=$nodes in_sync=$(((nodes + 1) / 2))
  for ((i = 1; i <= nodes; i++)); do voters+="$i@127.0.0.1:$((port + 100 + i)),"; done
  cat > "$dir/$1/server.properties" << P
process.roles=broker,controller
node.id=$1
controller.quorum.voters=${voters%,}
listeners=PLAINTEXT://$host:$((port + $1 - 1)),CONTROLLER://127.0.0.1:$((port + 100 + $1))
controller.listener.names=CONTROLLER
log.dirs=$dir/$1/data
# a misspelt topic must fail
auto.create.topics.enable=false
default.replication.factor=$copies
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=4
# half of the heap would go to the cleaner's buffer
log.cleaner.dedupe.buffer.size=16777216
# A dead broker is forgotten after 2 s: so it is back 5 s after a kill -9, and not 13.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# Groups that tests can wait for: stock brokers refuse a session below 6 s (classic) and 45 s (KIP-848).
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=300
group.consumer.heartbeat.interval.ms=1000
${KAFKA_PROPS:-}
P
}

prepare() { # finds Java, and sets `jvm`. Java itself expands the star, so it must stay quoted all the way.
  local options=()
  need_java 17
  read -ra options <<< "${KAFKA_JVM:--Xmx256m -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}"
  jvm=("$java" "${options[@]}" -cp "$jars/*")
}

format() { # format NODE
  "${jvm[@]}" kafka.tools.StorageTool format -t "$(recorded cluster)" -c "$dir/$1/server.properties" > "$dir/$1/log" 2>&1
}

launch() { # launch NODE
  : > "$dir/$1/log" # here and not in the child: `served` must not meet the lines of the life before
  # A session of its own, and no lock file: the node outlives this script and its terminal.
  setsid "${jvm[@]}" kafka.Kafka "$dir/$1/server.properties" >> "$dir/$1/log" 2>&1 < /dev/null 8>&- 9>&- &
  echo $! > "$dir/$1/pid"
}

served() {
  grep -q "Kafka Server started" "$dir/$1/log"
}

served_or_dead() {
  served "$1" || ! kill -0 "$(pid_of "$1")" 2> /dev/null
}

await_node() { # await_node NODE
  local log=$dir/$1/log
  await "$start_s" served_or_dead "$1" || true
  served "$1" && return
  if grep -q "Address already in use" "$log"; then
    echo "${0##*/}: a port of node $1 was taken while it came up; see $log" >&2
    return "$TAKEN"
  fi
  grep -m 5 -E "ERROR|Exception|Error" "$log" >&2 || tail -n 5 "$log" >&2
  echo "${0##*/}: node $1 did not start; see $log" >&2
  return "$FAILED"
}

# --- the cluster ------------------------------------------------------------------------------------------------------

lock() { # one caller at a time for each folder; once more if the folder was wiped while we waited
  while :; do
    mkdir -p "$dir"
    exec 8> "$dir/lock"
    flock 8
    [ ! "$dir/lock" -ef /dev/fd/8 ] || return 0
  done
}

found() { # the nodes that have a folder
  local each
  for each in "$dir"/[123]; do [ ! -d "$each" ] || echo "${each##*/}"; done
}

settle() { # what this cluster is, for its whole life
  local known
  known=$(recorded nodes)
  nodes=${nodes:-${known:-1}}
  [ "${known:-$nodes}" = "$nodes" ] || fail "$USAGE" "the cluster in $dir has NODES $known, not $nodes: wipe it first"
  # Who waited for the lock behind another start has chosen a port that is not the one it got.
  known=$(recorded port)
  [ "$chosen" != yes ] || port=${known:-$port}
  echo "$nodes" > "$dir/nodes"
  echo "$port" > "$dir/port"
  # No '-' in the id: one that begins with it would be taken for an option, once in 64 times.
  [ -s "$dir/cluster" ] || head -c 16 /dev/urandom | base64 | tr '+/' 'Aa' | tr -d = > "$dir/cluster"
}

bring_up() { # bring_up NODE...: none of them runs. Returns TAKEN when a port is not to be had.
  local each used fresh=() formats=()
  prepare
  for each in "$@"; do
    for used in $((port + each - 1)) $((port + 100 + each)); do
      if listening "$used"; then
        echo "${0##*/}: port $used is taken by something that is not node $each of $dir" >&2
        return "$TAKEN"
      fi
    done
  done
  for each in "$@"; do
    mkdir -p "$dir/$each"
    configure "$each"
    [ -f "$dir/$each/data/meta.properties" ] || fresh+=("$each")
  done
  for each in "${fresh[@]}"; do format "$each" & formats+=($!); done
  for each in "${!fresh[@]}"; do
    wait "${formats[each]}" && continue
    tail -n 5 "$dir/${fresh[each]}/log" >&2
    fail "$FAILED" "could not format node ${fresh[each]}"
  done
  for each in "$@"; do launch "$each"; done
  for each in "$@"; do await_node "$each" || return $?; done
}

start() {
  local absent=() each code=0 attempt=${KAFKA_ATTEMPT:-1}
  from_maven "$jars" fill
  lock
  settle
  for ((each = 1; each <= nodes; each++)); do running "$each" || absent+=("$each"); done
  ((${#absent[@]} == 0)) || bring_up "${absent[@]}" || code=$?
  if ((code == TAKEN && attempt < 5)) && [ "$chosen" = yes ]; then
    # Somebody was quicker between our look at the ports and the bind. They were our choice, so choose again.
    each_node slay
    clear
    KAFKA_ATTEMPT=$((attempt + 1)) exec "$0" start "$nodes" auto
  fi
  if ((code)); then
    [ -n "$(found)" ] || clear
    exit "$code"
  fi
  servers
}

servers() {
  local i line=""
  for ((i = 0; i < nodes; i++)); do line+="$host:$((port + i)),"; done
  echo "${line%,}"
}

each_node() { # each_node FUNCTION
  local each
  for each in $(found); do "$1" "$each"; done
}

ask_to_end() { # a node that is paused hears SIGTERM only when it goes on
  running "$1" || return 0
  signal TERM "$(pid_of "$1")"
  signal CONT "$(pid_of "$1")"
}

see_off() {
  await "$stop_s" down "$1" || slay "$1"
}

slay() {
  running "$1" || return 0
  signal KILL "$(pid_of "$1")"
  await "$stop_s" down "$1" || fail "$FAILED" "node $1 survived SIGKILL"
}

stop() {
  [ -d "$dir" ] || return 0
  lock
  each_node ask_to_end
  each_node see_off
}

wipe() {
  [ -d "$dir" ] || return 0
  [ -f "$dir/cluster" ] || [ -z "$(found)" ] || fail "$USAGE" "$dir is not a folder of this script; nothing was deleted"
  lock
  each_node slay
  clear
}

clear() {
  rm -rf "$dir"/{1,2,3,cluster,nodes,port,lock}
  rmdir "$dir" 2> /dev/null || true # with files of somebody else in it, it stays
}

revive() {
  lock
  nodes=$(recorded nodes)
  ((node <= ${nodes:-0})) || fail "$USAGE" "there is no node $node in $dir"
  running "$node" || bring_up "$node"
}

fill() { # fill FOLDER: Kafka's jars and all that they need
  # slf4j-simple 1.7: Maven settles on slf4j-api 1.7 here, which does not see a provider of 2.x. There would be no log.
  cat > "$1/pom.xml" << P
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>perdure.infra</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
P
  mvn --quiet --batch-mode --file "$1/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$1"
}

named() { # the commands for one node must name it
  [ -n "$node" ] || fail "$USAGE" "$command which NODE?"
}

case $command in
  start) start ;;
  stop) stop ;;
  wipe) wipe ;;
  fetch) from_maven "$jars" fill ;;
  kill) named; need_running "$node"; slay "$node" ;;
  pause) named; need_running "$node"; signal STOP "$(pid_of "$node")" ;;
  resume) named; need_running "$node"; signal CONT "$(pid_of "$node")" ;;
  revive) named; revive ;;
esac
