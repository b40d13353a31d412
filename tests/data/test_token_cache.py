"""The token cache: the same text and settings are read back, anything else is made anew, corrupt files never used."""

import importlib.util
import subprocess
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.data.encoded import encode_titles
from frontpage.data.token_cache import cache_key, cache_name, tokenize_cached
from frontpage.data.tokenizer import SPECIAL_TOKENS, TitleTokenizer
from frontpage.data.tokenizer.bpe import bpe
from frontpage.data.tokenizer.bytes import bytes as byte_tokenizer
from frontpage.data.tokenizer.title_tokenizer import BYTE_ALPHABET, byte_level

SPLITS = {"train": ["one title", "another title", "東京"], "validation": ["a third title"]}
FILES = ["tokenizer.json", "train_tokens.npy", "train_offsets.npy", "validation_tokens.npy", "validation_offsets.npy"]


class Counting:
    """bpe, counted; `factory` is what the cache is given."""

    def __init__(self):
        self.calls, self.refuse = 0, False
        self.factory = partial(self.make, vocab_size=280)

    def make(self, titles, vocab_size):
        assert not self.refuse, "the tokenizer was trained although it lay in the cache"
        self.calls += 1
        return bpe(titles, vocab_size)


@pytest.fixture(autouse=True)
def no_notices():
    forget_notices()


@pytest.fixture
def counting():
    return Counting()


def as_lists(encoded):
    return {name: (part.tokens.tolist(), part.offsets.tolist()) for name, part in encoded.items()}


def test_the_same_input_has_the_same_key():
    copied = {name: tuple(titles) for name, titles in SPLITS.items()}
    assert cache_key(partial(bpe, vocab_size=280), SPLITS) == cache_key(partial(bpe, vocab_size=280), copied)
    ordered = (partial(bpe, vocab_size=280, min_frequency=1), partial(bpe, min_frequency=1, vocab_size=280))
    assert cache_key(ordered[0], SPLITS) == cache_key(ordered[1], SPLITS)


def test_anything_changed_has_another_key(monkeypatch):
    train, validation = SPLITS["train"], SPLITS["validation"]
    factory = partial(bpe, vocab_size=280)
    keys = [
        cache_key(factory, SPLITS),
        cache_key(partial(bpe, vocab_size=281), SPLITS),
        cache_key(partial(bpe, vocab_size=280, min_frequency=2), SPLITS),
        cache_key(partial(byte_tokenizer, vocab_size=280), SPLITS),
        cache_key(bpe, SPLITS),
        cache_key(factory, {"train": [*train[:2], "東亰"], "validation": validation}),
        cache_key(factory, {"train": train[::-1], "validation": validation}),
        cache_key(factory, {"train": train[:2], "validation": [train[2], *validation]}),
        cache_key(factory, {"train": [*train, *validation], "validation": []}),
        cache_key(factory, {"train": train, "test": validation}),
        cache_key(factory, {"train": train}),
        # Titles that a careless separator would run together.
        cache_key(factory, {"train": ["one", "title\0another", "title"], "validation": validation}),
        cache_key(factory, {"train": ["one\0title", "another", "title"], "validation": validation}),
        cache_key(factory, {"train": ["one", 'title", "another', "title"], "validation": validation}),
    ]
    monkeypatch.setattr(tokenizers, "__version__", "0.0.0")
    keys.append(cache_key(factory, SPLITS))
    assert len(set(keys)) == len(keys)


def test_what_is_cached_is_the_encoding_of_the_tokenizer(tmp_path):
    tokenizer, encoded = tokenize_cached(tmp_path, partial(bpe, vocab_size=280), SPLITS)
    expected = bpe(SPLITS["train"], 280)
    assert tokenizer.encode_batch(SPLITS["train"]) == expected.encode_batch(SPLITS["train"])
    assert as_lists(encoded) == as_lists({name: encode_titles(expected, titles) for name, titles in SPLITS.items()})


