"""What is at this path? Finds and reads runs, checkpoints, packed and converted weights."""
