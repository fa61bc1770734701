"""Company sign-in: an OpenID Connect provider says who somebody is, and the gateway issues tokens of its own."""
