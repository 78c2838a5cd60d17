"""Image sources, masks and holes, and the batches made from them."""
