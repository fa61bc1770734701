"""Attributes by which our own Envoy says what no header may: where a call comes from, and by which certificate.

https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes
"""

DETAILS = "response.code_details"
ATTEMPTS_MADE = "upstream.request_attempt_count"
CLUSTER = "xds.cluster_name"
"""Asked for by the filter in a provider's cluster only: that is how an attempt is told from an admission."""
SOURCE = "source.address"

CHAIN = "xds.filter_chain_name"
URI = "connection.uri_san_peer_certificate"
SUBJECT = "connection.subject_peer_certificate"
SHA256 = "connection.sha256_peer_certificate_digest"
CLIENT_CERTIFICATE = (CHAIN, URI, SUBJECT, SHA256)

VERIFIED_CLIENTS = "extproc.verified_clients"
"""Name of the listener's filter chain where it verifies clients' certificates. Another Envoy has no chain of this name:
it may pass on certificates that nobody has verified (`ACCEPT_UNTRUSTED`), or those of a balancer in front of it."""
