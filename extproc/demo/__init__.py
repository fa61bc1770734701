"""Stand-ins for the laptop and the tests: a model, an identity provider, a client. They know nothing of the gateway."""
