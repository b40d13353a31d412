"""What tests of epochs that differ look at: a small corpus, the tokens of its titles, batches as lists."""

import itertools

from tiny import composed

from frontpage.command.build import build


def data_of(folder, *overrides):
    small = ("data=synthetic", "data.num_titles=120", "data.block_size=32", "data.batch_size=4", "tokenizer=unigram")
    data = build(composed(*small, "tokenizer.vocab_size=400", f"paths.cache_dir={folder}", *overrides).data, "data")
    data.read()
    data.setup()
    return data


def titles_of(encoded):
    """The tokens of each title, its `<eos>` left out."""
    return [encoded.tokens[start : end - 1].tolist() for start, end in itertools.pairwise(encoded.offsets)]


def lists(batches):
    return [[field.tolist() for field in batch] for batch in batches]
