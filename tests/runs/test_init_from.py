"""Promises of `init_from`: weights keep their tokenizer, and what would make them another net is refused or said."""

import shutil
from pathlib import Path

import pytest
import torch
from programs import record_of, train_tiny, training_titles, weights_of
from tiny import TINY, composed

from frontpage.command.errors import UserError
from frontpage.evaluation.scored_titles import ScoredTitles
from frontpage.runs.checkpoint_file import CheckpointFile
from frontpage.runs.init_from import first_weights
from frontpage.runs.provenance import differences
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run
from frontpage.runs.training_titles import load_training_titles

WORDS = "red green blue fast slow light deep new old open".split()


def write_titles(path: Path, words: list[str]) -> Path:
    """A hundred and twenty titles of three words each, one a line."""
    lines = [f"{one} {words[index % 7]} {words[index % 11 % 10]} {index}" for index in range(12) for one in words]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A run with a vocabulary of its own titles, which has learned something of them."""
    folder = tmp_path_factory.mktemp("origin")
    titles = write_titles(folder / "origin.txt", WORDS)
    return train_tiny(folder / "run", f"data.path={titles}", "trainer.max_epochs=3", "optimizer.lr=0.01")


@pytest.fixture
def others(tmp_path) -> Path:
    """Titles on which another tokenizer is trained."""
    return write_titles(tmp_path / "others.txt", [word[::-1] + "xyz" for word in WORDS])


def write(content: dict, to: Path) -> None:
    """A checkpoint of this project, its checksum included."""
    CheckpointFile().save_checkpoint(content, to)


def without_provenance(checkpoint: Path, to: Path) -> Path:
    """A checkpoint as it was written before it said what it belongs to."""
    content = torch.load(checkpoint, weights_only=True)
    del content["provenance"]
    to.parent.mkdir(parents=True, exist_ok=True)
    write(content, to)
    return to


def notices_of(directory: Path) -> list[str]:
    return [one for one in record_of(directory)["notices"] if one.startswith("init_from")]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["run", "checkpoint elsewhere", "run from before"])
def test_a_new_run_starts_with_the_tokenizer_and_the_loss_of_its_weights(command, origin, others, tmp_path, form):
    """The rate is 0, so what is validated are the origin's weights, on other titles, in the origin's tokens."""
    source = origin
    if form == "checkpoint elsewhere":
        source = shutil.copy(origin / "checkpoints" / "best.ckpt", tmp_path / "moved.ckpt")
    elif form == "run from before":
        source = shutil.copytree(origin, tmp_path / "before")
        without_provenance(origin / "checkpoints" / "best.ckpt", source / "checkpoints" / "best.ckpt")
    new = tmp_path / "new"
    limit = "tokenizer.vocab_size=1000"  # an upper one, which the origin's 300 tokens keep
    arguments = (*TINY, limit, f"data.path={others}", "trainer.max_steps=1", "optimizer.lr=0.0")
    assert command(*arguments, f"init_from={source}", f"hydra.run.dir={new}").status == 0
    assert (new / "tokenizer.json").read_bytes() == (origin / "tokenizer.json").read_bytes()
    expected, got = weights_of(origin, "best"), weights_of(new)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    (said,) = notices_of(new)
    assert "the tokenizer comes with the weights (bpe, all its" in said
    assert "vocab_size: 300" in (new / "config.yaml").read_text()  # what made it, not what was asked for
    config, module = load_run(origin)
    right = ScoredTitles(module, training_titles(new)[1], config.data).metrics()["val/nats_per_char"]
    assert record_of(new)["metrics"]["final"]["val/nats_per_char"] == pytest.approx(right, rel=1e-5)


@pytest.mark.slow
def test_a_checkpoint_that_says_nothing_of_itself_is_told(command, origin, others, tmp_path):
    bare, new = without_provenance(origin / "checkpoints" / "best.ckpt", tmp_path / "bare.ckpt"), tmp_path / "new"
    outcome = command(*TINY, f"data.path={others}", "trainer.max_steps=1", f"init_from={bare}", f"hydra.run.dir={new}")
    assert outcome.status == 0, outcome.stderr
    (said,) = notices_of(new)
    assert "may mean nothing" in said and str(bare) in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tokenizer=unigram", ["tokenizer=unigram", "bpe", "leave tokenizer out"]),
        ("tokenizer=bytes", ["tokenizer=bytes", "bpe"]),
        ("tokenizer.vocab_size=260", ["tokenizer.vocab_size=260", " tokens; leave tokenizer.vocab_size out"]),
        ("tokenizer.min_frequency=2", ["tokenizer.min_frequency=2", "leave tokenizer.min_frequency out"]),
        ("model.n_head=4", ["model.n_head=4 (was 2)", "init_from=", "allowed: "]),
        ("model.activation=relu", ["model.activation=relu (was gelu)"]),
        ("model.norm_position=post", ["model.norm_position=post (was pre)"]),
        ("model=unet_gpt", ["model=UNetGPTModule (was GPTModule)"]),
    ],
)
def test_what_the_weights_cannot_go_with_is_refused_and_nothing_is_written(command, origin, tmp_path, override, words):
    outcome = command(*TINY, override, f"init_from={origin}", f"hydra.run.dir={tmp_path}/new")
    assert outcome.status == 2 and len(outcome.stderr.splitlines()) <= 2
    assert all(word in outcome.stderr for word in words), outcome.stderr
    assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())


def test_two_copies_of_a_tied_matrix_are_what_it_was(origin):
    first_weights(composed(*TINY, f"init_from={origin}", "model.tie_embeddings=false"))


def test_an_untied_head_is_not_tied_in_silence(origin, tmp_path):
    content = torch.load(origin / "checkpoints" / "best.ckpt", weights_only=True)
    content["provenance"]["model"]["tie_embeddings"] = False
    write(content, tmp_path / "untied.ckpt")
    with pytest.raises(UserError, match=r"model\.tie_embeddings=true \(was false\)"):
        first_weights(composed(*TINY, f"init_from={tmp_path}/untied.ckpt"))


@pytest.mark.slow
def test_what_people_change_on_purpose_is_said(command, origin, tmp_path):
    changed = ("model/attention=local", "model.attention.window=8", "model.document_mask=false")
    new = tmp_path / "new"
    assert command(*TINY, *changed, "trainer.max_steps=1", f"init_from={origin}", f"hydra.run.dir={new}").status == 0
    (said,) = [one for one in notices_of(new) if "other settings" in one]
    assert "model.attention=LocalAttention (was CausalAttention)" in said
    assert "model.document_mask=false (was true)" in said


@pytest.fixture(scope="module")
def begun(origin, tmp_path_factory) -> Path:
    """A finished run that started from the origin's weights."""
    folder = tmp_path_factory.mktemp("begun")
    titles = write_titles(folder / "others.txt", [word[::-1] + "xyz" for word in WORDS])
    return train_tiny(folder / "run", f"data.path={titles}", "trainer.max_steps=3", f"init_from={origin}")


