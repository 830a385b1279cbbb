"""The heart: (checks, texts) -> verdicts; verifier rows, preference pairs, rewards."""
