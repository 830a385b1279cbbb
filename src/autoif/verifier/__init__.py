"""The heart: (checks, texts) -> verdicts, and what follows from verdicts: pairs, rewards."""
