"""The developer's half: signs in at a gateway, keeps the tokens, and starts clients with them.

It installs without the gateway's dependencies and imports none of its modules but `printable` and `version`.
"""
