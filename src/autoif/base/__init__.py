"""Records, errors, files, JSON lines, TOML, languages. Imports nothing of ours."""
