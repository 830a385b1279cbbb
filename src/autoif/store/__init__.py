"""The call store: every answered model call, durable before its answer is used."""
