"""What serves a Messages client, whichever dialect its provider speaks: its requests read, its answers written."""
