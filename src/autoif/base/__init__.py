"""What everything stands on: records, errors, files. Imports nothing of ours."""
