"""The steps of a call, and what is known of it at its end."""
