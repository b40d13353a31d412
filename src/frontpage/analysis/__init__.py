"""What the notebooks measure: near-duplicates, dependence by distance, token by token losses, attention maps, costs."""
