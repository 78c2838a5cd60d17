"""The networks, one idea a file."""
