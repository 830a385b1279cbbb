"""A run's rows in the shape of a trainer: data, the reward as that trainer calls it, a
configuration to begin with, and a README with the command that starts a training.

    rows --which? (level, pass rate)--> examples --which split?--> a format's files --> a directory

Rows are read as often as there are questions about all of them, and never held: memory does not
grow with their number.
"""
