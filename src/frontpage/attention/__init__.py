"""Attention variants, one a file; `parts` has the contract that they share, `kernels` the faster computations."""