def continued(command, begun, tmp_path, *overrides):
    """How `ckpt_path=last` in a copy of `begun` ends, and the copy."""
    copy = shutil.copytree(begun, tmp_path / "copy")
    (copy / "run.json").write_text((copy / "run.json").read_text().replace('"finished"', '"interrupted"'))
    titles = begun.parent / "others.txt"
    arguments = (f"data.path={titles}", "trainer.max_steps=3", f"hydra.run.dir={copy}", "ckpt_path=last")
    return command(*TINY, *arguments, *overrides), copy


@pytest.mark.slow
@pytest.mark.parametrize("with_it", [True, False])
def test_such_a_run_is_continued_with_its_own_weights_and_tokenizer(command, origin, begun, tmp_path, with_it):
    """With the command that it began with, and with init_from left out."""
    outcome, copy = continued(command, begun, tmp_path, *([f"init_from={origin}"] if with_it else []))
    assert outcome.status == 0, outcome.stderr
    assert (copy / "tokenizer.json").read_bytes() == (origin / "tokenizer.json").read_bytes()
    expected, got = weights_of(begun), weights_of(copy)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert [one for one in notices_of(copy) if "not read again" in one] == notices_of(copy)
    assert bool(notices_of(copy)) == with_it


@pytest.mark.slow
def test_another_origin_beside_ckpt_path_is_refused(command, origin, begun, tmp_path):
    other = shutil.copy(origin / "checkpoints" / "last.ckpt", tmp_path / "other.ckpt")
    outcome, _ = continued(command, begun, tmp_path, f"init_from={other}")
    assert outcome.status == 2
    assert f"init_from={other}: null beside ckpt_path" in outcome.stderr
    assert str(origin / "checkpoints" / "best.ckpt") in outcome.stderr


