"""A loader of titles whose lengths and tokens are known."""

from random_titles import EOS, PAD, encode

from frontpage.data.loader import TitleLoader


def make(**changes):
    settings = {"block_size": 5, "batch_size": 4, "seed": 3, "pad_id": PAD, "eos_id": EOS} | changes
    return TitleLoader(encode(TITLES), **settings)
