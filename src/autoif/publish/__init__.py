"""A dataset to the Hugging Face hub: which files are sent, what must never be in them, the sending.

    directory --allow-list--> staged files --searched for keys--> a repository, private by default

Only what `staging` names is staged, and only what is staged is sent: a call store, a recipe or a
file that somebody left in the directory never is.
"""
