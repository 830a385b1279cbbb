"""A run as files: recipe, directory, funnel, progress, reader."""
