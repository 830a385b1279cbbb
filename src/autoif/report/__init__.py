"""What a person sees of a run: tables in a terminal, pages in a browser, the dataset card."""
