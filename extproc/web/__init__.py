"""The web process: pages, OAuth endpoints and other paths beside the models', each topic a module."""
