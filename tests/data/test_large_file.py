"""A file that is read in a stream gives the titles, tokens, keys and batches of one that is read at once."""

import csv
import hashlib
import json
import random
import tracemalloc
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tokenizers
from random_titles import EOS, PAD, encode, random_rows, random_titles
from tiny import composed

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.data import large_file, loader, stored_titles, title_data, token_cache
from frontpage.data.encoded import EncodedTitles, encode_titles, write_encoded
from frontpage.data.files import read_titles
from frontpage.data.large_file import select_from_file
from frontpage.data.loader import TitleLoader
from frontpage.data.packing import IGNORED
from frontpage.data.selection import select_titles
from frontpage.data.stored_titles import StoredTitles
from frontpage.data.token_cache import cache_key, tokenize_cached
from frontpage.data.tokenizer.bpe import bpe
from frontpage.data.tokenizer.bytes import bytes as byte_tokenizer
from frontpage.runs.training_titles import title_hashes

SUFFIXES = (".parquet", ".csv", ".jsonl", ".txt")
ALL = {"num_titles": None, "val_frac": 0.2, "seed": 3}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of a few titles, so that a few titles are many pieces."""
    forget_notices()
    monkeypatch.setattr(large_file, "AT_ONCE", 7)
    monkeypatch.setattr(stored_titles, "AT_ONCE", 5)
    monkeypatch.setattr(token_cache, "AT_ONCE", 3)


def write(path, rows):
    """The rows as a file in the format that its name tells; those that a text file cannot hold are told by no line."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table({"title": pa.array(rows, pa.string())}), path, row_group_size=17)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([["id", "title"], *([1, row] for row in rows)])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"title": row}) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text("".join(row.replace("\n", " ") + "\n" for row in rows), encoding="utf-8", newline="")
    return path


def select(path, folder, *, column="title", unescape_html=False, **limits):
    return select_from_file(path, column, unescape_html, folder / "cache", **limits)


def told(chosen):
    return [*chosen.train], [*chosen.validation], chosen.rows, chosen.blank, chosen.repeated


@pytest.mark.parametrize("trial", range(40))
def test_the_selection_is_that_of_the_rows_in_memory(trial, tmp_path):
    generator = random.Random(trial)
    rows, suffix = random_rows(generator), generator.choice(SUFFIXES)
    path = write(tmp_path / f"titles{suffix}", [*rows, "one", "another"])
    rows = read_titles(path)
    there = {row.strip() for row in rows} - {""}
    limits = {
        "num_titles": generator.choice([None, generator.randint(2, len(there))]),
        "max_titles": generator.choice([None, None, generator.randint(2, 300)]),
        "val_frac": generator.choice([0.1, 0.5, generator.uniform(0.01, 0.99)]),
        "seed": generator.randrange(2**32),
    }
    try:
        expected = select_titles(rows, **limits)
    except UserError as error:
        with pytest.raises(UserError) as raised:
            select(path, tmp_path, **limits)
        assert str(raised.value) == str(error)
        return
    for _ in range(2):  # made, and found again
        chosen = select(path, tmp_path, **limits)
        assert told(chosen) == told(expected)
        for side, titles in ((chosen.train, expected.train), (chosen.validation, expected.validation)):
            assert isinstance(side, StoredTitles)
            assert (title_hashes(side) == title_hashes(titles)).all() and len(side) == len(titles)


