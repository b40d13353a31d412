"""The tokenizer and the encoded titles on disk, under a hash of the text and the settings that made them."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import tokenizers

from frontpage.command.disk_full import replacing
from frontpage.command.interrupts import heard
from frontpage.data.cache_folder import cache_folder
from frontpage.data.encoded import EncodedTitles, write_encoded
from frontpage.data.stored_titles import StoredTitles
from frontpage.data.tokenizer import TitleTokenizer

FORMAT = 1  # raise it when the files below change their meaning
AT_ONCE = 10_000  # titles that are hashed together
TokenizerFactory = Callable[[Sequence[str]], TitleTokenizer]


def tokenize_cached(
    cache_dir: Path | str, factory: TokenizerFactory, splits: Mapping[str, Sequence[str]]
) -> tuple[TitleTokenizer, dict[str, EncodedTitles]]:
    """Train a tokenizer on `splits["train"]` and encode every split, or read what an earlier run left.

    Titles are encoded in pieces, each written before the next. Arrays of tokens are memory-mapped. See `cache_folder`.
    """

    def build(folder: Path) -> None:
        tokenizer = heard(factory, splits["train"])
        tokenizer.save(folder / "tokenizer.json")
        for name, titles in splits.items():
            heard(write_encoded, tokenizer, titles, folder / f"{name}_tokens.npy", folder / f"{name}_offsets.npy")

    needed = {"tokenizer.json", *(f"{name}_{part}.npy" for name in splits for part in ("tokens", "offsets"))}
    with cache_folder(cache_dir, cache_name(factory, splits), needed, build, "token cache") as folder:
        encoded = {
            name: EncodedTitles(
                np.load(folder / f"{name}_tokens.npy", mmap_mode="r"), np.load(folder / f"{name}_offsets.npy")
            )
            for name in splits
        }
        return TitleTokenizer.load(folder / "tokenizer.json"), encoded


def cache_name(factory: TokenizerFactory, splits: Mapping[str, Sequence[str]]) -> str:
    """The folder of the cache: the key, and what changes with the code that makes tokens."""
    return "-".join(filter(None, (cache_key(factory, splits), _code(factory))))


def cache_key(factory: TokenizerFactory, splits: Mapping[str, Sequence[str]]) -> str:
    """A name that changes with the tokenizer's settings, the library's version, and any title or its side.

    Of titles that lie on the disk it is kept beside them.
    """
    function = _function(factory)
    settings = dict(sorted(factory.keywords.items())) if isinstance(factory, partial) else {}
    # Under the name that it had when the first runs wrote their fingerprints, which is what tells their titles again.
    name = f"{function.__module__}.{function.__qualname__}".replace("frontpage.data.tokenizer.", "frontpage.tokenizer.")
    header = json.dumps([FORMAT, tokenizers.__version__, name, settings], default=str).encode()
    kept = _kept_key(header, splits)
    if kept is None:
        return _key(header, splits)
    kept.parent.mkdir(exist_ok=True)
    with filelock.FileLock(kept.parent / ".lock"):
        if not (kept.exists() and re.fullmatch("[0-9a-f]{32}", kept.read_text())):
            with replacing(kept) as partial_file:
                partial_file.write_text(_key(header, splits))
        return kept.read_text()


def _function(factory: TokenizerFactory) -> Callable[..., TitleTokenizer]:
    return factory.func if isinstance(factory, partial) else factory


def _code(factory: TokenizerFactory) -> str:
    """A digest of the files with the tokenizer's function and with what encodes; nothing for one of no file."""
    digest = hashlib.blake2b(digest_size=4)
    for made in (_function(factory), TitleTokenizer, write_encoded):
        file = getattr(inspect.getmodule(made), "__file__", None)
        if not (file and Path(file).is_file()):  # of a notebook, or of `python -c`
            return ""
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _key(header: bytes, splits: Mapping[str, Sequence[str]]) -> str:
    digest = hashlib.blake2b(header, digest_size=16)
    for name, titles in splits.items():  # `json.dumps([name, *titles])`, which may be larger than memory
        digest.update(json.dumps([name])[:-1].encode())
        for start in range(0, len(titles), AT_ONCE):
            digest.update(f", {json.dumps(list(titles[start : start + AT_ONCE]))[1:-1]}".encode())
        digest.update(b"]")
    return digest.hexdigest()


def _kept_key(header: bytes, splits: Mapping[str, Sequence[str]]) -> Path | None:
    """Where the key of titles on the disk is kept; None for any others."""
    folders = {titles.folder if isinstance(titles, StoredTitles) else None for titles in splits.values()}
    folder = folders.pop() if len(folders) == 1 else None
    names = hashlib.blake2b(header + json.dumps([*splits]).encode(), digest_size=16)
    return folder and folder / "keys" / names.hexdigest()
