"""The last step over all rows: benchmarks, near-duplicates and excess fall out."""