def test_stored_titles_are_a_sequence(tmp_path):
    rows = [f"title {number} 日本" * (number % 3) + "." for number in range(30)]
    chosen = select(write(tmp_path / "titles.txt", rows), tmp_path, **ALL)
    stored, titles = chosen.train, select_titles(rows, **ALL).train
    assert [stored[place] for place in range(-len(titles), len(titles))] == titles + titles
    parts = [
        slice(None),
        slice(3, 9),
        slice(-4, None),
        slice(9, 3),
        slice(1, 20, 4),
        slice(None, None, -1),
        slice(50, 60),
    ]
    assert [stored[part] for part in parts] == [titles[part] for part in parts]
    with pytest.raises(IndexError):
        stored[len(titles)]
    assert titles[4] in stored and "no title" not in stored


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("null.jsonl", '{"title": "good"}\n{"title": null}\n'),
        ("column.jsonl", '{"titel": "good"}\n'),
        ("blank.txt", " \n\t\n"),
        ("ragged.csv", "title,score\nA,1\nB,2,3\n"),
        ("nul.txt", "good\nb\0d\n"),
        ("few.txt", "one\none\n"),
    ],
)
def test_a_mistake_is_told_in_the_same_words_and_leaves_nothing_behind(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as expected:
        select_titles(read_titles(path), **ALL)
    with pytest.raises(UserError) as raised:
        select(path, tmp_path, **ALL)
    assert str(raised.value) == str(expected.value)
    assert not [one for one in (tmp_path / "cache").iterdir() if one.suffix != ".lock"]


def test_entities_are_undone_or_told_every_time(tmp_path):
    rows = [f"Tom &amp; Jerry {number}" for number in range(10)] + ["R&D", "a &foo; b"]
    path = write(tmp_path / "titles.txt", rows)
    undone = select(path, tmp_path, unescape_html=True, **ALL)
    assert {*undone.train, *undone.validation} == {row.replace("&amp;", "&") for row in rows} and notices() == []
    for _ in range(2):
        forget_notices()
        assert {*select(path, tmp_path, **ALL).train} <= {*rows}
        (said,) = notices()
        assert f"data.path={path}: 10 of 12 rows" in said and "&amp;" in said


def test_a_file_that_has_changed_is_read_anew_and_one_that_was_damaged_is_made_again(tmp_path):
    path = write(tmp_path / "titles.txt", [f"title {number}" for number in range(20)])
    first = select(path, tmp_path, **ALL)
    expected, folder = told(first), first.train.folder
    kept = folder / "train.txt"
    kept.write_bytes(kept.read_bytes().swapcase())
    assert told(select(path, tmp_path, **ALL)) == expected and "corrupt" in notices()[0]
    assert len({select(path, tmp_path, **(ALL | {"seed": seed})).train.folder for seed in (3, 4)} | {folder}) == 2
    write(path, [f"TITLE {number}" for number in range(20)])
    assert all(title.startswith("TITLE") for title in select(path, tmp_path, **ALL).train)


def test_the_first_process_alone_reads_all_to_compare_checksums(tmp_path, monkeypatch):
    path = write(tmp_path / "titles.txt", [f"title {number}" for number in range(20)])
    kept = select(path, tmp_path, **ALL).train.folder / "train.txt"
    kept.write_bytes(kept.read_bytes().swapcase())
    for name, value in (("LOCAL_RANK", "1"), ("FRONTPAGE_FIRST_PROCESS", "1")):
        monkeypatch.setenv(name, value)
    assert select(path, tmp_path, **ALL).train[0].startswith("TITLE") and notices() == []
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert select(path, tmp_path, **ALL).train[0].startswith("title") and "corrupt" in notices()[0]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path, copy = write(tmp_path / "titles.txt", [f"title {number}" for number in range(20)]), large_file._copy

    def late(*arguments):
        write(path, ["another"] * 30)
        copy(*arguments)

    monkeypatch.setattr(large_file, "_copy", late)
    with pytest.raises(UserError, match=r"data\.path=.*while it is read"):
        select(path, tmp_path, **ALL)
    assert not [one for one in (tmp_path / "cache").iterdir() if one.suffix != ".lock"]


def key_at_once(factory, splits):
    """The key as it was when titles were lists: of all their text at once."""
    name = f"{factory.func.__module__}.{factory.func.__qualname__}".replace("frontpage.data.", "frontpage.")
    header = [1, tokenizers.__version__, name, dict(sorted(factory.keywords.items()))]
    digest = hashlib.blake2b(json.dumps(header).encode(), digest_size=16)
    for side, titles in splits.items():
        digest.update(json.dumps([side, *titles]).encode())
    return digest.hexdigest()


def test_the_key_of_titles_is_what_it_always_was_wherever_they_lie(tmp_path):
    rows = [*random_rows(random.Random(5)), 'quo"ted', "日本", "\\", "one"]
    chosen = select(write(tmp_path / "titles.parquet", rows), tmp_path, **ALL)
    stored = {"train": chosen.train, "validation": chosen.validation}
    lists = {name: [*titles] for name, titles in stored.items()}
    for factory in (partial(bpe, vocab_size=280), partial(byte_tokenizer, vocab_size=300)):
        expected = key_at_once(factory, lists)
        assert cache_key(factory, lists) == expected
        assert [cache_key(factory, stored) for _ in range(2)] == [expected] * 2
    assert cache_key(factory, {"train": [], "validation": ["x"]}) == key_at_once(
        factory, {"train": [], "validation": ["x"]}
    )
    kept, _ = (chosen.train.folder / "keys").glob("[0-9a-f]*")
    kept.write_text("damaged")
    assert cache_key(factory, stored) == expected


@pytest.mark.parametrize("count", [0, 1, 25])
def test_tokens_are_written_as_numpy_writes_them(tmp_path, monkeypatch, count):
    monkeypatch.setattr("frontpage.data.encoded.AT_ONCE", 4)
    titles = [f"title {number} 日本"[: 3 + number] for number in range(count)]
    tokenizer = byte_tokenizer([], 259)
    write_encoded(tokenizer, titles, tmp_path / "tokens.npy", tmp_path / "offsets.npy")
    expected = encode_titles(tokenizer, titles)
    for name in ("tokens", "offsets"):
        np.save(tmp_path / "expected.npy", getattr(expected, name))
        assert (tmp_path / f"{name}.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()
    loop = [token for title in titles for token in [*tokenizer.encode(title), tokenizer.eos_id]]
    assert expected.tokens.tolist() == loop and expected.tokens.dtype == np.uint16
    assert expected.offsets.tolist() == [0, *np.cumsum([len(tokenizer.encode(title)) + 1 for title in titles])]


def built(path, folder, *overrides):
    config = composed(
        "data=hn_titles", f"data.path={path}", "data.num_titles=null", "tokenizer.vocab_size=300", "data.block_size=16",
        "data.batch_size=4", f"paths.cache_dir={folder}", *overrides,
    )  # fmt: skip
    data = build(config.data, "data")
    data.setup()
    return data


@pytest.mark.slow
def test_a_run_has_the_same_data_however_its_file_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "titles.parquet", [f"title {n * n % 97} of {n % 60}" for n in range(400)])
    at_once = built(path, tmp_path / "one")
    monkeypatch.setattr(large_file, "LARGE", 100)
    streamed = built(path, tmp_path / "two")
    assert isinstance(streamed.training_texts(), StoredTitles) and isinstance(at_once.training_texts(), list)
    assert streamed.fingerprint == at_once.fingerprint
    assert streamed.description() | {"seconds": 0} == at_once.description() | {"seconds": 0}
    folders = [(tmp_path / of).glob(f"{at_once.fingerprint}*/*") for of in ("one", "two")]
    files = [{one.name: one.read_bytes() for one in folder} for folder in folders]
    assert files[0] == files[1] and len(files[0]) == 6
    for one, other in (
        (at_once.loader_of(), streamed.loader_of()),
        (at_once.val_dataloader(), streamed.val_dataloader()),
    ):
        assert lists_of(one) == lists_of(other)
    monkeypatch.setattr(title_data, "read_titles", None)  # days are read at once
    assert told(streamed.selection) == told(at_once.selection)


def lists_of(batches):
    return [[field.tolist() for field in batch if field is not None] for batch in batches]


class Watched(np.ndarray):
    """Tokens that remember which of them were read."""

    def __getitem__(self, index):
        if isinstance(index, np.ndarray):
            self.read.update(index.tolist())
        return super().__getitem__(index)


def watched(titles):
    encoded = encode(titles)
    tokens = encoded.tokens.view(Watched)
    tokens.read = set()
    return EncodedTitles(tokens, encoded.offsets)


@pytest.mark.parametrize("drop_tail", [False, True])
@pytest.mark.parametrize(("block_size", "batch_size"), [(1, 2), (5, 3), (16, 2)])
def test_pieces_of_an_epoch_and_shares_of_processes_are_the_epoch(block_size, batch_size, drop_tail, monkeypatch):
    titles = random_titles(60, 12, seed=4) + random_titles(1, 90, seed=9)
    sizes = {"block_size": block_size, "seed": 3, "pad_id": PAD, "eos_id": EOS, "drop_tail": drop_tail}

    def epochs(rows, rank=0, world_size=1, at_once=2**20):
        monkeypatch.setattr(loader, "AT_ONCE", at_once)
        tokens = watched(titles)
        batches = TitleLoader(tokens, batch_size=rows, rank=rank, world_size=world_size, **sizes)
        return [lists_of(batches) for _ in range(2)], tokens.tokens.read

    whole, _ = epochs(6 * batch_size)
    for at_once in (1, 4 * block_size * batch_size, 2**20):
        assert epochs(6 * batch_size, at_once=at_once)[0] == whole
        for world_size in (2, 3):
            rows = 6 * batch_size // world_size
            shares = [epochs(rows, rank, world_size, at_once) for rank in range(world_size)]
            for epoch, batches in enumerate(whole):
                for index, batch in enumerate(batches):
                    for field, expected in enumerate(batch):
                        parts = [share[epoch][index][field] for share, _ in shares]
                        assert len({len(part) for part in parts}) == 1
                        found = [part[place] for place in range(len(parts[0])) for part in parts]
                        assert found[: len(expected)] == expected
                        added = found[len(expected) :]
                        assert field != 1 or all(token == IGNORED for row in added for token in row)


def test_a_process_reads_the_tokens_of_its_own_windows():
    titles = random_titles(200, 12, seed=4)
    tokens = [watched(titles) for _ in range(4)]
    for rank, of in enumerate(tokens):
        rows = TitleLoader(of, block_size=8, batch_size=2, seed=3, pad_id=PAD, eos_id=EOS, rank=rank, world_size=4)
        for _ in range(rows.batches):
            rows.batch(0, _)
    read = [of.tokens.read for of in tokens]
    everything = sum(map(len, titles))
    assert set().union(*read) == {*range(everything)}
    assert max(map(len, read)) < everything / 4 * 1.3  # its own windows, and what stands before each


@pytest.mark.slow
def test_memory_grows_by_a_few_numbers_a_title(tmp_path, monkeypatch):
    """Whatever the titles' length: of ten times as many titles the text is 22 MB larger."""
    for module, pieces in ((large_file, 1000), (stored_titles, 500), (token_cache, 500)):
        monkeypatch.setattr(module, "AT_ONCE", pieces)
    monkeypatch.setattr("frontpage.data.encoded.AT_ONCE", 500)
    monkeypatch.setattr(loader, "AT_ONCE", 2**12)

    def peak(count):
        path = tmp_path / f"titles{count}.txt"
        path.write_text("".join(f"{number:<8} {'x y ' * 100}.\n" for number in range(count)), encoding="utf-8")
        tracemalloc.start()
        try:
            chosen = select(path, tmp_path, **ALL)
            splits = {"train": chosen.train, "validation": chosen.validation}
            tokenizer, encoded = tokenize_cached(tmp_path / "cache", partial(byte_tokenizer, vocab_size=300), splits)
            title_hashes(chosen.train)
            batches = TitleLoader(
                encoded["train"], block_size=64, batch_size=4, seed=1, pad_id=tokenizer.pad_id, eos_id=tokenizer.eos_id
            )
            batches.batch(0, 3)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = 600, 6000
    assert (peak(many) - peak(few)) / (many - few) < 150
