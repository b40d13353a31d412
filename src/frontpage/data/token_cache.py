"""The tokenizer and the encoded titles on disk, under a hash of the text and the settings that made them."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import tokenizers

from frontpage.command.disk_full import is_full, writing
from frontpage.command.errors import BadValue
from frontpage.command.interrupts import heard
from frontpage.command.notices import notice
from frontpage.data.encoded import EncodedTitles, encode_titles
from frontpage.data.tokenizer import TitleTokenizer

FORMAT = 1  # raise it when the files below change their meaning
TokenizerFactory = Callable[[Sequence[str]], TitleTokenizer]


def tokenize_cached(
    cache_dir: Path | str, factory: TokenizerFactory, splits: Mapping[str, Sequence[str]]
) -> tuple[TitleTokenizer, dict[str, EncodedTitles]]:
    """Train a tokenizer on `splits["train"]` and encode every split, or read what an earlier run left.

    The folder is filled under another name and then renamed, under a lock, so two runs that start at once build it
    once. A folder whose files do not match its checksums is rebuilt, and a notice says so. Arrays are memory-mapped.
    """
    key = cache_key(factory, splits)
    folder = Path(cache_dir) / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            problem = _problem(folder, splits)
            if problem:
                notice(f"the token cache {folder} was corrupt ({problem}) and was rebuilt")
                shutil.rmtree(folder)
            if not folder.exists():
                _build(folder, factory, splits)
            return _read(folder, splits)
    except OSError as error:
        if is_full(error):
            raise
        raise BadValue("paths.cache_dir", cache_dir, f"cannot be written ({error.strerror})") from error


def cache_key(factory: TokenizerFactory, splits: Mapping[str, Sequence[str]]) -> str:
    """A name that changes with the tokenizer's settings, the library's version, and any title or its side."""
    digest = hashlib.blake2b(digest_size=16)
    function = factory.func if isinstance(factory, partial) else factory
    settings = dict(sorted(factory.keywords.items())) if isinstance(factory, partial) else {}
    # Under the name that it had when the first runs wrote their fingerprints, which is what tells their titles again.
    name = f"{function.__module__}.{function.__qualname__}".replace("frontpage.data.tokenizer.", "frontpage.tokenizer.")
    header = [FORMAT, tokenizers.__version__, name, settings]
    digest.update(json.dumps(header, default=str).encode())
    for name, titles in splits.items():
        digest.update(json.dumps([name, *titles]).encode())
    return digest.hexdigest()


def _build(folder: Path, factory: TokenizerFactory, splits: Mapping[str, Sequence[str]]) -> None:
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)  # what a killed run left; we hold the lock
    tokenizer = heard(factory, splits["train"])
    try:
        with writing(folder):
            building.mkdir()
            tokenizer.save(building / "tokenizer.json")
            for name, titles in splits.items():
                encoded = heard(encode_titles, tokenizer, titles)
                np.save(building / f"{name}_tokens.npy", encoded.tokens)
                np.save(building / f"{name}_offsets.npy", encoded.offsets)
            checksums = {path.name: _checksum(path) for path in sorted(building.iterdir())}
            (building / "checksums.json").write_text(json.dumps(checksums, indent=1))
            os.replace(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _problem(folder: Path, splits: Mapping[str, Sequence[str]]) -> str | None:
    """What is wrong with an existing folder, or None."""
    if not folder.exists():
        return None
    try:
        checksums = json.loads((folder / "checksums.json").read_text())
        needed = {"tokenizer.json", *(f"{name}_{part}.npy" for name in splits for part in ("tokens", "offsets"))}
        if not needed <= checksums.keys():
            return "checksums.json is incomplete"
        for name, expected in checksums.items():
            if _checksum(folder / name) != expected:
                return f"{name} has changed"
    except (OSError, ValueError, AttributeError) as error:
        return f"{type(error).__name__} in checksums.json or a file it names"
    return None


def _read(folder: Path, splits: Mapping[str, Sequence[str]]) -> tuple[TitleTokenizer, dict[str, EncodedTitles]]:
    encoded = {
        name: EncodedTitles(
            np.load(folder / f"{name}_tokens.npy", mmap_mode="r"), np.load(folder / f"{name}_offsets.npy")
        )
        for name in splits
    }
    return TitleTokenizer.load(folder / "tokenizer.json"), encoded


def _checksum(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
