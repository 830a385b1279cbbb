"""From a verifier to verified samples."""
