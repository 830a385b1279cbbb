"""Where instructions come from: seeds, proposals, the user's files."""
