"""Runs as one page: table, curves, configurations key by key, samples, memory and speed."""
