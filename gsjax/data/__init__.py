"""Where images come from, the holes in them, and the batches that are made of both."""
