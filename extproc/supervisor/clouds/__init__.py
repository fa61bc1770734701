"""The credentials of clouds: fetched and renewed here, and sent to the workers."""
