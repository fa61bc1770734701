"""Who answers: providers, profiles, credentials."""
