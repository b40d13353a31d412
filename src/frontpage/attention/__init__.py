"""Attention variants, one a file; the contract they share is in `base`."""
