"""The last step over all rows: out with benchmarks, duplicates and excess."""
