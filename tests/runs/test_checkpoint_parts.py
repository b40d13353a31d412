"""Promises about malformed checkpoints: each is refused before a step, with the name of the part that is wrong."""

import copy
import importlib.util
import io
import math

import pytest
import torch
from programs import train_tiny
from tiny import TINY, composed, options

from frontpage.command.build import build
from frontpage.command.errors import UserError
from frontpage.data.packing import TitleBatch
from frontpage.recipe.parameter_groups import optimizer_of
from frontpage.runs.checked_file import write_whole
from frontpage.runs.checkpoint import check_continues, check_resumable, newest_intact, open_checkpoint
from frontpage.runs.checkpoint_structure import _weights, check_structure, optimizer_state
from frontpage.runs.structure import unlike
from frontpage.training.resumed_callbacks import check_callbacks

SMALL = ("data.block_size=64", "model.d_model=64", "model.n_layer=2", "model.n_head=4")
LAYER = "net.blocks.0.mlp.up.weight"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of an epoch and a half, broken off in the middle of one."""
    return train_tiny(tmp_path_factory.mktemp("runs") / "run", "trainer.max_epochs=2", "save_interval=5")


@pytest.fixture(scope="module")
def content(run):
    """Its checkpoint in the middle of the second epoch."""
    return torch.load(run / "checkpoints" / "last-1.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def built(run):
    """(trainer, data, model) of the run that is to continue."""
    taken = []

    def take(*given):
        taken.extend(given[:3])
        raise UserError("taken")

    (run / "run.json").write_text((run / "run.json").read_text().replace('"finished"', '"failed"', 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frontpage.training.prepare.check_structure", take)
        with pytest.raises(SystemExit):
            train_tiny(run, "trainer.max_epochs=2", "save_interval=5", "ckpt_path=last")
    return taken


@pytest.fixture
def refused(run, built):
    """refused(content) is what a run says that is to continue from it; nothing where it would."""
    trainer, data, model = built

    def say(content):
        path, written = run / "checkpoints" / "malformed.ckpt", io.BytesIO()
        torch.save(content, written)
        write_whole(path, written.getbuffer())
        try:
            checkpoint = open_checkpoint(path, "ckpt_path")
            check_resumable(checkpoint)
            check_continues(model, checkpoint)
            check_callbacks(trainer, checkpoint)
            check_structure(trainer, data, model, checkpoint)
        except UserError as error:
            return str(error)
        finally:
            path.unlink()
        return ""

    return say


def at(content, *keys):
    for key in keys:
        content = content[key]
    return content


def put(*keys):
    """A malformation: the last of `keys` is what stands in the place that the others name."""
    *places, last, value = keys

    def malform(content):
        node = at(content, *places)
        node[last] = value(node[last]) if callable(value) else value

    return malform


def drop(*keys):
    def malform(content):
        del at(content, *keys[:-1])[keys[-1]]

    return malform


STATE = ("optimizer_states", 0, "state")
GROUPS = ("optimizer_states", 0, "param_groups")
FIT = ("loops", "fit_loop")
LOADER = (*FIT, "state_dict", "combined_loader")
PROGRESS = (*FIT, "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step", "total")
RANDOM = ("callbacks", "RandomState", "processes")
MALFORMED = {
    "no weights": (put("state_dict", {}), "weights do not fit"),
    "a weight is missing": (drop("state_dict", LAYER), LAYER),
    "a weight too many": (put("state_dict", "net.extra", torch.zeros(2)), "net.extra"),
    "a weight of another shape": (put("state_dict", LAYER, torch.zeros(3, 3)), LAYER),
    "integer weights": (put("state_dict", LAYER, lambda weight: weight.long()), LAYER),
    "half a weight's precision": (put("state_dict", LAYER, lambda weight: weight.half()), LAYER),
    "weights in double precision": (put("state_dict", LAYER, lambda weight: weight.double()), LAYER),
    "a list in a weight's place": (put("state_dict", LAYER, lambda weight: weight.tolist()), LAYER),
    "NaN in a weight": (put("state_dict", LAYER, lambda weight: weight * math.nan), LAYER),
    "no optimizer": (put("optimizer_states", []), "optimizer_states"),
    "two optimizers": (put("optimizer_states", lambda states: states * 2), "optimizer_states"),
    "an optimizer that is text": (put("optimizer_states", ["adamw"]), "optimizer_states"),
    "an optimizer without state": (drop(*STATE), "optimizer_states.0 has no state"),
    "an optimizer of empty state": (put(*STATE, {}), "optimizer_states.0.state lacks 0"),
    "no numbers about one weight": (drop(*STATE, 3), "optimizer_states.0.state lacks 3"),
    "numbers about a weight too many": (put(*STATE, 99, {}), "optimizer_states.0.state has a 99"),
    "a moment is missing": (drop(*STATE, 0, "exp_avg_sq"), "optimizer_states.0.state.0 lacks exp_avg_sq"),
    "a moment of another shape": (put(*STATE, 0, "exp_avg", torch.zeros(1)), "optimizer_states.0.state.0.exp_avg"),
    "a moment transposed": (put(*STATE, 0, "exp_avg", lambda one: one.T.contiguous()), "state.0.exp_avg"),
    "a moment in half precision": (put(*STATE, 0, "exp_avg_sq", lambda one: one.bfloat16()), "state.0.exp_avg_sq"),
    "a moment of NaN": (put(*STATE, 0, "exp_avg", lambda one: one * math.nan), "state.0.exp_avg"),
    "a count of steps that is a plain number": (put(*STATE, 0, "step", 10), "state.0.step"),
    "no groups": (put(*GROUPS, []), "ckpt_path"),
    "a group without weights": (drop(*GROUPS, 0, "params"), "param_groups"),
    "weights numbered otherwise": (put(*GROUPS, 0, "params", lambda one: one[::-1]), "param_groups.0.params"),
    "betas of one number": (put(*GROUPS, 0, "betas", (0.9,)), "param_groups.0.betas"),
    "a rate that is text": (put(*GROUPS, 0, "lr", "0.1"), "param_groups.0.lr"),
    "no schedule": (put("lr_schedulers", []), "lr_schedulers"),
    "an empty schedule": (put("lr_schedulers", [{}]), "ckpt_path"),
    "a schedule that stands elsewhere": (put("lr_schedulers", 0, "last_epoch", 3), "lr_schedulers.0"),
    "a schedule of one rate": (put("lr_schedulers", 0, "base_lrs", [0.1]), "lr_schedulers.0.base_lrs"),
    "no loops": (put("loops", {}), "loops"),
    "loops that are a list": (put("loops", [1]), "loops is no dictionary"),
    "no loop of training": (drop(*FIT), "loops lacks fit_loop"),
    "an empty loop of training": (put(*FIT, {}), "loops.fit_loop lacks"),
    "no place in the data": (put(*FIT, "state_dict", {}), "combined_loader"),
    "an empty place in the data": (put(*LOADER, []), "combined_loader"),
    "another place in the data": (put(*LOADER, 0, "batches_done", 1), "loops"),
    "a place before the data": (put(*LOADER, 0, "epoch", -1), "combined_loader"),
    "a count of batches that is no number": (put(*LOADER, 0, "batches_done", None), "batches_done"),
    "loops at another update": (put(*PROGRESS, "completed", 7), "loops stand at update 7"),
    "no callbacks": (put("callbacks", {}), "callbacks"),
    "no clock": (drop("callbacks", "RunClock"), "callbacks lacks RunClock"),
    "no record": (drop("callbacks", "RecordRun"), "callbacks lacks RecordRun"),
    "no generators": (drop("callbacks", "RandomState"), "callbacks lacks RandomState"),
    "no best": (drop("callbacks", "BestCheckpoint"), "callbacks lacks BestCheckpoint"),
    "generators of no process": (put(*RANDOM, []), "callbacks.RandomState"),
    "a generator is missing": (drop(*RANDOM, 0, "numpy"), "callbacks.RandomState.processes.0 lacks numpy"),
    "a generator of another size": (put(*RANDOM, 0, "cpu", torch.zeros(8, dtype=torch.uint8)), "processes.0.cpu"),
    "an empty course of the loss": (put("callbacks", "LossSpike", {}), "callbacks.LossSpike"),
    "a clock without tokens": (drop("callbacks", "RunClock", "tokens_seen"), "callbacks.RunClock lacks tokens_seen"),
    "a clock of text": (put("callbacks", "RunClock", "elapsed_seconds", "1"), "callbacks.RunClock.elapsed_seconds"),
    "the best as text": (put("callbacks", "BestCheckpoint", "kept", "best"), "callbacks.BestCheckpoint.kept"),
    "the best without scores": (put("callbacks", "BestCheckpoint", "kept", [[1]]), "callbacks.BestCheckpoint.kept"),
    "no newest metrics": (drop("newest", "metrics"), "newest lacks metrics"),
    "no newest at all": (drop("newest"), "newest"),
    "metrics of text": (put("newest", "metrics", {"val/loss": "low"}), "newest.metrics.val/loss"),
    "metrics of the record of text": (put("callbacks", "RecordRun", "best", {"step": "x"}), "callbacks.RecordRun.best"),
    "a loss of two numbers": (put("newest", "loss", torch.zeros(2)), "newest.loss"),
    "no update": (drop("global_step"), "global_step"),
    "an update that is text": (put("global_step", "10"), "global_step"),
    "another update": (put("global_step", 7), "the checkpoint at 7"),
    "a negative update": (put("global_step", -1), "global_step"),
    "no epoch": (drop("epoch"), "epoch"),
}


@pytest.mark.parametrize("malform, words", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_checkpoint_is_refused_by_the_name_of_its_part(content, refused, malform, words):
    spoiled = copy.deepcopy(content)
    malform(spoiled)
    said = refused(spoiled)
    assert words in said, said
    assert said.startswith("ckpt_path=") and len(said.splitlines()) == 1


def test_an_intact_checkpoint_is_not_refused(content, refused):
    assert refused(content) == ""


def test_weights_and_their_average_have_the_same_shapes():
    weights = {"one": torch.zeros(2), "two": torch.zeros(3)}
    for averaged, said in (
        (weights, []),
        (weights | {"two": torch.zeros(4)}, ["current_model_state.two is 4 of float32, not 3 of float32"]),
        ({"one": torch.zeros(2)}, ["current_model_state lacks two"]),
    ):
        content = {"state_dict": weights, "current_model_state": averaged}
        assert [*_weights(content, {"32-true"})] == said


@pytest.mark.slow
def test_a_malformed_last_checkpoint_ends_with_status_2_and_leaves_the_run_as_it_was(run, content, command, built):
    """The state of another shape that crashed the fused kernel, through the command line."""
    spoiled = copy.deepcopy(content)
    spoiled["global_step"] += 0
    put(*STATE, 0, "exp_avg", torch.zeros(1))(spoiled)
    path, written = run / "checkpoints" / "spoiled.ckpt", io.BytesIO()
    torch.save(spoiled, written)
    write_whole(path, written.getbuffer())
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    outcome = command(*TINY, "trainer.max_epochs=2", "save_interval=5", f"ckpt_path={path}")
    path.unlink()
    assert outcome.status == 2 and "optimizer_states.0.state.0.exp_avg is one number" not in outcome.stderr
    assert "optimizer_states.0.state.0.exp_avg is 1 of float32, not 96x32 of float32" in outcome.stderr
    assert all(file.read_bytes() == kept for file, kept in before.items() if file.exists())


def test_parts_of_a_wrong_kind_make_ckpt_path_last_take_the_checkpoint_before(run, content):
    spoiled, folder = copy.deepcopy(content), run / "checkpoints"
    spoiled["global_step"] = 10**6
    spoiled["optimizer_states"] = ["adamw"]
    written = io.BytesIO()
    torch.save(spoiled, written)
    write_whole(folder / "spoiled.ckpt", written.getbuffer())
    assert newest_intact(folder).path.name == "last.ckpt"
    (folder / "spoiled.ckpt").unlink()


def updated_once(*overrides):
    """A module of a config, and its optimizer behind a real update."""
    module = build(composed("data=synthetic", *SMALL, *overrides).model, "model", vocab_size=300).train()
    optimizer = optimizer_of(module.net, module.make_optimizer)
    tokens, ids = torch.randint(3, 300, (2, 2, 64))
    module.loss_of(TitleBatch(tokens, tokens, torch.zeros_like(ids), torch.arange(64).expand(2, 64))).backward()
    optimizer.step()
    return module, optimizer


@pytest.mark.parametrize(
    "override",
    [f"{group}={name}" for group in ("model", "model/attention", "optimizer") for name in options(group)]
    + ["model.tie_embeddings=true", "model.tie_embeddings=false", "model/attention=sparsek model.attention.gate=hard"],
)
def test_the_state_that_is_asked_of_a_checkpoint_is_that_of_a_real_update(override):
    if override == "optimizer=adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    module, optimizer = updated_once(*override.split())
    asked = optimizer_state(module, module.state_dict())
    assert [*unlike(optimizer.state_dict(), asked, "optimizer")] == []
    assert set(asked["state"]) == set(optimizer.state_dict()["state"])
