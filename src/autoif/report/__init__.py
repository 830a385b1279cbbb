"""What a person sees of a run: the terminal's tables, a record's lineage, the dataset card."""
