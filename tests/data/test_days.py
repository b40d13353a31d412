"""Promises of titles joined by day: whole days in the order of time, on one side, with every title once."""

import csv
import json
import random
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from epochs_of_titles import data_of
from tiny import composed

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.data import hub
from frontpage.data.days import all_days, select_days
from frontpage.data.documents import APART, Joined
from frontpage.data.encoded import encode_titles
from frontpage.data.epoch_titles import number_of
from frontpage.data.packing import IGNORED
from frontpage.data.text_sizes import TextSizes
from frontpage.data.times import as_times, read_times
from frontpage.data.token_cache import cache_key
from frontpage.evaluation.floor import floor_of

NOON = datetime(2016, 1, 30, 12)


def dated_rows(generator):
    """Rows with blanks and repeats, and their times, of which some are equal."""
    count, days = generator.randint(2, 150), generator.randint(1, 12)
    rows = [
        generator.choice(["", " ", "\t"]) + generator.choice(["", f"title {generator.randrange(count)}"])
        for _ in range(count)
    ]
    moments = (timedelta(days=generator.randrange(days), hours=generator.randrange(4)) for _ in rows)
    return rows, [datetime(2016, 2, 27) + moment for moment in moments]


def days_of(titles, documents):
    return [titles[start:end] for start, end in zip(documents.starts[:-1], documents.starts[1:], strict=True)]


@pytest.mark.parametrize("trial", range(60))
def test_each_document_is_what_is_left_of_a_day_in_the_order_of_time(trial):
    generator = random.Random(trial)
    rows, times = dated_rows(generator)
    there = {row.strip() for row in rows} - {""}
    num_titles = generator.choice([None, generator.randint(1, max(len(there), 1))])
    val_frac = generator.choice([0.1, 0.5, generator.uniform(0.01, 0.99)])
    arguments = {"num_titles": num_titles, "val_frac": val_frac, "seed": trial}
    days = sorted({when.date() for when in times})
    expected, taken = [], set()
    for place in np.random.default_rng(trial).permutation(len(days)):
        written = [(when, row.strip()) for row, when in zip(rows, times, strict=True) if when.date() == days[place]]
        written.sort(key=lambda one: (one[0], number_of(f"{trial} {one[1]}")))
        day = []
        for _, title in written:
            if title and title not in taken and len(taken) != num_titles:
                taken.add(title)
                day.append(title)
        expected += [day] if day else []
    assert len(taken) == (num_titles or len(there))

    if len(expected) < 2:
        with pytest.raises(UserError, match=f"data.join=day: all {len(taken)} titles are of one day"):
            select_days(rows, times, **arguments)
        return
    chosen = select_days(rows, times, **arguments)
    train = days_of(chosen.train, chosen.train_documents)
    validation = days_of(chosen.validation, chosen.validation_documents)
    assert [*train, *validation] == expected and train and validation
    assert (len(chosen.train), len(chosen.validation)) == (sum(map(len, train)), sum(map(len, validation)))
    assert not {*chosen.train} & {*chosen.validation} and chosen.rows == len(rows)
    wanted = int(len(taken) * (1 - val_frac))
    assert len(chosen.train) <= wanted or len(train) == 1
    assert len(chosen.train) + len(validation[0]) > wanted or len(validation) == 1


