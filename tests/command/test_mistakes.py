"""The promise of a user's mistake: one to three lines that name key, value and what is allowed; status 2; no harm."""

import importlib.util
from pathlib import Path

import filelock
import pytest
import torch
from messages import check_message, contents, folders
from programs import train_tiny
from tiny import TINY, options

import frontpage
from frontpage.command.errors import UserError
from frontpage.sweeps.point import check_point
from frontpage.training.preflight import check_config


@pytest.fixture
def mistake(command, tmp_path):
    """mistake(overrides, *pieces) runs a command that must be refused with a message that holds every piece."""

    def refused(overrides: tuple[str, ...] | list[str] | str, *pieces: str) -> str:
        before, folders_before = contents(tmp_path), folders(tmp_path)
        outcome = command(*TINY, *([overrides] if isinstance(overrides, str) else overrides))
        assert outcome.status == 2, outcome.stdout[-2000:] + outcome.stderr
        check_message(outcome.stderr, pieces)
        after = contents(tmp_path)
        assert {path: after.get(path) for path in before} == before, "a file was changed or lost"
        assert not [path for path in after.keys() - before.keys() if "cache" not in path.parts], "something was left"
        assert folders(tmp_path) == folders_before, "a folder was left or lost"
        return outcome.stderr

    return refused


