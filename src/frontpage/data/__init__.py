"""Where titles come from, which are used, and how they become batches."""
