"""Promises of data=modular_arithmetic: every question once, right, on one side; the answer is the only target."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import composed

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.data.arithmetic.questions import OPERATIONS, all_questions
from frontpage.data.packing import IGNORED
from frontpage.data.run_sizes import RunSizes

RIGHT = {
    "plus": lambda a, b, c, p: (a + b - c) % p == 0,
    "minus": lambda a, b, c, p: (a - b - c) % p == 0,
    "times": lambda a, b, c, p: (a * b - c) % p == 0,
    "divided": lambda a, b, c, p: (b * c - a) % p == 0,
}


def data_of(folder, *overrides):
    """The corpus of a config, set up."""
    config = composed(
        "data=modular_arithmetic",
        "data.modulus=13",
        f"paths.cache_dir={folder}",
        "tokenizer.vocab_size=600",
        *overrides,
    )
    data = build(config.data, "data")
    data.setup()
    return data


def parts(text):
    first, _, second, _, answer = text.split()
    return int(first), int(second), int(answer)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_pair_has_its_right_answer_once(operation):
    texts = list(itertools.chain(*all_questions(operation, 13)))
    pairs = {parts(text)[:2] for text in texts}
    assert len(pairs) == len(texts) == (13 * 12 if operation == "divided" else 169)
    assert all(RIGHT[operation](*parts(text), 13) and parts(text)[2] < 13 for text in texts)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_question_is_on_both_sides_not_even_turned_round(operation, tmp_path):
    data = data_of(tmp_path, f"data.operation={operation}", "data.train_share=0.4")
    train, held_out = ({parts(text) for text in side} for side in (data.training_texts(), data.validation_texts()))
    assert not train & held_out and len(train | held_out) == sum(map(len, all_questions(operation, 13)))
    assert len(train) == pytest.approx(0.4 * len(train | held_out), abs=7)
    if operation in ("plus", "times"):
        assert not {(second, first, answer) for first, second, answer in train} & held_out


def test_the_answer_is_the_only_target(tmp_path):
    data = data_of(tmp_path, "data.batch_size=10000")
    batch = data.loader_of().batch(0, 0)
    assert batch.inputs.shape == (len(data.training_texts()), 5)
    assert (batch.inputs[:, 0] == data.tokenizer.eos_id).all()
    assert (batch.targets[:, :-1] == IGNORED).all() and (batch.targets[:, -1] != IGNORED).all()
    rows = zip(batch.inputs.tolist(), batch.targets[:, -1:].tolist(), strict=True)
    assert {data.tokenizer.decode(inputs + target) for inputs, target in rows} == {*data.training_texts()}
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4]] * len(batch.inputs) and (batch.document_ids == 0).all()


@pytest.mark.slow
def test_an_epoch_has_every_question_once_in_an_order_of_its_own(tmp_path):
    data = data_of(tmp_path, "data.batch_size=16")
    loader = data.loader_of()
    epochs = [torch.cat([loader.batch(epoch, i).inputs for i in range(len(loader))]) for epoch in (0, 1, 0)]
    assert torch.equal(epochs[0], epochs[2]) and not torch.equal(epochs[0], epochs[1])
    assert sorted(epochs[0].tolist()) == sorted(epochs[1].tolist()) == sorted(data.rows["train"].inputs.tolist())
    kept = data_of(tmp_path, "data.batch_size=16", "data.repack=false").loader_of()
    assert torch.equal(kept.batch(0, 0).inputs, kept.batch(5, 0).inputs)


def test_a_validation_scores_every_answer_once(tmp_path):
    data = data_of(tmp_path, "data.evaluation_tokens=40")
    batches = list(data.val_dataloader())
    assert [len(batch.inputs) for batch in batches][:2] == [8, 8] and len(batches) == len(data.val_dataloader())
    titles = torch.cat([batch.titles[batch.targets != IGNORED] for batch in batches])
    assert titles.tolist() == list(range(len(data.validation_texts())))
    assert data.sizes.tokens.tolist() == [1.0] * len(titles)
    assert data.sizes.characters.tolist() == [float(len(text.split()[-1])) for text in data.validation_texts()]


@pytest.mark.slow
def test_the_split_depends_on_its_seed_alone(tmp_path):
    one, same, other = (data_of(tmp_path, *more).training_texts() for more in (["seed=1"], ["seed=2"], ["data.seed=2"]))
    assert one == same and {*one} != {*other}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.operation=divided", "data.modulus=12"], "data.modulus=12"),
        (["data.block_size=8"], "data.block_size=8"),
        (["data.train_share=0.001"], "data.train_share=0.001"),
        (["data.train_share=0.999"], "data.train_share=0.999"),
        (["tokenizer.vocab_size=262"], "tokenizer.vocab_size=262"),
        (["tokenizer=bytes"], "tokenizer=bpe"),
        (["tokenizer=bytes", "tokenizer.vocab_size=259"], "tokenizer=bpe"),
        pytest.param(["tokenizer=unigram"], "tokenizer=bpe", marks=pytest.mark.slow),
        (["tokenizer.min_frequency=1000"], "tokenizer.min_frequency=0"),
        (["data.modulus=3", "data.train_share=0.2"], "data.train_share=0.2"),
    ],
)
def test_mistakes_name_the_key(overrides, said, tmp_path):
    with pytest.raises(UserError) as error:
        data_of(tmp_path, *overrides)
    assert said in str(error.value) and len(str(error.value).splitlines()) <= 2
    given = [one for one in overrides if one.startswith("tokenizer.vocab_size")]
    assert ("vocab_size" in str(error.value)) is (given == ["tokenizer.vocab_size=262"])  # none that nobody asked for


@pytest.mark.slow
def test_processes_share_the_rows_of_a_batch(tmp_path):
    data = data_of(tmp_path, "data.batch_size=8")
    whole = data_of(tmp_path, "data.batch_size=16").loader_of().batch(0, 0).inputs
    shares = []
    for rank in range(2):
        loader = data.loader_of()
        loader.rank, loader.run_sizes = rank, RunSizes.same(replace(loader.sizes_of(0), batch_size=8, world_size=2))
        shares.append(loader.batch(0, 0).inputs)
    assert torch.equal(torch.stack(shares, 1).flatten(0, 1), whole)
    assert np.all([len(share) == 8 for share in shares])


def test_a_process_without_a_row_has_one_without_a_target(tmp_path):
    """Two processes of a row each: the last batch of an odd number of questions has one row."""
    loader = data_of(tmp_path).loader_of()
    rows, found = len(loader.rows.inputs), []
    assert rows % 2 == 1
    loader.run_sizes = RunSizes.same(replace(loader.sizes_of(0), batch_size=1, world_size=2))
    for loader.rank in (0, 1):
        last = loader.batch(0, rows // 2)
        found.append((len(last.inputs), int((last.targets != IGNORED).sum())))
    assert found == [(1, 1), (1, 0)] and int((loader.rows.targets != IGNORED).sum()) == rows
