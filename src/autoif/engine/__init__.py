"""Runs a recipe in a directory: shards, order, stop, merge; the dry run; train and evaluate."""
