"""Models that transformers loads, with or without an adapter."""
