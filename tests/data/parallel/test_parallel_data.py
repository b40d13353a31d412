"""Promises of the data of several tasks: what is held out stays out, what a batch holds, and in which order."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from parallel_runs import FOUR, data_of, first_of_each_task
from tiny import composed

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices
from frontpage.data.packing import IGNORED, TitleBatch
from frontpage.data.parallel.examples import PairBatch
from frontpage.data.parallel.loader import Windows
from frontpage.data.parallel.parallel_data import TRAIN, VALIDATION
from frontpage.data.scoring_rows import ScoringBatch


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return data_of(tmp_path_factory.mktemp("parallel"))


def process(accumulate=1, rank=0, world=1, limit=1.0):
    """What a loader asks of a trainer."""
    return SimpleNamespace(
        accumulate_grad_batches=accumulate,
        global_rank=rank,
        world_size=world,
        limit_train_batches=limit,
        overfit_batches=0,
    )


def same_batch(one, other):
    fields = zip(one, other, strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in fields)


def test_no_held_out_book_is_in_training_in_any_translation(data):
    train, held_out = (data.text.books[data.sides[side].units] for side in (TRAIN, VALIDATION))
    assert not set(train) & set(held_out) and len(set(held_out)) >= 2
    assert {data.text.book_names[book] for book in held_out} == set(data.split.validation_books)
    trained = "\n".join(data.tokenizer.decode_batch([one.tolist() for one in _documents(data.train)]))
    for of in data.sides[VALIDATION].texts:
        assert not any(text in trained for text in of)
    assert len(data.sides[TRAIN].translations) == len(data.sides[VALIDATION].translations) == 2


def _documents(encoded):
    return np.split(encoded.tokens, encoded.offsets[1:-1])


def test_links_of_both_sides_stay_on_their_side(data):
    assert data.split.crossing > 0
    for side in data.sides.values():
        assert len(side.linked) and all(other < len(side) for place in side.linked for other in side.links_of(place)[0])
    inside = sum(len(side.links_of(place)[0]) for side in data.sides.values() for place in side.linked) // 2
    assert inside == len(data.text.links) - data.split.crossing


def test_the_documents_are_the_chapters_in_every_translation(data):
    found = Counter(data.tokenizer.decode_batch([one.tolist() for one in _documents(data.validation)]))
    chosen = {*data.split.validation_units.tolist()}
    chapters = [units for units in data.text.documents() if int(units[0]) in chosen]
    expected = Counter(data.text.document(name, units) for name in data.text.texts for units in chapters)
    assert found == expected and data.document_translations.tolist() == [0] * len(chapters) + [1] * len(chapters)


def test_forty_micro_steps_hold_28_6_3_and_3_batches_of_their_tasks(data):
    loader = data.loader_of()
    names = [one.task if isinstance(one, PairBatch) else "lm" for one in (loader.batch(0, at) for at in range(40))]
    assert Counter(names) == {"lm": 28, "coherence": 6, "cross_reference": 3, "paraphrase": 3}


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_a_batch_has_as_many_rows_as_asked_for_and_no_more_tokens_than_that(batch_size, tmp_path):
    data = data_of(tmp_path, f"data.batch_size={batch_size}")
    for name, batch in first_of_each_task(data.loader_of()).items():
        if name == "lm":
            assert all(field.shape == (batch_size, data.block_size) for field in batch)
            continue
        examples, members, length = batch.tokens.shape
        assert members == data.tasks[name].members and batch.lengths.shape == (examples, members)
        assert examples * members * length <= max(batch_size * data.block_size, members * length)
        assert examples == max(batch_size * 64 // (members * 24), 1)


def test_constant_examples_are_as_many_of_every_task(tmp_path):
    data = data_of(tmp_path, "data.batch_policy=constant_examples", "data.batch_size=5")
    assert {len(batch[0]) for batch in first_of_each_task(data.loader_of()).values()} == {5}


def test_the_widest_task_under_constant_examples_is_a_triple(tmp_path):
    """The memory of a step is estimated by it: three texts of 24 tokens for each window of 64."""
    assert data_of(tmp_path).widest_rows(8) == 8
    assert data_of(tmp_path, "data.batch_policy=constant_examples").widest_rows(8) == -(-8 * 3 * 24 // 64) == 9
    assert data_of(tmp_path, "data.batch_policy=constant_examples", "tasks=lm_only").widest_rows(8) == 8


def test_texts_open_and_close_with_the_end_mark_and_padding_follows(data):
    for batch in first_of_each_task(data.loader_of()).values():
        if isinstance(batch, PairBatch):
            for row, length in zip(batch.tokens.flatten(0, 1), batch.lengths.flatten(), strict=True):
                inside, behind = row[1 : length - 1], row[length:]
                assert row[0] == row[length - 1] == data.tokenizer.eos_id
                assert (behind == data.tokenizer.pad_id).all() and data.tokenizer.eos_id not in inside
            assert batch.tokens_read == batch.lengths.sum()


def test_the_tokens_of_a_place_spell_its_text(data):
    side, texts = data.sides[TRAIN], data.texts[TRAIN]
    for translation, of in enumerate(side.texts):
        for place in (0, 7, len(side) - 1):
            assert data.tokenizer.decode(texts.tokens(place, translation).tolist()) == of[place]


def test_a_text_that_is_too_long_is_cut_and_that_is_said(tmp_path, capsys):
    data = data_of(tmp_path, "data.text_tokens=8")
    assert "texts are cut for the tasks on pairs" in capsys.readouterr().out
    for batch in first_of_each_task(data.loader_of()).values():
        assert isinstance(batch, TitleBatch) or batch.lengths.max() == 8


def test_labels_are_the_next_tokens_shifted_once(data):
    batch = first_of_each_task(data.loader_of())["lm"]
    same = batch.document_ids[:, 1:] == batch.document_ids[:, :-1]
    assert torch.equal(batch.targets[:, :-1][same], batch.inputs[:, 1:][same]) and same.float().mean() > 0.9
    assert (batch.targets != IGNORED).all(), "every window is full"


def test_windows_do_not_depend_on_how_many_a_batch_takes_and_pass_over_all_text(data):
    special = {"pad_id": data.tokenizer.pad_id, "eos_id": data.tokenizer.eos_id}
    windows = Windows(data.train, 32, 5, **special)
    rows = torch.cat([windows.batch(np.arange(at, at + 3)).targets for at in range(0, 3 * windows.count, 3)])
    assert torch.equal(rows[::7], windows.batch(np.arange(0, 3 * windows.count, 7)).targets)
    seen = Counter(rows[: windows.count].flatten().tolist())
    left = Counter(data.train.tokens.tolist()) - seen
    assert left.total() == len(data.train.tokens) % 32
    assert not torch.equal(rows[: windows.count], rows[windows.count : 2 * windows.count])


def test_an_epoch_is_a_pass_of_the_language_task(data):
    loader = data.loader_of()
    steps = [loader.order.at(step)[0] for step in range(len(loader))]
    windows = steps.count("lm") * data.batch_size
    assert abs(windows - loader.windows.count) <= 40 * data.batch_size
    assert len(loader) == pytest.approx(loader.windows.count / data.batch_size / 0.7, abs=1)


def test_batches_are_the_same_from_anywhere(data):
    loader, other = data.loader_of(), data.loader_of()
    whole = list(loader) + list(loader)
    other.load_state_dict({"epoch": 1, "batches_done": 5})
    assert same_batch(next(iter(other)), whole[len(loader) + 5])
    assert len(whole) == 2 * len(loader) and not same_batch(whole[0], whole[len(loader)])


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("policy", ["constant_examples", "constant_tokens"])
def test_processes_have_of_each_task_what_one_with_as_many_rows_has(data, world, policy, monkeypatch):
    monkeypatch.setattr(data, "batch_policy", policy)
    loaders = [data.loader_of(process(rank=rank, world=world)) for rank in range(world)]
    monkeypatch.setattr(data, "batch_size", data.batch_size * world)
    alone = data.loader_of(process())
    if policy == "constant_tokens":  # whose examples are rounded down for each process
        alone.tasks = {name: (task, world * count) for name, (task, count) in loaders[0].tasks.items()}
    for index in range(40):
        whole, *parts = [examples_in(loader.batch(0, index)) for loader in (alone, *loaders)]
        assert all(whole[rank::world] == part for rank, part in enumerate(parts))


def examples_in(batch):
    """The rows of a batch, each by itself: padding depends on what else is in it."""
    if isinstance(batch, TitleBatch):
        return torch.stack(batch, dim=1).tolist()
    texts = [
        [text[:length] for text, length in zip(*pair, strict=True)]
        for pair in zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    ]
    return [*zip(texts, batch.labels.tolist(), strict=True)]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_have_the_same_tasks_and_share_the_windows(data, world):
    alone = data.loader_of(process())
    loaders = [data.loader_of(process(rank=rank, world=world)) for rank in range(world)]
    seen = []
    for index in range(40):
        batches = [loader.batch(0, index) for loader in loaders]
        assert len({getattr(batch, "task", "lm") for batch in batches}) == 1
        assert getattr(batches[0], "task", "lm") == getattr(alone.batch(0, index), "task", "lm")
        if isinstance(batches[0], TitleBatch):
            seen.append(torch.stack([batch.targets for batch in batches], dim=1).flatten(0, 1))
        else:
            assert not torch.equal(batches[0].tokens, batches[1].tokens)
    seen = torch.cat(seen)
    assert torch.equal(seen, alone.windows.batch(np.arange(len(seen))).targets)


def test_accumulation_changes_no_batch(data):
    one, four = data.loader_of(process()), data.loader_of(process(accumulate=4))
    assert all(same_batch(one.batch(0, index), four.batch(0, index)) for index in range(20))
    shares = [four.sizes_of(0).share(index) for index in range(len(four))]
    assert shares[:4] == [0.25] * 4 and sum(shares) == pytest.approx(four.sizes_of(0).updates)


def test_a_validation_has_every_document_and_every_example_once(data):
    data.trainer = None
    batches = list(data.val_dataloader())
    documents = [batch for batch in batches if isinstance(batch, ScoringBatch)]
    assert sum(int((batch.targets != IGNORED).sum()) for batch in documents) == len(data.validation.tokens)
    for name in FOUR[1:]:
        of = [batch for batch in batches if isinstance(batch, PairBatch) and batch.task == name]
        whole = data.texts[VALIDATION].batch(data.examples[name], name, data.tasks[name])
        if data.tasks[name].compares:  # as in training
            assert {len(batch.labels) for batch in of[:-1]} <= {data.examples_of(data.tasks[name])}
        assert sum(len(batch.labels) for batch in of) == len(whole.labels) == 40
        assert torch.equal(torch.cat([batch.labels for batch in of]), whole.labels)
        assert torch.equal(torch.cat([batch.lengths for batch in of]), whole.lengths)
    assert len(batches) == len(data.val_dataloader())


@pytest.mark.parametrize("single", FOUR)
def test_one_task_alone(single, tmp_path):
    data = data_of(tmp_path, f"tasks={single}")
    assert [*first_of_each_task(data.loader_of())] == [single] and len(data.loader_of()) > 1


def test_without_tasks_it_is_the_next_token_alone(tmp_path):
    data = data_of(tmp_path, "~tasks")
    assert [*first_of_each_task(data.loader_of())] == ["lm"]


IMPOSSIBLE = {
    ("data.languages=1",): "tasks.paraphrase.weight=0.075: 0: it needs two translations",
    ("data.translations=[aa]",): "tasks.paraphrase.weight=0.075: 0: it needs two translations, not aa alone",
    ("data.translations=[zz]",): "data.translations=zz: one or more of aa, bb",
    ("tasks.cross_reference.distance=1000",): "tasks.cross_reference.distance=1000: no unit is that far",
    ("data.validation_books=[nobook]",): "data.validation_books=nobook: no such book",
    ("data.block_size=100000",): "data.block_size=100000: the",
    ("data.block_size=3",): "data.block_size=3: at least 4",
    ("data.corruption_share=[[0,0],[9,1.5]]",): "data.corruption_share=[[0, 0], [9, 1.5]]: at most 1",
    ("data.translations=[aa,aa]",): "data.translations=['aa', 'aa']: one or more of aa, bb, each once",
}


@pytest.mark.parametrize("overrides", IMPOSSIBLE, ids=" ".join)
def test_what_cannot_be_is_refused_at_the_start(overrides, tmp_path):
    with pytest.raises(UserError) as refused:
        data_of(tmp_path, *overrides)
    assert str(refused.value).startswith(IMPOSSIBLE[overrides]) and "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_fingerprint_follows_the_text_and_its_split(tmp_path):
    found = [
        data_of(tmp_path, *more).fingerprint for more in ((), (), ("data.seed=5",), ("data.translations=[aa,bb]",))
    ]
    assert found[0] == found[1] == found[3] != found[2]


def test_a_model_of_characters_is_counted(data):
    text, held_out = ("".join(texts) for texts in ((t for _, t in data._documents(TRAIN)), data.validation_texts()))
    counts, kinds = Counter(text), {*text, *held_out, "<eos>"}
    counts["<eos>"] = len(data.train)
    chances = {letter: (counts[letter] + 1) / (counts.total() + len(kinds)) for letter in kinds}
    assert sum(chances.values()) == pytest.approx(1)
    nats = -sum(np.log(chances[letter]) for letter in held_out) - len(data.validation) * np.log(chances["<eos>"])
    assert data.character_nats() == pytest.approx(nats / (len(held_out) + 5 * len(data.validation)))


def test_the_floor_belongs_to_the_held_out_documents(data):
    nats = data.least_nats()
    assert len(nats) == len(data.validation) == len(data.document_translations) and (nats > 0).all()
    chosen = {*data.split.validation_units.tolist()}
    held_out = [place for place, units in enumerate(data.text.documents()) if int(units[0]) in chosen]
    assert nats.tolist() == [data.text.least_nats[name][place] for name in ("aa", "bb") for place in held_out]


@pytest.mark.slow
@pytest.mark.parametrize("longest", [4, 5, 20])
def test_no_text_is_longer_than_a_window_whatever_its_length(longest, tmp_path):
    data = data_of(tmp_path, f"data.block_size={longest}", f"data.text_tokens={longest + 100}")
    batches = first_of_each_task(data.loader_of())
    assert max(batch.tokens.shape[-1] for name, batch in batches.items() if name != "lm") == longest


def lines_with_links(folder, *links, repeated=False):
    """A run's data of 200 lines in two languages, related as `links` say; the second half may repeat the first."""
    folder.mkdir()
    half = ["\t".join([f"a{number} is here", f"b{number} ist da"]) for number in range(200)]
    half = [*half[:100], *half[:100]] if repeated else half
    (folder / "two.tsv").write_text("\n".join(["aa\tbb", *half]) + "\n", encoding="utf-8")
    if links:
        (folder / "two.links.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in links))
    words = ["experiment=multitask_debug", "data=parallel", f"data.root={folder}/two.tsv", "tasks=without_links"]
    words.append("data.validation_books=[1,2]")
    data = build(composed(*words, f"paths.cache_dir={folder}/cache").data, "data")
    data.setup()
    return data


@pytest.mark.slow
def test_a_file_is_named_by_path_as_titles_are_or_by_root_and_not_by_two_names(tmp_path):
    one = lines_with_links(tmp_path / "a")
    words = ["experiment=multitask_debug", "data=parallel", "tasks=without_links", "data.validation_books=[1,2]"]
    words += [f"paths.cache_dir={tmp_path}/cache", f"data.path={tmp_path}/a/two.tsv"]
    same = build(composed(*words).data, "data")
    same.setup()
    assert same.fingerprint == one.fingerprint
    both = composed(*words, f"data.root={tmp_path}/b").data
    with pytest.raises(UserError, match="data.path=.*only one of the two"):
        build(both, "data")


@pytest.mark.slow
def test_the_fingerprint_follows_the_links(tmp_path):
    pairs = [(2, 30), (4, 40)]
    found = [lines_with_links(tmp_path / "a"), lines_with_links(tmp_path / "b", *pairs)]
    found += [lines_with_links(tmp_path / "c", *pairs), lines_with_links(tmp_path / "d", (2, 31), (4, 40))]
    assert found[1].fingerprint == found[2].fingerprint
    assert len({data.fingerprint for data in found}) == 3


@pytest.mark.slow
def test_held_out_texts_that_are_trained_on_too_are_counted(tmp_path):
    forget_notices()
    lines_with_links(tmp_path / "a")
    assert not any("held-out texts" in one for one in notices())
    data = lines_with_links(tmp_path / "b", repeated=True)
    train, held_out = (data.sides[side] for side in (TRAIN, VALIDATION))
    count = sum(one in of for of, asked in zip(train.texts, held_out.texts, strict=True) for one in asked)
    assert count > 0 and any(
        f"of {len(held_out.there):,} held-out texts {count:,} stand in a training book" in one for one in notices()
    )