def test_the_days_that_are_taken_and_their_sides_depend_on_the_seed():
    rows = [f"title {number}" for number in range(200)]
    times = [NOON + timedelta(days=number // 10) for number in range(200)]
    sides = {tuple(sorted(select_days(rows, times, num_titles=None, seed=seed).validation)) for seed in range(5)}
    assert len(sides) > 1 and {len(side) for side in sides} == {20}


def test_titles_of_equal_time_are_in_no_order_of_the_file_and_in_one_that_the_title_alone_gives():
    titles = sorted(f"title {number:03}" for number in range(100))
    found, documents = all_days(titles, [NOON] * 100, seed=1)
    assert found != titles and sorted(found) == titles and documents.starts.tolist() == [0, 100]
    some = titles[20:70][::-1]
    assert all_days(some, [NOON] * 50, seed=1)[0] == [title for title in found if title in some]
    assert all_days(titles, [NOON] * 100, seed=2)[0] != found


TIMES = {
    "2016-01-30": datetime(2016, 1, 30),
    "20160130": datetime(2016, 1, 30),
    " 2016-01-30T12:34:56 ": datetime(2016, 1, 30, 12, 34, 56),
    "2016-01-30 12:34:56.5": datetime(2016, 1, 30, 12, 34, 56, 500_000),
    "2016-01-30T23:30:00-01:00": datetime(2016, 1, 31, 0, 30),
    "2016-01-30T12:00:00Z": NOON,
    "1454155200": NOON,
    1454155200: NOON,
    1454155200.5: NOON + timedelta(seconds=0.5),
    0: datetime(1970, 1, 1),
    date(2016, 1, 30): datetime(2016, 1, 30),
    NOON: NOON,
    datetime(2016, 1, 30, 14, tzinfo=timezone(timedelta(hours=2))): NOON,
}


def test_a_time_is_read_by_value_and_a_day_is_one_of_utc():
    assert as_times(list(TIMES), "created", "data.path=x") == list(TIMES.values())


@pytest.mark.parametrize(
    "value", [None, "", "yesterday", "8/4/2016 11:52", True, -1, float("nan"), 1.5e12, [2016]], ids=repr
)
def test_what_is_no_time_is_refused_by_its_row(value):
    with pytest.raises(UserError) as refused:
        as_times([NOON, value], "created", "data.path=x.csv")
    said = str(refused.value).splitlines()
    assert said[0].startswith("data.time_column=created: data.path=x.csv: row 2 holds ") and len(said) == 2
    assert "2016-01-30" in said[1]


def write(path, rows, times):
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table({"when": times, "title": rows}), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("when", "title"), *zip(times, rows, strict=True)])
    else:
        lines = ({"when": str(when), "title": row} for row, when in zip(rows, times, strict=True))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_form_of_file_has_times(tmp_path, suffix):
    times = [NOON + timedelta(hours=7 * number) for number in range(5)]
    path = write(tmp_path / f"titles{suffix}", ["a", "b, c", "", "d", "e"], times)
    assert read_times(path, "when") == times


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".txt"])
def test_a_file_without_times_is_refused_by_the_key(command, run_directories, tmp_path, suffix):
    path = tmp_path / f"titles{suffix}"
    if suffix == ".txt":
        path.write_text("one\ntwo\n")
    else:
        write(path, ["one", "two"], [NOON, NOON])
    ended = command("data=synthetic", f"data.path={path}", "data.join=day", "data.num_titles=null")
    key = "data.join=day: " if suffix == ".txt" else "data.time_column=created: "
    assert ended.status == 2 and ended.stderr.startswith(key) and str(path) in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2 and not run_directories()


def test_a_corpus_that_does_not_know_its_times_is_refused(tmp_path):
    from frontpage.data.title_data import TitleData

    class Told(TitleData):
        source_name = "told titles"

        def source(self):
            return ["one", "two"]

    with pytest.raises(UserError, match="data.join=day: told titles does not say when a title was written"):
        Told(tokenizer=None, cache_dir=tmp_path, join="day").select()


