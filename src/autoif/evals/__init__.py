"""Room 3: responses or weights to scores."""
