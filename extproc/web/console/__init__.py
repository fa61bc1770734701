"""The console: pages that show who spent what, how calls went, and what the gateway is configured to do."""
