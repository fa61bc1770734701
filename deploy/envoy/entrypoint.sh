#!/bin/busybox sh
# Envoy alone ends at SIGTERM at once and cuts what runs. Here it finishes that first, and takes no new connection.
# Arguments go to Envoy; `health` alone asks whether it serves and sees a processor that does.
# DRAIN_SECONDS: at most so long; keep it below the time that is given for stopping.
admin=http://127.0.0.1:9901

ask() { /bin/busybox wget -q -O - "$@" 2>/dev/null; }

is_zero() { ask "$admin/stats?filter=^$1\$" | /bin/busybox grep -q ': 0$'; }

drain() {
  ask --post-data= "$admin/healthcheck/fail" >/dev/null # each answer from now on closes its connection
  ask --post-data= "$admin/drain_listeners" >/dev/null
  end=$(($(/bin/busybox date +%s) + ${DRAIN_SECONDS:-600}))
  until is_zero http.gateway.downstream_rq_active || [ "$(/bin/busybox date +%s)" -ge "$end" ]; do
    kill -0 "$envoy" 2>/dev/null || return
    /bin/busybox sleep 0.2
  done
  kill -TERM "$envoy"
}

if [ "$*" = health ]; then
  ask "$admin/ready" >/dev/null && ! is_zero cluster.extproc.membership_healthy
  exit
fi

trap drain TERM INT
/usr/local/bin/envoy "$@" &
envoy=$!
wait "$envoy"
status=$?
# The trap ended that wait; Envoy's own status is what counts.
while kill -0 "$envoy" 2>/dev/null; do
  wait "$envoy"
  status=$?
done
exit "$status"
