"""AutoIF: instruction-following training data, proved by running code."""

__version__ = "0.1.0"
