# What kafka.sh and registry.sh have in common. Sourced by them; it does nothing by itself.
# shellcheck shell=bash

# Exit codes of both scripts, so that a caller can tell them apart:
# shellcheck disable=SC2034
readonly FAILED=1 USAGE=2 MISSING=3 TAKEN=4

cache=${XDG_CACHE_HOME:-$HOME/.cache}/perdure

fail() { # fail CODE MESSAGE...
  local code=$1
  shift
  echo "${0##*/}: $*" >&2
  exit "$code"
}

usage() { # the comment at the top of the script
  sed -n '2,/^[^#]/ { s/^# \{0,1\}//p }' "$0"
}

need_java() { # need_java MAJOR: sets `java` to one that is new enough; the machine's default comes first
  local major=$1 candidate version
  for candidate in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [ -x "$candidate" ] || continue
    version=$("$candidate" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    if [ -n "$version" ] && ((version >= major)); then
      java=$candidate
      return
    fi
  done
  fail "$MISSING" "needs Java $major or newer, and found none; \$JAVA_HOME, \$PATH and /usr/lib/jvm were looked at"
}

from_maven() { # from_maven FOLDER FUNCTION: FUNCTION fills a new folder, once; concurrent callers wait for the first
  local folder=$1 fill=$2 fresh
  [ ! -d "$folder" ] || return 0
  command -v mvn > /dev/null || fail "$MISSING" "needs mvn (Apache Maven) to fetch ${folder#"$cache/"} once, and found none"
  mkdir -p "${folder%/*}"
  exec 9> "$folder.lock"
  flock 9
  if [ ! -d "$folder" ]; then
    echo "${0##*/}: fetching ${folder#"$cache/"} from Maven Central, once" >&2
    fresh=$(mktemp -d "$folder.XXXXXX") # beside it, so that the rename below is atomic
    "$fill" "$fresh" >&2 || { rm -rf "$fresh"; fail "$FAILED" "Maven could not fetch ${folder#"$cache/"}"; }
    mv "$fresh" "$folder"
  fi
  exec 9>&-
}

listening() { # listening PORT: does anything on loopback accept connections there?
  (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null
}

free_port() { # free_port NEIGHBOURS: NEIGHBOURS prints all the ports that a port needs
  local candidate each
  while :; do
    candidate=$((20000 + RANDOM % 11000)) # below those that Linux gives to clients: 32768 and up
    for each in $("$1" "$candidate"); do ! listening "$each" || continue 2; done
    echo "$candidate"
    return
  done
}

# shellcheck disable=SC2154
choose_port() { # choose_port FOLDER DEFAULT [NEIGHBOURS]: settles `port`, and `chosen`: yes when the choice was ours
  local known=""
  [ -z "$1" ] || known=$(cat "$1/port" 2> /dev/null || true)
  chosen=no
  [[ $port =~ ^([0-9]{1,5}|auto)?$ ]] || fail "$USAGE" "PORT is a number or auto, not '$port'"
  if [ -n "$known" ]; then
    [[ $port =~ ^(auto)?$ ]] || ((port == known)) ||
      fail "$USAGE" "what is in $1 has port $known, not $port: end it first, or take another folder"
    port=$known
  elif [ "$port" = auto ]; then
    [ "$command" = start ] || fail "$USAGE" "auto is for start: name the port, or the folder"
    # shellcheck disable=SC2034
    port=$(free_port "${3:-echo}") chosen=yes
  fi
  port=${port:-$2}
  ((port >= 1024 && port <= 65000)) || fail "$USAGE" "PORT must be from 1024 to 65000, not $port"
}

signal() { # signal NAME PID: the process may have gone by itself
  kill "-$1" "$2" 2> /dev/null || true
}

await() { # await SECONDS COMMAND...: polls until the command succeeds; fails when the time is up
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}
