"""The benchmarks' constraint types: which one a text states, and a checker for each."""
