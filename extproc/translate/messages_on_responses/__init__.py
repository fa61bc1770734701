"""A Messages client answered by a Responses provider."""
