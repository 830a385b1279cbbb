"""The reward over HTTP, in the words of the trainers that ask for it."""
