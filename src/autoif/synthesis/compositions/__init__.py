"""Several verified constraints in one prompt or conversation."""