@pytest.mark.parametrize(
    ("override", "pieces"),
    [
        # misspelt keys: the nearest valid one is named, and what the node has
        ("data.blok_size=64", ["data.blok_size=64", "did you mean 'data.block_size'", "batch_size"]),
        ("model.n_layr=2", ["model.n_layr=2", "did you mean 'model.n_layer'", "d_model"]),
        ("sed=3", ["sed=3", "did you mean 'seed'", "log_interval"]),
        ("modle.n_layer=2", ["modle.n_layer=2", "did you mean 'model'", "tokenizer"]),
        ("optimizr.lr=0.1", ["optimizr.lr=0.1", "did you mean 'optimizer'"]),
        ("callbacks.progres.seconds=1", ["callbacks.progres.seconds=1", "did you mean 'callbacks.progress'"]),
        ("n_layer=2", ["n_layer=2", "did you mean 'model.n_layer'"]),
        ("trainer.block_size=2", ["trainer.block_size=2", "did you mean 'data.block_size'", "max_epochs"]),
        ("hydra.run.dri=x", ["hydra.run.dri=x", "did you mean 'hydra.run.dir'"]),
        ("+model.foo=1", ["model.foo=1", "GPTModule takes no such key", "n_layer"]),
        ("model._target_=frontpage.models.gpt.GTP", ["model._target_=frontpage.models.gpt.GTP", "no such class"]),
        ("model._target_=os.system", ["model._target_=os.system", "frontpage.*"]),
        # what an architecture passes to its attentions, and what the shared parts of attentions pass to each other
        ("+model.attention.n_head=2", ["model.attention.n_head=2", "set by model.n_head"]),
        ("+model.attention.dropout=0.5", ["model.attention.dropout=0.5", "set by model.attention_dropout"]),
        (["model=modern", "+model.attention.bias=true"], ["model.attention.bias=true", "set by model.bias"]),
        ("+model.attention.d_inner=32", ["model.attention.d_inner=32", "CausalAttention takes no such key", "backend"]),
        ("+model.attention.patterns=[]", ["model.attention.patterns=[]", "takes no such key"]),
        # misspelt options and groups
        ("experiment=quikstart", ["experiment=quikstart", "did you mean 'quickstart'", "adamw_gpt"]),
        ("model/attention=causl", ["model/attention=causl", "did you mean 'causal'", "allowed: "]),
        ("tokenizer=bpee", ["tokenizer=bpee", "did you mean 'bpe'", "unigram"]),
        ("trainer=cpuu", ["trainer=cpuu", "did you mean 'cpu'", "auto"]),
        ("data=/tmp/titles.csv", ["data=/tmp/titles.csv", "no such option", "synthetic"]),
        ("experimnt=quickstart", ["experimnt=quickstart", "did you mean 'experiment'", "tokenizer"]),
        ("modle=gpt", ["modle=gpt", "did you mean 'model'"]),
        ("model/attenton=causal", ["model/attenton=causal", "did you mean 'model/attention'"]),
        ("attention=causal", ["attention=causal", "did you mean 'model/attention'"]),
        ("model.attention=causal", ["model.attention=causal", "model/attention=...", "causal"]),
        ("model.attention=null", ["model.attention=null", "model/attention=...", "causal"]),
        ("data.tokenizer=bpe", ["data.tokenizer=bpe", "_target_"]),
        ("model=null", ["model=null", "gpt"]),
        ("hydra/launcher=foo", ["hydra/launcher=foo", "no such option", "basic"]),
        ("hydra.mode=foo", ["hydra.mode", "'foo'", "MULTIRUN"]),
        # overrides that cannot be read
        ("data.path=my titles (1).csv", ["data.path=my titles (1).csv", """'data.path="my titles (1).csv"'"""]),
        ("data.path='a", ["data.path='a", "quote", """'data.path="'"'"'a"'"""]),
        ("seed", ["seed", "key=value"]),
        ("=3", ["=3", "key=value"]),
        ("+seed=1", ["+seed=1", "exists already", ": seed=1"]),
        ("optimizer.lr=1e-3,1e-4", ["optimizer.lr=1e-3,1e-4", "--multirun", "[1e-3,1e-4]"]),
        ("optimizer.lr=range(1,3)", ["optimizer.lr=range(1,3)", "--multirun"]),
        ("data.path=a,b.csv", ["data.path=a,b.csv", """'data.path="a,b.csv"'"""]),
        ("data.path=${nope}", ["data.path=${nope}", "'nope'", "not found"]),
        ("hydra.run.dir=${nope}", ["hydra.run.dir=${nope}", "'nope'", "not found"]),
        ("data.path=???", ["data.path=???", "Missing mandatory value"]),
        ("data.path=${nope:x}", ["data.path=${nope:x}", "nope"]),
        ("--nope", ["--nope", "key=value", "--help"]),
        ("--config-name=nope", ["nope"]),
        # values of a wrong type or outside their range
        ("seed=-1", ["seed=-1", "a whole number", "from 0 to 4294967295"]),
        ("name=", ["name=", "text", "not empty"]),
        ("log_interval=0", ["log_interval=0", "a whole number, at least 1, or null"]),
        ("test=perhaps", ["test=perhaps", "true or false"]),
        ("data.path=[a]", ["data.path=['a']", "text, not empty, or null"]),
        ("data.block_size=2.5", ["data.block_size=2.5", "a whole number"]),
        ("data.val_frac=abc", ["data.val_frac=abc", "a number, between 0 and 1"]),
        ("data.val_frac=1e-20", ["data.val_frac=1e-20", "120 titles", "validation side empty"]),
        (["data.num_titles=1"], ["data.val_frac=0.1", "1 titles", "training side empty"]),
        ("model.n_head=3", ["model.n_head=3", "must divide d_model=32"]),
        ("model.n_kv_head=4", ["model.n_kv_head=4", "must divide n_head=2"]),
        ("model.n_layer={a: 1}", ["model.n_layer=", "a whole number"]),
        ("model.activation=foo", ["model.activation=foo", "gelu relu relu2 swiglu"]),
        ("model.norm=foo", ["model.norm=foo", "layer or rms"]),
        ("model.norm_position=foo", ["model.norm_position=foo", "pre or post"]),
        ("model.positions=foo", ["model.positions=foo", "learned or rotary"]),
        ("model.init=foo", ["model.init=foo", "normal uniform xavier kaiming"]),
        ("model.original_metric=foo", ["model.original_metric=foo", "always end never"]),
        ("optimizer.lr=nan", ["optimizer.lr=nan", "at least 0"]),
        ("optimizer.betas=[0.9,2]", ["optimizer.betas=[0.9, 2]", "each from 0 to below 1"]),
        ("scheduler.warmup=2.5", ["scheduler.warmup=2.5", "a whole number of updates, or a share of the run below 1"]),
        (["scheduler=wsd", "scheduler.decay=0"], ["scheduler.decay=0", "above 0"]),
        (["scheduler=wsd", "scheduler.warmup=0.5", "scheduler.decay=0.7"], ["scheduler.decay=0.7", "at most the 0.5"]),
        (["scheduler=wsd", "scheduler.decay=900"], ["scheduler.decay=900", "at most"]),
        (["scheduler=linear", "+scheduler.decay=0.5"], ["scheduler.decay=0.5", "takes no such key", "warmup floor"]),
        (["optimizer=lion", "+optimizer.eps=1e-8"], ["optimizer.eps=1e-08", "takes no such key", "weight_decay"]),
        (["optimizer=sgd", "optimizer.nesterov=true"], ["optimizer: Nesterov momentum requires a momentum"]),
        (
            ["optimizer=sgd", "optimizer.fused=true", "trainer.precision=bf16-true"],
            ["optimizer.fused=true", "trainer.precision=bf16-true", "updates nothing"],
        ),
        ("optimizer=adamax", ["optimizer=adamax", "did you mean 'adam", "muon"]),
        ("model.lr_scaling=cubic", ["model.lr_scaling=cubic", "none sqrt linear"]),
        ("trainer.accelerator=foo", ["trainer.accelerator=foo", "auto cpu"]),
        ("trainer.max_epochs=null", ["trainer.max_epochs=null", "trainer.max_steps=null"]),
        ("trainer.max_time=soon", ["trainer.max_time=soon", "DD:HH:MM:SS"]),
        ("trainer.limit_train_batches=0.001", ["trainer.limit_train_batches=0.001", "none of the 1", "at least 0."]),
        ("trainer.profiler=foo", ["trainer", "profiler", "simple"]),
        ("trainer.strategy=foo", ["trainer", "strategy='foo'", "auto, ddp"]),
        ("trainer.limit_val_batches=0.5", ["trainer.limit_val_batches=0.5", "whole validation set", "debug="]),
        ("callbacks.best_checkpoint.mode=up", ["callbacks.best_checkpoint.mode=up: min or max"]),
        ('callbacks.sample_titles.prompt=" x"', ["callbacks.sample_titles.prompt= x", "no blank at its beginning"]),
        ("init_from=nowhere", ["init_from=nowhere", "neither a run's directory"]),
        ("ckpt_path=nowhere.ckpt", ["ckpt_path=nowhere.ckpt", "no such checkpoint"]),
        ("ckpt_path=.", ["ckpt_path=.", "directory"]),
        (["test=true"], ["data.test_path=null", "test"]),
        (["test=true", "data.test_path=nowhere.txt"], ["data.test_path=nowhere.txt", "no such file"]),
        # keys that are taken away, and groups that are no names
        *(
            (f"~{key}", [f"{key}: every run needs it", "taken away"])
            for key in ("objective", "seed", "test", "init_from")
        ),
        ("~trainer.devices", ["trainer.devices: every run needs it"]),
        ("~tokenizer.vocab_size", ["tokenizer.vocab_size: every run needs it"]),
        ("~data._target_", ["data._target_: every run needs it"]),
        ("logger=[]", ["logger: every run needs it", "logger=none"]),
        ("~logger", ["logger: every run needs it", "logger=none"]),
        ("logger=false", ["logger=false", "csv none tensorboard"]),
        # what would only show at the first validation
        (
            "callbacks.best_checkpoint.monitor=val/los",
            ["callbacks.best_checkpoint.monitor=val/los", "val/nats_per_char"],
        ),
        (
            "callbacks.best_checkpoint.monitor=val/mainrun_loss",
            ["callbacks.best_checkpoint.monitor=val/mainrun_loss", "model.original_metric=always"],
        ),
        (
            ["callbacks.early_stopping.monitor=val/nope", "callbacks=early_stopping"],
            ["callbacks.early_stopping.monitor=val/nope", "val/nats_per_char"],
        ),
        *(
            (
                [f"objective={objective}", "model.original_metric=always", "data.batch_size=800"],
                ["data.batch_size=800", "no span", "val/mainrun_loss"],
            )
            for objective in ("val/mainrun_loss", "[val/loss,val/mainrun_loss]")
        ),
        (
            ["callbacks.sample_titles.prompt=" + "x" * 40, "tokenizer=bytes", "tokenizer.vocab_size=259"],
            ["callbacks.sample_titles.prompt=", "tokens fill the block of 32"],
        ),
        ("paths.run_dir=elsewhere", ["paths.run_dir=elsewhere", "hydra.run.dir=..."]),
        # sizes beyond any machine
        ("trainer.devices=100000", ["trainer.devices=100000", "cores", "at most"]),
        ("model.d_model=1000000000000", ["model.d_model=1000000000000", "of memory"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_mistake_on_the_command_line(mistake, override, pieces):
    mistake(override, *pieces)


GROUPS = ["callbacks", "debug", "logger", "model/attention", "optimizer", "scheduler", "tokenizer", "trainer"]
# One option of every group at a time, until each has had its turn.
TURNS = [
    [f"{group}={options(group)[turn % len(options(group))]}" for group in GROUPS]
    for turn in range(max(len(options(group)) for group in GROUPS))
]


@pytest.mark.parametrize(
    "overrides",
    [
        *TURNS,
        *([f"experiment={option}", "model.n_layer=1"] for option in options("experiment")),
        ["trainer.precision=32", "optimizer.lr=1", "scheduler.warmup=0.1", "trainer.max_time=00:01:00:00"],
        ["data.path=2014.txt", "trainer.devices=[0]", "callbacks.progress=null", "model.n_kv_head=1"],
        ["objective=val/mainrun_loss", "model.original_metric=always", "data.num_titles=null", "log_interval=null"],
    ],
    ids=" ".join,
)
def test_what_is_no_mistake(config, overrides):
    if importlib.util.find_spec("bitsandbytes") is None:
        overrides = [one for one in overrides if one != "optimizer=adamw_8bit"]
    small = [one for one in TINY if "callbacks." not in one] + ["model.n_head=4"]  # as every attention's defaults need
    check_config(config(*(small if "experiment" not in overrides[0] else ()), *overrides))


@pytest.mark.parametrize(
    "key", ["model.n_head", "trainer.max_epochs", "tokenizer.vocab_size", "callbacks.best_checkpoint.monitor"]
)
def test_a_search_is_told_of_a_key_that_was_taken_away_before_its_study(config, key):
    with pytest.raises(UserError, match=rf"{key}: .*needs it, and it was taken away"):
        check_point(config(f"~{key}"))


def test_a_test_set_without_best_weights_is_refused(mistake, tmp_path):
    (tmp_path / "titles.txt").write_text("A title\nAnother title\n")
    for given in (["callbacks.best_checkpoint.save_top_k=0"], ["~callbacks.best_checkpoint"]):
        mistake([*given, "test=true", f"data.test_path={tmp_path}/titles.txt"], "test=true", "best_checkpoint")


def test_an_error_inside_a_new_file_is_not_called_a_mistake(command, tmp_path, monkeypatch):
    (tmp_path / "faulty.py").write_text("undefined")
    (tmp_path / "faulty_too.py").write_text(
        "from frontpage.recipe.modules import GPTModule\n\n\n"
        "class Model(GPTModule):\n    def __init__(self, **keys):\n        keys.undefined\n"
    )
    monkeypatch.setattr(frontpage, "__path__", [*frontpage.__path__, str(tmp_path)])
    with pytest.raises(NameError, match="undefined"):
        command(*TINY, "model._target_=frontpage.faulty.Model")
    with pytest.raises(AttributeError, match="undefined"):
        command(*TINY, "model._target_=frontpage.faulty_too.Model")


def test_a_knob_of_a_users_experiment_that_the_chosen_attention_lacks(command, mistake, tmp_path):
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\nmodel: {attention: {window: 9}}\n")
    chosen = [f"--config-dir={tmp_path}", "experiment=mine", "model/attention=causal"]
    mistake(chosen, "model.attention.window=9", f"{path} sets it", "~model.attention.window")
    assert command(*TINY, *chosen, "~model.attention.window").status == 0


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("nowhere.csv", None, "no such file"),
        ("garbage.parquet", b"PAR1 this is no Parquet file PAR1", "not a readable Parquet file"),
        ("broken.jsonl", b'{"title": "good"}\n{"title": "bad\n', "line 2 is not JSON"),
    ],
)
def test_a_file_that_cannot_be_read(mistake, tmp_path, name, content, problem):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    mistake(f"data.path={path}", f"data.path={path}", problem)
    mistake(["test=true", f"data.test_path={path}"], f"data.test_path={path}", problem)


def test_a_file_with_fewer_titles_than_asked_for(mistake, tmp_path):
    (tmp_path / "few.txt").write_text("first\nsecond\nfirst\n")
    mistake(f"data.path={tmp_path}/few.txt", "data.num_titles=120", "2 distinct titles", "null")


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("asked", [["trainer=gpu"], ["trainer.accelerator=cuda"]])
def test_a_device_that_is_not_there(command, asked):
    outcome = command(*(one for one in TINY if "accelerator" not in one), *asked)
    assert outcome.status == 2
    check_message(outcome.stderr, ["trainer.accelerator=", "auto cpu"])


@pytest.mark.parametrize("place", ["below/a/file", "proc"])
def test_a_run_directory_that_cannot_be_made(command, tmp_path, place):
    (tmp_path / "below").write_text("a file")
    path = "/proc/nope" if place == "proc" else str(tmp_path / place)
    outcome = command(*TINY, f"hydra.run.dir={path}")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"hydra.run.dir={path}", "cannot be made", "name one that can be written"])
    assert (tmp_path / "below").read_text() == "a file"


