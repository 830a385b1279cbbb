"""What a person sees of a run: the funnel, a record's story, the dataset card."""