def test_titles_of_the_hub_have_its_times(monkeypatch, tmp_path):
    from frontpage.data.hn_titles import HNTitles

    table = pa.table({"title": ["b", "a", "c"], "time": [1454155200 + 40_000 * number for number in range(3)]})
    asked = []

    class Table:
        column_names, cache_files = table.column_names, []

        def __getitem__(self, name):
            return table.column(name).to_pylist()

    def load_dataset(repository, split, revision):
        asked.append((repository, split, revision))
        return Table()

    import datasets

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "_ask_for_commit", lambda repository, revision: lambda: "c0ffee")
    settings = {"tokenizer": None, "cache_dir": tmp_path, "join": "day", "val_frac": 0.5}
    data = HNTitles(repository="some/titles", revision="main", time_column="time", **settings)
    data.read()
    sides = [data.selection.train, data.selection.validation]
    assert sorted(sides, key=len) == [["c"], ["b", "a"]] and {*asked} == {("some/titles", "train", "c0ffee")}
    with pytest.raises(UserError, match="data.time_column=created: some/titles has: title, time"):
        HNTitles(repository="some/titles", revision="main", **settings).read()


@pytest.fixture
def titles(tmp_path):
    """(the embedded titles of which each is a document, the same titles by day)"""
    more = ("data.num_titles=450", "tokenizer=bpe", "data.block_size=64")
    return data_of(tmp_path, *more), data_of(tmp_path, *more, "data.join=day")


@pytest.mark.slow
def test_a_title_by_itself_has_the_fingerprint_of_before(titles):
    apart, _ = titles
    splits = {"train": apart.selection.train, "validation": apart.selection.validation}
    assert apart.fingerprint == cache_key(apart.make_tokenizer, splits)
    assert apart.selection.train_documents is apart.selection.validation_documents is APART
    assert not {"train_documents", "validation_documents", "longest_document_tokens"} & {*apart.description()}


def test_where_documents_begin_tells_two_runs_apart():
    several = {Joined(np.array(starts)).fingerprint("abc") for starts in ([0, 2, 4], [0, 1, 4], [0, 4])}
    assert len(several | {APART.fingerprint("abc")}) == 4 and APART.fingerprint("abc") == "abc"


@pytest.mark.slow
def test_documents_have_all_tokens_and_sizes_of_their_titles(titles):
    _, data = titles
    for side in ("train", "validation"):
        chosen = getattr(data.selection, side)
        alone = encode_titles(data.tokenizer, chosen)
        days = days_of(chosen, getattr(data.selection, f"{side}_documents"))
        joined = getattr(data, side)
        assert len(joined) == len(days) and np.array_equal(joined.tokens, alone.tokens)
        expected = [sum(len(ids) + 1 for ids in data.tokenizer.encode_batch(day)) for day in days]
        assert joined.lengths.tolist() == expected
    assert data.sizes.characters.tolist() == [sum(len(title) + 5 for title in day) for day in days]
    assert data.sizes.bytes.tolist() == [sum(len(title.encode()) + 1 for title in day) for day in days]
    assert data.sizes.tokens.tolist() == expected
    about = data.description()
    assert (about["train_documents"], about["validation_documents"]) == (len(data.train), len(days))
    assert about["train_titles"] + about["validation_titles"] == 450
    assert about["longest_title_tokens"] == alone_longest(data) < about["longest_document_tokens"]


def alone_longest(data):
    return max(map(len, data.tokenizer.encode_batch([*data.selection.train, *data.selection.validation]))) + 1


@pytest.mark.slow
def test_the_embedded_calendar_has_a_hundred_draws_a_day(titles):
    apart, data = titles
    assert {*apart.source()} >= {*data.selection.train, *data.selection.validation}
    places = {title: place for place, title in reversed([*enumerate(data.source())])}
    for side in ("train", "validation"):
        for day in days_of(getattr(data.selection, side), getattr(data.selection, f"{side}_documents")):
            drawn = [places[title] for title in day]
            assert drawn == sorted(drawn) and drawn[0] // 100 == drawn[-1] // 100


@pytest.mark.slow
def test_the_floor_of_days_is_that_of_their_titles(titles):
    from frontpage.data.grammar.title_rules import title_grammar

    _, data = titles
    nats = -sum(title_grammar().log_prob(title) for title in data.selection.validation)
    floor, count = floor_of(data), sum(len(title) + 5 for title in data.selection.validation)
    assert floor["floor/nats_per_char"] == pytest.approx(nats / count, rel=1e-12) and floor["floor/coverage"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("data.recase=0.5", "tokenizer=unigram", "data.subword_alpha=0.2")], ids=str)
