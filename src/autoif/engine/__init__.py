"""Runs a recipe in a directory: shards, order, stop, merge."""
