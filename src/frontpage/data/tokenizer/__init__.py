"""Tokenizers of titles, one algorithm a file: `bpe`, `unigram`, `bytes`."""

from frontpage.data.tokenizer.title_tokenizer import EOS, PAD, SPECIAL_TOKENS, UNK, TitleTokenizer

__all__ = ["EOS", "PAD", "SPECIAL_TOKENS", "UNK", "TitleTokenizer"]
