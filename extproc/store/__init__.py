"""What outlives a call: pending sign-ins, keys, revocations. One interface, an embedded and a shared implementation."""
