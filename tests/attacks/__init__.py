"""The red team: hostile functions, and the judge who says whether the sandbox held."""
