"""From an instruction to functions that decide it."""