def test_a_cache_that_cannot_be_written(mistake, tmp_path):
    (tmp_path / "file").write_text("a file")
    mistake(f"paths.cache_dir={tmp_path}/file/tokens", f"paths.cache_dir={tmp_path}/file/tokens", "cannot be written")
    assert (tmp_path / "file").read_text() == "a file"


def test_a_run_directory_with_other_files_is_left_alone(mistake, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("not a run's")
    for more, allowed in ((), "ckpt_path=last"), (("ckpt_path=last",), "name a run's, or an empty one"):
        mistake([f"hydra.run.dir={tmp_path}/mine", *more], f"hydra.run.dir={tmp_path}/mine", allowed)


def test_a_named_run_directory_is_empty_after_a_mistake_and_can_be_used(mistake, command, tmp_path):
    (tmp_path / "mine").mkdir()
    mistake([f"hydra.run.dir={tmp_path}/mine", "model.n_head=3"], "model.n_head=3")
    assert list((tmp_path / "mine").iterdir()) == []
    assert command(*TINY, f"hydra.run.dir={tmp_path}/mine").status == 0


def test_a_mistake_in_a_sweep(command, tmp_path):
    outcome = command(*TINY, "--multirun", "model.n_head=3", f"hydra.sweep.dir={tmp_path}/sweep")
    assert outcome.status == 2
    check_message(outcome.stderr, ["model.n_head=3", "must divide d_model=32"])


def test_two_runs_in_one_directory_at_once(mistake, tmp_path):
    (tmp_path / "mine").mkdir()
    with filelock.FileLock(tmp_path / "mine" / "run.lock"):
        for more in ([], ["ckpt_path=last"]):
            mistake([f"hydra.run.dir={tmp_path}/mine", *more], f"hydra.run.dir={tmp_path}/mine", "another process")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The directory of a tiny run that has ended."""
    return train_tiny(tmp_path_factory.mktemp("finished") / "run")


def test_a_finished_run_is_not_touched(command, finished):
    before = contents(finished.parent)
    outcome = command(*TINY, f"hydra.run.dir={finished}")
    assert outcome.status == 2
    check_message(outcome.stderr, [f"hydra.run.dir={finished}", "in use already", "a new or an empty one"])
    assert contents(finished.parent) == before
    outcome = command(*TINY, f"hydra.run.dir={finished}", "ckpt_path=last")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert f"{finished} is finished" in outcome.stdout
    assert contents(finished.parent) == before


def test_nothing_to_continue_is_said(command, run_directories, tmp_path):
    outcome = command(*TINY, "ckpt_path=last", f"hydra.run.dir={tmp_path}/logs/runs/a/b")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "ckpt_path=last" in outcome.stdout and "starts at step 0" in outcome.stdout


def test_checkpoints_that_do_not_fit(mistake, finished, tmp_path):
    good = finished / "checkpoints" / "last.ckpt"
    corrupt, foreign, weights = (tmp_path / f"{name}.ckpt" for name in ("corrupt", "foreign", "weights"))
    corrupt.write_bytes(good.read_bytes()[:5000])
    torch.save({"model": torch.zeros(2)}, foreign)
    content = torch.load(good, weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, weights)
    for key in ("ckpt_path", "init_from"):
        mistake(f"{key}={corrupt}", f"{key}={corrupt}", "not a readable checkpoint")
        mistake(f"{key}={foreign}", f"{key}={foreign}", "not a checkpoint of this project")
        wider = ["model.d_model=64", f"{key}={good}"]
        mistake(wider, f"{key}={good}", "weights do not fit", "net.token_embedding.weight (300x32, here 300x64)")
        mistake(["model.n_layer=2", f"{key}={good}"], "net.blocks.1", "not in the checkpoint")
    mistake(f"ckpt_path={weights}", f"ckpt_path={weights}", "weights only", "init_from=")
    mistake(["optimizer=sgd", f"ckpt_path={good}"], f"ckpt_path={good}", "another optimizer than SGD")
    mistake(f"init_from={tmp_path}", f"init_from={tmp_path}", "neither a run's directory")