def test_each_epoch_shows_every_title_once_after_those_of_its_day(tmp_path, more):
    data = data_of(tmp_path, "data.num_titles=450", "data.join=day", *more)
    days = days_of(data.selection.train, data.selection.train_documents)
    for epoch in (0, 1):
        rows = [data.loader_of().batch(epoch, index) for index in range(data.loader_of().run_sizes.of(epoch).batches)]
        targets, documents = (
            torch.cat([getattr(row, name).flatten() for row in rows]) for name in ("targets", "document_ids")
        )
        scored = targets != IGNORED
        seen = []
        for one in documents[scored].unique_consecutive():
            tokens, parts = targets[scored & (documents == one)].tolist(), [[]]
            assert tokens[-1] == data.tokenizer.eos_id
            for token in tokens:
                parts[-1].append(token)
                parts += [[]] if token == data.tokenizer.eos_id else []
            seen.append([title.lower() for title in data.tokenizer.decode_batch(parts[:-1])])
        assert sorted(seen) == sorted([title.lower() for title in day] for day in days)


def test_a_broken_row_is_told_by_its_titles(tmp_path):
    data = data_of(tmp_path, "data.num_titles=450", "data.join=day", "data.block_size=256")
    batch = data.loader_of().batch(0, 0)
    words = data.words_of(batch, range(1))
    first = data.tokenizer.decode_batch([batch.targets[0].tolist()])[0]
    title = next(one for one in data.selection.train if first.startswith(one))
    assert f"whose titles begin with {title!r}, '" in words


def test_sums_over_documents():
    joined = Joined(np.array([0, 2, 3, 6]))
    assert joined.sums(torch.arange(6.0)).tolist() == [1, 2, 12]
    assert joined.with_any(np.array([0, 1, 0, 0, 0, 1], bool)).tolist() == [True, False, True]
    assert joined.texts("abcdef") == ["a\nb", "c", "d\ne\nf"]
    sizes = joined.sizes(TextSizes.of(["a", "bc", "é", "", "d", "e"], [2, 3, 2, 1, 2, 2]))
    assert (sizes.characters.tolist(), sizes.bytes.tolist(), sizes.tokens.tolist()) == (
        [13, 6, 17],
        [5, 3, 5],
        [5, 2, 5],
    )
    values = torch.arange(6.0)
    assert APART.sums(values) is values and APART.texts(["a", "b"]) == ["a", "b"]


@pytest.mark.slow
def test_the_keys_are_those_of_every_corpus_of_titles():
    for corpus in ("hn_titles", "synthetic"):
        data = build(composed(f"data={corpus}", "data.join=day", "data.time_column=time").data, "data")
        assert (data.join, data.time_column) == ("day", "time")


@pytest.mark.parametrize("value", ["days", "true", "null"])
def test_another_join_is_refused(command, value):
    ended = command("data=synthetic", f"data.join={value}")
    assert ended.status == 2 and ended.stderr.startswith(f"data.join={value}:") and "none day" in ended.stderr


@pytest.mark.slow
def test_real_titles_are_all_there_by_day(real_titles):
    table = pa.parquet.read_table(real_titles).to_pydict()
    titles, documents = all_days(table["title"], as_times(table["created"], "created", "x"), seed=1337)
    assert len(documents) == len({*table["created"]}) and sorted(titles) == sorted(table["title"])
    day = {title: when for title, when in zip(table["title"], table["created"], strict=True)}
    assert [{day[title] for title in one} for one in days_of(titles, documents)] == [
        {one} for one in sorted({*table["created"]})
    ]


def test_utc_is_the_calendar():
    assert as_times([datetime(2016, 1, 1, 0, 30, tzinfo=UTC)], "created", "x") == [datetime(2016, 1, 1, 0, 30)]
