#!/bin/busybox sh
# Envoy in the folder that `extproc serve --envoy-folder` keeps. Arguments go to Envoy.
# Alone it ends at SIGTERM at once and cuts what runs. Here it finishes that first, and takes no new connection.
#   entrypoint.sh health    whether Envoy listens and sees a processor that serves
#   ENVOY_FOLDER            default: /run/envoy
#   DRAIN_SECONDS           at most so long; keep it below the time that is given for stopping; default: 600
wget() { /bin/busybox wget -q -O - "$@" 2>/dev/null; }
grep() { /bin/busybox grep -q "$1"; }
now() { /bin/busybox date +%s; }

# busybox speaks to no Unix socket, so this much of Envoy's administration is on loopback: whether it is ready, its
# listeners and statistics, and the two steps of a drain. The rest stays on admin.sock, which is for this user alone.
address=127.0.0.1:9901
admin='{static_resources: {
  clusters: [{name: admin, type: STATIC, load_assignment: {cluster_name: admin, endpoints: [{lb_endpoints: [
    {endpoint: {address: {pipe: {path: admin.sock}}}}]}]}}],
  listeners: [{name: admin, address: {socket_address: {address: 127.0.0.1, port_value: 9901}},
    bypass_overload_manager: true, filter_chains: [{filters: [{
      name: envoy.filters.network.http_connection_manager, typed_config: {
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: relay, codec_type: HTTP1, http_filters: [{name: envoy.filters.http.router, typed_config: {
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}],
        route_config: {virtual_hosts: [{name: admin, domains: ["127.0.0.1:9901"], routes: [
          {match: {path: /ready, headers: [{name: ":method", string_match: {exact: GET}}]}, route: {cluster: admin}},
          {match: {path: /listeners, headers: [{name: ":method", string_match: {exact: GET}}]}, route: {cluster: admin}},
          {match: {path: /stats, headers: [{name: ":method", string_match: {exact: GET}}]}, route: {cluster: admin}},
          {match: {path: /healthcheck/fail, headers: [{name: ":method", string_match: {exact: POST}}]},
            route: {cluster: admin}},
          {match: {path: /drain_listeners, headers: [{name: ":method", string_match: {exact: POST}}]},
            route: {cluster: admin}}]}]}}}]}]}]}}'

stat() { wget "$address/stats?filter=^$1\$"; }

drain() {
  wget --post-data= "$address/healthcheck/fail" # each answer from now on closes its connection
  wget --post-data= "$address/drain_listeners?inboundonly"
  end=$(($(now) + ${DRAIN_SECONDS:-600}))
  until stat http.gateway.downstream_rq_active | grep ': 0$' || [ "$(now)" -ge "$end" ]; do
    kill -0 "$envoy" 2>/dev/null || return
    /bin/busybox sleep 0.2
  done
  # Envoy 1.40 may crash at SIGTERM while a stream to the processor is in its last moment; its log would not be written.
  /bin/busybox sleep 0.3
  kill -TERM "$envoy"
} >/dev/null

if [ "$*" = health ]; then
  wget "$address/ready" | grep LIVE && wget "$address/listeners" | grep '^gateway::' && stat cluster.extproc.membership_healthy | grep ': [1-9]'
  exit
fi

trap drain TERM INT
cd "${ENVOY_FOLDER:-/run/envoy}" || exit
# A listener that a reload replaces has an hour for what runs (docs/reload.md).
envoy -c bootstrap.json --config-yaml "$admin" --disable-hot-restart --drain-time-s 3600 --drain-strategy immediate \
  --log-level warn "$@" &
envoy=$!
wait "$envoy"
status=$?
# The trap ended that wait; Envoy's own status is what counts.
while kill -0 "$envoy" 2>/dev/null; do
  wait "$envoy"
  status=$?
done
exit "$status"
