"""The prompts, one readable file each, and how answers to them are read."""
