"""Low-voltage topology: which transformer, which phase and which neighbour a meter has, from what the meters tell."""
