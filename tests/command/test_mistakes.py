"""The promise of a user's mistake: one to three lines that name key, value and what is allowed; status 2; no harm."""

import importlib.util

import pytest
import torch
from messages import check_message
from refusals import mistake_fixture  # noqa: F401
from tiny import TINY, options

import frontpage
from frontpage.command.errors import UserError
from frontpage.sweeps.point import check_point
from frontpage.training.preflight import check_config


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
        (
            ["model/attention=mla", "+model.attention.window=32"],
            ["model.attention.window=32", "MLAAttention takes no such key", "d_latent"],
        ),
        ("model.attention.d_inner=31", ["model.attention.d_inner=31", "multiple of n_head"]),
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
        ("trainer.strategy=foo", ["trainer", "trainer.strategy=foo", "auto ddp"]),
        ("trainer.limit_val_batches=0.5", ["trainer.limit_val_batches=0.5", "whole validation set", "debug="]),
        ("callbacks.best_checkpoint.mode=up", ["callbacks.best_checkpoint.mode=up: min or max"]),
        ('callbacks.sample_titles.prompt=" x"', ["callbacks.sample_titles.prompt= x", "no blank at its beginning"]),
        ("init_from=nowhere", ["init_from=nowhere", "neither a run's directory"]),
        ("ckpt_path=nowhere.ckpt", ["ckpt_path=nowhere.ckpt", "no such checkpoint"]),
        ("ckpt_path=.", ["ckpt_path=.", "directory"]),
        *(
            (f"{key}={value}", [f"{key}={value}: must be text, not empty, or null"])
            for key in ("ckpt_path", "init_from")
            for value in ("5", "-1", "1.5", "true", "nan", "")
        ),
        ("ckpt_path=[a,b]", ["ckpt_path=['a', 'b']: must be text, not empty, or null"]),
        ("ckpt_path={a:b}", ["ckpt_path={'a': 'b'}: must be text, not empty, or null"]),
        ("trainer.max_time={days:1e30}", ["trainer.max_time={'days': 1e+30}", "at most 999999999 days"]),
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
        ("logger=false", ["logger=false", "csv mlflow none tensorboard"]),
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
        # tasks on pairs of texts, of data that have titles
        ("tasks=four", ["tasks=coherence cross_reference paraphrase: null or lm_only", "data=parallel has"]),
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


@pytest.mark.slow
def test_a_test_set_without_best_weights_is_refused(mistake, tmp_path):
    (tmp_path / "titles.txt").write_text("A title\nAnother title\n")
    for given in (["callbacks.best_checkpoint.save_top_k=0"], ["~callbacks.best_checkpoint"]):
        mistake([*given, "test=true", f"data.test_path={tmp_path}/titles.txt"], "test=true", "best_checkpoint")


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_knob_of_a_users_experiment_that_the_chosen_attention_lacks(command, mistake, tmp_path):
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\nmodel: {attention: {window: 9}}\n")
    chosen = [f"--config-dir={tmp_path}", "experiment=mine", "model/attention=causal"]
    mistake(chosen, "model.attention.window=9", f"{path} sets it", "~model.attention.window")
    assert command(*TINY, *chosen, "~model.attention.window").status == 0


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("asked", [["trainer=gpu"], ["trainer.accelerator=cuda"]])
def test_a_device_that_is_not_there(command, asked):
    outcome = command(*(one for one in TINY if "accelerator" not in one), *asked)
    assert outcome.status == 2
    check_message(outcome.stderr, ["trainer.accelerator=", "auto cpu"])


@pytest.mark.slow
def test_a_mistake_in_a_sweep(command, tmp_path):
    outcome = command(*TINY, "--multirun", "model.n_head=3", f"hydra.sweep.dir={tmp_path}/sweep")
    assert outcome.status == 2
    check_message(outcome.stderr, ["model.n_head=3", "must divide d_model=32"])
