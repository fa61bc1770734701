"""What every OpenAI-type provider says besides its answers: errors, limits, headers."""
