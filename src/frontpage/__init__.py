"""Frontpage: small language models on Hacker News titles, measured honestly. Start reading at `train.py`."""