@pytest.mark.slow
def test_a_run_is_not_continued_as_another_net(command, origin, tmp_path):
    for override, words in (
        ("model.n_head=4", "model.n_head=4 (was 2)"),
        ("model/attention=local", "model.attention=LocalAttention (was CausalAttention)"),
    ):
        outcome = command(
            *TINY,
            f"data.path={origin.parent}/origin.txt",
            "trainer.max_epochs=3",
            "optimizer.lr=0.01",
            override,
            f"ckpt_path={origin}/checkpoints/last.ckpt",
        )
        assert outcome.status == 2 and words in outcome.stderr and "a run that is continued keeps" in outcome.stderr


@pytest.mark.slow
def test_a_checkpoint_belongs_to_its_run(origin, begun, tmp_path):
    """Every script reopens runs by `load_run`, so what is refused there is refused everywhere."""
    with pytest.raises(UserError, match=f"belongs to another run than .*; name {begun.resolve()} as the run"):
        load_run(origin, begun / "checkpoints" / "best.ckpt")
    moved = shutil.copy(begun / "checkpoints" / "best.ckpt", tmp_path / "moved.ckpt")
    with pytest.raises(UserError, match="trained on other titles"):  # the tokenizer and the settings are the same
        load_run(origin, moved)
    own = shutil.copy(origin / "checkpoints" / "best.ckpt", tmp_path / "own.ckpt")
    assert load_run(origin, own)[1].tokenizer.vocab_size == load_run(origin)[1].tokenizer.vocab_size


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"tokenizer": "of the other run"}, "they belong to another tokenizer"),
        ({"n_head": 4}, r"config.yaml there has model.n_head=2 \(was 4\)"),
        ({"rotary_base": 5.0, "positions": "rotary"}, "model.positions=learned"),
    ],
)
def test_a_checkpoint_put_into_another_runs_folder_is_refused(origin, tmp_path, part, problem):
    copy = shutil.copytree(origin, tmp_path / "copy")
    content = torch.load(copy / "checkpoints" / "best.ckpt", weights_only=True)
    if "tokenizer" in part:
        other = write_titles(tmp_path / "others.txt", [word[::-1] + "xyz" for word in WORDS]).read_text().splitlines()
        from frontpage.data.tokenizer.bpe import bpe

        content["provenance"]["tokenizer"] = bpe(other, vocab_size=300).to_json()
    else:
        content["provenance"]["model"] |= part
    write(content, copy / "checkpoints" / "best.ckpt")
    with pytest.raises(UserError, match=problem):
        load_run(copy)


@pytest.mark.slow
def test_what_a_foreign_checkpoint_calls_its_tokenizer_is_not_run(command, origin, others, tmp_path):
    """The vocabulary is taken; a class that it names is not written down as what a later reader would build."""
    content = torch.load(origin / "checkpoints" / "best.ckpt", weights_only=True)
    content["provenance"]["tokenizer_settings"] = {"_target_": "torch.hub.load", "repo": "x"}
    write(content, tmp_path / "foreign.ckpt")
    new = tmp_path / "new"
    arguments = (f"data.path={others}", "trainer.max_steps=1", f"init_from={tmp_path}/foreign.ckpt")
    assert command(*TINY, *arguments, f"hydra.run.dir={new}").status == 0
    written = (new / "config.yaml").read_text()
    assert "torch.hub" not in written and "frontpage.data.tokenizer.bpe.bpe" in written


