"""What is at this path? Runs, checkpoints, packed and converted weights, found and read."""
