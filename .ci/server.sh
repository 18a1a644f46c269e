# Starts and stops one `meridian dev` for the scripts that source this. They run from the root of the repository with
# `set -euo pipefail`. Only processes started here are ever signalled, by their pid.

meridian=${MERIDIAN_BIN:-target/release/meridian}
scratch=$(mktemp -d)
server="" http="" grpc="" log="$scratch/server.log"

# clean_up: the end of every script, also the bad one: the server's log is what explains it.
clean_up() {
    local code=$?
    if [ -n "$server" ] && kill -KILL "$server" 2>/dev/null; then
        wait "$server" 2>/dev/null || true
    fi
    if [ "$code" -ne 0 ] && [ -s "$log" ]; then
        printf '\n-- the last lines of the server:\n' >&2
        tail -n 40 "$log" >&2
    fi
    rm -rf "$scratch"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# free_ports N: N different ports that nobody listens on now.
free_ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))
PY
}

# choose_ports: sets http and grpc for the whole script, so that a restart finds the same ones.
choose_ports() {
    local ports
    ports=$(free_ports 2)
    http="127.0.0.1:${ports% *}"
    grpc="127.0.0.1:${ports#* }"
}

# start_server DATA ARGS...: starts `dev` and returns when it can take writes.
start_server() {
    local data=$1 deadline=$((SECONDS + 60))
    shift
    # Job control gives the child SIGINT's default action, as a terminal would.
    set -m
    "$meridian" dev --data "$data" --http "$http" --grpc "$grpc" "$@" >>"$log" 2>&1 </dev/null &
    server=$!
    set +m
    until curl -fsS -o /dev/null --max-time 2 "http://$http/ready" 2>/dev/null; do
        kill -0 "$server" 2>/dev/null || fail "the server ended before it was ready"
        [ "$SECONDS" -lt "$deadline" ] || fail "the server was not ready within 60 seconds"
        sleep 0.1
    done
}

# stop_server SIGNAL: sends it, waits for the end, and leaves the exit code in `stopped`.
stop_server() {
    local deadline=$((SECONDS + 30))
    stopped=0
    kill "-$1" "$server"
    while kill -0 "$server" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || fail "the server did not end within 30 seconds of SIG$1"
        sleep 0.1
    done
    wait "$server" 2>/dev/null || stopped=$?
    server=""
}
