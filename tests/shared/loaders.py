"""A loader of titles whose lengths and tokens are known."""

from random_titles import EOS, PAD, encode, random_titles

from frontpage.data.loader import TitleLoader

TITLES = random_titles(60, 9, seed=8)


def make(**changes):
    settings = {"block_size": 5, "batch_size": 4, "seed": 3, "pad_id": PAD, "eos_id": EOS} | changes
    return TitleLoader(encode(TITLES), **settings)
