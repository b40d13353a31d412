"""Promises of hidden inputs: how many, which ones, never a target, never in a validation, the same every time."""

import pytest
import torch
from parallel_runs import data_of, first_of_each_task, module_of

from frontpage.command.points import Points
from frontpage.data.packing import TitleBatch
from frontpage.data.parallel.corruption import KINDS, SPANS, Corruption


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return data_of(tmp_path_factory.mktemp("parallel"), "data.corruption=word", "data.batch_size=64", "data.books=20")


def windows(data):
    return first_of_each_task(data_without(data).loader_of())["lm"]


def data_without(data):
    data.corruption = "none"
    return data


def corruption(data, kind, share=0.2):
    return Corruption(kind, Points.of(share), data.tokenizer, 3)


@pytest.mark.slow
def test_the_mask_is_a_token_of_its_own_that_no_text_has(data):
    tokenizer = data.tokenizer
    assert tokenizer.mask_id == tokenizer.vocab_size - 1 == data.vocab_size - 1
    assert tokenizer.mask_id in tokenizer.never_written and tokenizer.spelled(tokenizer.mask_id) == b""
    assert tokenizer.mask_id not in tokenizer.encode("a <mask> in a text")
    again = type(tokenizer).from_json(tokenizer.to_json())
    again.add_mask()
    assert (again.mask_id, again.vocab_size) == (tokenizer.mask_id, tokenizer.vocab_size)
    assert module_of(data, "data.corruption=word").net.head.weight.shape[0] == data.vocab_size


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_about_the_share_is_hidden_and_nothing_else_changes(data, kind):
    batch = windows(data)
    hidden = torch.stack(
        [corruption(data, kind).masked(batch, step, 0).inputs == data.tokenizer.mask_id for step in range(60)]
    )
    inside = batch.inputs != data.tokenizer.eos_id
    assert hidden[:, inside].float().mean() == pytest.approx(0.2, abs=0.03) and not hidden[:, ~inside].any()
    changed = corruption(data, kind).masked(batch, 0, 0)
    assert torch.equal(changed.inputs[~hidden[0]], batch.inputs[~hidden[0]])
    assert all(one is other for one, other in zip(changed[1:], batch[1:], strict=True))


def words_of(tokenizer, row):
    """The tokens of each word of a row, by place."""
    words = []
    for place, token in enumerate(row.tolist()):
        starts = token in (tokenizer.eos_id, tokenizer.pad_id) or tokenizer.token_bytes(token)[0] in "ĠĊ"
        if starts or not words:
            words.append([])
        words[-1].append(place)
    return words


@pytest.mark.parametrize("kind", ["word", "span"])
def test_words_are_hidden_whole(data, kind):
    batch = windows(data)
    changed = corruption(data, kind).masked(batch, 5, 0).inputs == data.tokenizer.mask_id
    lengths = []
    for row, hidden in zip(batch.inputs, changed, strict=True):
        whole = [{bool(hidden[place]) for place in word} for word in words_of(data.tokenizer, row)]
        assert all(len(one) == 1 for one in whole)
        run = 0
        for one in [*whole, {False}]:
            if one == {True}:
                run += 1
            elif run:
                lengths.append(run)
                run = 0
    if kind == "span":
        assert max(lengths) >= min(SPANS) and sum(lengths) / len(lengths) > 2.5


def test_a_mask_depends_on_the_step_and_the_seed_alone(data):
    batch = windows(data)
    one, again, later = (corruption(data, "token").masked(batch, *at).inputs for at in ((4, 0), (4, 9), (5, 0)))
    assert torch.equal(one, again) and not torch.equal(one, later)


def test_a_course_of_the_share_begins_with_clean_text(data):
    batch = windows(data)
    course = corruption(data, "token", [[0, 0.0], [100, 0.0], [200, 0.5]])
    assert course.masked(batch, 7, 50) is batch
    share = (course.masked(batch, 7, 150).inputs == data.tokenizer.mask_id).float().mean()
    assert share == pytest.approx(0.25, abs=0.04)


@pytest.mark.slow
def test_loaders_hide_inputs_and_validations_do_not(tmp_path):
    plain, hiding = data_of(tmp_path), data_of(tmp_path, "data.corruption=token", "data.corruption_share=0.5")
    hiding.trainer = None
    assert hiding.fingerprint != plain.fingerprint
    one, other = (first_of_each_task(data.loader_of()) for data in (plain, hiding))
    assert isinstance(other["lm"], TitleBatch) and torch.equal(one["lm"].targets, other["lm"].targets)
    assert (other["lm"].inputs == hiding.tokenizer.mask_id).float().mean() > 0.3
    for name in ("coherence", "paraphrase", "cross_reference"):
        assert torch.equal(one[name].tokens, other[name].tokens)
    for batch in hiding.val_dataloader():
        assert not (batch[0] == hiding.tokenizer.mask_id).any()