@pytest.mark.slow
@pytest.mark.parametrize("damage", [{"tokenizer": "{}"}, {"tokenizer": 3}, {"model": None}, {"titles": None}, "text"])
def test_a_provenance_that_makes_no_sense_is_a_mistake_and_no_traceback(origin, tmp_path, damage):
    content = torch.load(origin / "checkpoints" / "best.ckpt", weights_only=True)
    content["provenance"] = damage if damage == "text" else content["provenance"] | damage
    write(content, tmp_path / "damaged.ckpt")
    with pytest.raises(UserError, match="cannot be read"):
        first_weights(composed(*TINY, f"init_from={tmp_path}/damaged.ckpt"))
    with pytest.raises(UserError, match="cannot be read"):
        load_run(origin, tmp_path / "damaged.ckpt")


@pytest.mark.slow
def test_the_titles_behind_a_checkpoint_are_not_those_of_the_folder_it_was_put_into(command, origin, begun, tmp_path):
    """So what the new run calls seen is not what another run had seen."""
    mixed, new = shutil.copytree(begun, tmp_path / "mixed"), tmp_path / "new"
    shutil.copy(origin / "checkpoints" / "best.ckpt", mixed / "checkpoints" / "best.ckpt")
    outcome = command(*TINY, f"init_from={mixed}", "trainer.max_steps=1", f"hydra.run.dir={new}")
    assert outcome.status == 0, outcome.stderr
    assert "the training titles behind" in outcome.stdout and "are not known" in outcome.stdout
    assert len(load_training_titles(Run(new))) == record_of(new)["data"]["train_titles"]


def test_as_many_keys_as_heads_is_what_null_means():
    model = {"_target_": "frontpage.recipe.modules.GPTModule", "n_head": 4}
    assert differences(model | {"n_kv_head": 4}, model | {"n_kv_head": None}) == {}
    assert differences(model | {"n_kv_head": 2}, model | {"n_kv_head": 4}) == {"model.n_kv_head": (2, None)}


def test_an_addition_that_one_of_two_nets_lacks_is_told_and_its_keys_where_both_have_it():
    model, target = {"_target_": "frontpage.recipe.modules.GPTModule"}, "frontpage.models.additions.head_gate.HeadGate"
    gate = {"_target_": target, "_partial_": True}
    assert differences(model, model | {"addition": {}}) == {}  # a run from before there were any
    assert differences(model, model | {"addition": {"head_gate": gate}}) == {
        "model.addition.head_gate": (None, "HeadGate")
    }
    both = [model | {"addition": {"head_gate": gate | keys}} for keys in ({}, {"gate_width": 12}, {"gate_width": 8})]
    assert differences(*both[:2]) == {}
    assert differences(*both[1:]) == {"model.addition.head_gate.gate_width": (12, 8)}


def test_settings_of_an_addition_that_only_training_or_the_start_reads_make_no_difference():
    folder, model = "frontpage.models.additions", {"_target_": "frontpage.recipe.modules.GPTModule"}

    def adding(name, target, **keys):
        return model | {"addition": {name: {"_target_": f"{folder}.{name}.{target}", "_partial_": True, **keys}}}

    depth, recurrence = ("stochastic_depth", "StochasticDepth"), ("recurrence", "Recurrence")
    assert differences(adding(*depth, rate=0.1), adding(*depth, rate=0.2)) == {} == differences(adding(*depth), model)
    assert differences(adding(*recurrence, start=0.7), adding(*recurrence, start=0.8)) == {}
    assert differences(adding(*recurrence), model) == {"model.addition.recurrence": ("Recurrence", None)}


def test_keys_that_an_older_run_lacks_make_no_difference_unless_they_change_what_weights_compute():
    older = {"_target_": "frontpage.recipe.modules.GPTModule", "n_head": 4}
    off = {"technique": {}, "addition": {}, "logit_cap": None}
    assert differences(older, older | off) == {}
    smoothed = {"label_smoothing": {"_target_": "frontpage.recipe.techniques.label_smoothing.LabelSmoothing"}}
    assert differences(older, older | off | {"technique": smoothed}) == {}
    assert differences(older, older | off | {"logit_cap": 15.0}) == {"model.logit_cap": (None, 15.0)}
