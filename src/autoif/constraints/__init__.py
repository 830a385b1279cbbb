"""What an instruction demands: the benchmarks' constraint types and their checkers."""
