"""Searches with Optuna: `python train.py --multirun hparams_search=...`; docs/sweeps.md tells how to use them."""
