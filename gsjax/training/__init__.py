"""A run: its loop, its step, and what it leaves in its workdir."""