def test_a_second_call_reads_and_does_not_train(tmp_path, counting):
    first, encoded = tokenize_cached(tmp_path, counting.factory, SPLITS)
    counting.refuse = True
    second, again = tokenize_cached(str(tmp_path), counting.factory, SPLITS)
    assert as_lists(again) == as_lists(encoded)
    assert second.encode_batch(SPLITS["train"]) == first.encode_batch(SPLITS["train"])
    assert second.decode(second.encode("<eos> 東京")) == "<eos> 東京"
    assert counting.calls == 1 and notices() == []
    counting.refuse = False
    tokenize_cached(tmp_path, counting.factory, {**SPLITS, "train": ["other"]})
    assert counting.calls == 2


@pytest.mark.parametrize("which", [0, 1])
def test_arrays_are_mapped_from_the_file_when_made_and_when_read(tmp_path, counting, which):
    for _ in range(which + 1):
        _, encoded = tokenize_cached(tmp_path, counting.factory, SPLITS)
    for part in encoded.values():
        assert isinstance(part.tokens, np.memmap) and not part.tokens.flags.writeable


def damaged(content, how):
    return {
        "a changed byte": content[:-1] + bytes([content[-1] ^ 1]),
        "cut short": content[: len(content) // 2],
        "empty": b"",
    }[how]


@pytest.mark.parametrize("how", ["a changed byte", "cut short", "empty", "missing"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_damaged_or_missing_is_made_again_with_a_notice(tmp_path, counting, name, how):
    _, encoded = tokenize_cached(tmp_path, counting.factory, SPLITS)
    path = tmp_path / cache_name(counting.factory, SPLITS) / name
    expected, whole = as_lists(encoded), path.read_bytes()
    del encoded
    path.unlink()
    if how != "missing":
        path.write_bytes(damaged(whole, how))
    _, again = tokenize_cached(tmp_path, counting.factory, SPLITS)
    assert as_lists(again) == expected and path.read_bytes() == whole
    assert counting.calls == 2
    (message,) = notices()
    assert "corrupt" in message and str(path.parent) in message
    counting.refuse = True
    tokenize_cached(tmp_path, counting.factory, SPLITS)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"{}", b"[]", b"null", b"17", b'"text"', b"\xff\xfe", b'{"tokenizer.json": 3}', b'{"../x": "y"}'],
    ids=str,
)
def test_checksums_that_say_nothing_are_not_believed(tmp_path, counting, content):
    _, encoded = tokenize_cached(tmp_path, counting.factory, SPLITS)
    path = tmp_path / cache_name(counting.factory, SPLITS) / "checksums.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    _, again = tokenize_cached(tmp_path, counting.factory, SPLITS)
    assert as_lists(again) == as_lists(encoded)
    assert counting.calls == 2 and "corrupt" in notices()[0]


OWN = """
from frontpage.data.tokenizer.bpe import bpe

def own(titles, vocab_size):
    return bpe(titles, {size})
"""


def own_tokenizer(folder, monkeypatch, size):
    """The function `own` of a module that makes `size` tokens."""
    (folder / "own_tokenizer.py").write_text(OWN.format(size=size))
    spec = importlib.util.spec_from_file_location("own_tokenizer", folder / "own_tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "own_tokenizer", module)
    spec.loader.exec_module(module)
    return partial(module.own, vocab_size=300)


def test_a_tokenizer_whose_code_was_edited_is_trained_anew_under_the_same_key(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of the first, of the same size in the same second
    sizes, keys = [], set()
    for size in (261, 262, 261):
        factory = own_tokenizer(tmp_path, monkeypatch, size)
        sizes.append(tokenize_cached(tmp_path / "cache", factory, SPLITS)[0].vocab_size)
        keys.add(cache_key(factory, SPLITS))
    folders = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert sizes == [261, 262, 261] and len(keys) == 1 and len(folders) == 2 and notices() == []


@pytest.mark.parametrize("name", ["frontpage.data.tokenizer.title_tokenizer", "frontpage.data.encoded"])
def test_what_every_tokenizer_shares_is_of_the_name(tmp_path, monkeypatch, name):
    factory, module = partial(byte_tokenizer, vocab_size=259), sys.modules[name]
    names = [cache_name(factory, SPLITS)]
    edited = tmp_path / "edited.py"
    edited.write_bytes(Path(module.__file__).read_bytes() + b"# edited\n")
    monkeypatch.setattr(module, "__file__", str(edited))
    names.append(cache_name(factory, SPLITS))
    assert len({*names}) == 2 and all(one.startswith(f"{cache_key(factory, SPLITS)}-") for one in names)


def test_a_function_of_no_file_is_named_by_the_key_alone(monkeypatch):
    def own(titles):
        return byte_tokenizer(titles, 259)

    own.__module__ = "a_notebook"
    monkeypatch.setitem(sys.modules, "a_notebook", types.ModuleType("a_notebook"))
    assert cache_name(own, SPLITS) == cache_key(own, SPLITS)


def test_what_a_killed_run_left_is_harmless(tmp_path, counting):
    key = cache_name(counting.factory, SPLITS)
    left = tmp_path / f"{key}.building"
    left.mkdir()
    (left / "tokenizer.json").write_text("half a tok")
    (left / "surplus").write_text("x")
    (tmp_path / f"{key}.lock").touch()
    _, encoded = tokenize_cached(tmp_path, counting.factory, SPLITS)
    assert as_lists(encoded)["train"][1][-1] == len(encoded["train"].tokens)
    assert not left.exists() and sorted(path.name for path in (tmp_path / key).iterdir()) == sorted(
        [*FILES, "checksums.json"]
    )
    assert counting.calls == 1 and notices() == []


def test_a_run_that_fails_while_building_leaves_nothing_to_be_read(tmp_path, counting):
    def failing(titles, vocab_size):
        raise RuntimeError("killed")

    failing.__module__, failing.__qualname__ = Counting.make.__module__, Counting.make.__qualname__
    factory = partial(failing, vocab_size=280)
    assert cache_name(factory, SPLITS) == cache_name(counting.factory, SPLITS)
    with pytest.raises(RuntimeError, match="killed"):
        tokenize_cached(tmp_path, factory, SPLITS)
    tokenize_cached(tmp_path, counting.factory, SPLITS)
    assert counting.calls == 1 and notices() == []


def test_a_cache_that_cannot_be_written_names_its_key(tmp_path, counting):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"paths\.cache_dir=.*file"):
        tokenize_cached(tmp_path / "file", counting.factory, SPLITS)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_tokens_take_two_bytes_where_the_vocabulary_allows(tmp_path, vocab_size, dtype):
    def large(titles):
        names = [*SPECIAL_TOKENS, *BYTE_ALPHABET, *(f"token {n}" for n in range(vocab_size - 259 - 1)), "Ġz"]
        vocabulary = {name: index for index, name in enumerate(names)}
        inner = byte_level(tokenizers.models.BPE(vocabulary, [("Ġ", "z")], unk_token="<unk>"))
        inner.add_special_tokens(list(SPECIAL_TOKENS))
        return TitleTokenizer(inner)

    tokenizer, encoded = tokenize_cached(tmp_path, large, {"train": ["z"], "validation": ["a"]})
    assert tokenizer.vocab_size == vocab_size
    assert encoded["train"].tokens.dtype == encoded["validation"].tokens.dtype == dtype
    assert encoded["train"].tokens.tolist() == [vocab_size - 1, 1]  # the last id is not cut


PROGRAM = """
import sys, time, pathlib, uuid
from frontpage.data.token_cache import tokenize_cached
from frontpage.command.notices import notices
from frontpage.data.tokenizer.bytes import bytes as byte_tokenizer

folder = pathlib.Path(sys.argv[1])

def slow(titles):
    (folder / f"call-{uuid.uuid4()}").touch()
    time.sleep(0.5)
    return byte_tokenizer(titles, 259)

(folder / f"ready-{uuid.uuid4()}").touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.005)
tokenizer, encoded = tokenize_cached(folder / "cache", slow, {"train": ["one", "two"], "validation": ["three"]})
print(tokenizer.vocab_size, encoded["train"].tokens.tolist(), encoded["validation"].tokens.tolist(), notices())
"""


@pytest.mark.slow
def test_two_runs_that_start_at_once_train_once_and_agree(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert outputs[0] == outputs[1] and outputs[0].startswith("259 [") and outputs[0].endswith("[]\n")
    assert len(list(tmp_path.glob("call-*"))) == 1
