"""A run as files: its recipe, its directory, its funnel, its progress."""
