"""Every key of configs/ has a type at the parameter that takes it, and refuses the values that it always refused."""

import math
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from messages import check_message
from omegaconf import OmegaConf
from tiny import CONFIGS, TINY, composed

from frontpage.command.check import allowed, fits, parameters
from frontpage.command.errors import UserError
from frontpage.training.preflight import RULES, check_values

# Groups of configs/ whose options hold nodes with a target.
GROUPS = ["data", "tokenizer", "model", "model/attention", "optimizer", "scheduler", "trainer", "callbacks", "logger"]
GROUPS += ["model/addition", "model/technique", "hydra/sweeper/sampler", "hydra/sweeper/pruner"]


def merged(path: Path) -> dict[str, Any]:
    """An option with those of its own group that it builds on."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    below = [one for one in content.pop("defaults", []) if isinstance(one, str) and one != "_self_"]
    for name in below:
        content = merged(path.with_name(f"{name}.yaml")) | content
    return content


def leaves(content: dict[str, Any], key: str, target: str | None = None):
    """(key, target, name, value) of all that stands below `key`."""
    target = content.get("_target_", target)
    for name, value in content.items():
        if isinstance(value, dict) and (target is None or "_target_" in value):
            yield from leaves(value, f"{key}.{name}" if key else name)
        elif not name.startswith("_") and name != "defaults":
            yield f"{key}.{name}" if key else name, target, name, value


@pytest.fixture(scope="module")
def kinds() -> dict[str, list[Any]]:
    """Key -> the annotations of the parameters that take it, one for each option that has the key."""
    found = {key: [kind] for key, kind in RULES.root.items()}
    for group in GROUPS:
        for path in sorted((CONFIGS / group).glob("*.yaml")):
            for key, target, name, _ in leaves(merged(path), group.replace("/", ".")):
                if "bitsandbytes" not in str(target):
                    found.setdefault(key, []).append(parameters(target, key, RULES.borrowed).get(name))
    return found


@pytest.mark.parametrize("name", ["last.pt", "last", ".ckpt"])
def test_the_newest_checkpoint_is_one_that_is_found_again(name):
    """What goes on looks for *.ckpt."""
    with pytest.raises(UserError, match=r"callbacks.last_checkpoint.path=.*ends in \.ckpt"):
        check_values(composed(*TINY, f"callbacks.last_checkpoint.path=logs/a/{name}"))


@pytest.mark.slow
def test_every_key_has_a_type(kinds):
    passed_on = ("hydra.sweeper.sampler.", "hydra.sweeper.pruner.")
    untyped = [key for key, places in kinds.items() if Any in places or None in places]
    assert [key for key in untyped if not key.startswith(passed_on)] == []
    assert len(kinds) > 120


@pytest.mark.slow
def test_what_the_files_say_is_within_the_limits(kinds):
    root = ["train", *(f"{folder}/*" for folder in ("experiment", "debug"))]
    files = [(path, "") for pattern in root for path in CONFIGS.glob(f"{pattern}.yaml")]
    files += [(path, group.replace("/", ".")) for group in GROUPS for path in (CONFIGS / group).glob("*.yaml")]
    inside = (CONFIGS / "experiment").glob("*/*.yaml")  # each says where it belongs
    files += [(path, path.read_text().split("\n")[0].removeprefix("# @package ")) for path in inside]
    asked = 0
    for path, group in files:
        for key, _, _, value in leaves(OmegaConf.to_container(OmegaConf.load(path)), group):
            whole = value is None and any(name.startswith(f"{key}.") for name in kinds)  # a callback that is left out
            if "${" not in str(value) and not key.startswith("hydra.") and not whole:
                assert any(fits(value, kind) for kind in kinds[key]), f"{path}: {key}={value}"
                asked += 1
    assert asked > 500


# What every key with a limit promises: the words, what it refuses, the ends of what it takes, and the keys.
NO_NUMBER = (math.nan, math.inf, -math.inf)
LIMITS = {
    "at least 1": (
        (0, -1, 1e30, 0.5, *NO_NUMBER),
        (1, 100),
        "log_interval val_interval save_interval data.num_titles data.max_titles data.block_size data.batch_size"
        " data.evaluation_tokens data.evaluation_row tokenizer.max_piece_length trainer.max_epochs trainer.max_steps"
        " trainer.accumulate_grad_batches trainer.evals_per_epoch model.d_model model.n_head"
        " model.n_kv_head model.d_ff callbacks.sample_titles.top_k model.n_layer"
        " callbacks.sample_titles.max_tokens callbacks.loss_spike.window model.lr_scaling_rows"
        " callbacks.early_stopping.patience callbacks.gradient_noise_scale.every"
        " callbacks.procrustes.every callbacks.procrustes.patience callbacks.concept_clustering.every"
        " callbacks.final_average.every",
    ),
    "at least 4": (
        (0, 3, 4.5, *NO_NUMBER),
        (4, 1000),
        "callbacks.procrustes.texts callbacks.concept_clustering.texts",
    ),
    "a list, each one of layers drift languages reference": (
        ("layers", ["layer"], ["layers", 3]),
        (["layers"], ["drift", "languages"]),
        "callbacks.procrustes.modes",
    ),
    "at least 1, at most 10000": ((0, -1, 10_001, 1e30), (1, 10_000), "callbacks.sample_titles.num model.n_layer"),
    "at least 0": (
        (-1, *NO_NUMBER),
        (0, 3),
        "optimizer.lr optimizer.weight_decay optimizer.lr_decay optimizer.adamw_lr"
        " optimizer.initial_accumulator_value scheduler.warmup scheduler.decay tokenizer.min_frequency"
        " model.technique.r_drop.alpha model.technique.distillation.weight"
        " model.init_std callbacks.sample_titles.temperature callbacks.progress.seconds trainer.overfit_batches"
        " callbacks.early_stopping.min_delta callbacks.final_average.start",
    ),
    "a list is a course": (
        (-1, [], [[1, 1]], [[0, 1], [0, 2]], [[0, -1]], [[0, 1, 2]], "x", *NO_NUMBER),
        (0, 1.6, [[0, 0.8], [0.5, 0.1], [1, 0.9]], [[0, 0], [500, 1]]),
        "optimizer.weight_decay model.weight_decay_of_others",
    ),
    "above 0": (
        (0, -1, *NO_NUMBER),
        (1e-9, 1, 1e30),
        "trainer.gradient_clip_val optimizer.eps model.rotary_base scheduler.every callbacks.loss_spike.threshold"
        " trainer.limit_train_batches callbacks.procrustes.tolerance model.logit_cap"
        " model.technique.distillation.temperature",
    ),
    "from 0 to 4294967295": (
        (-1, 2**32, 0.5, 1e30, *NO_NUMBER),
        (0, 2**32 - 1),
        "seed data.seed data.packing_seed callbacks.sample_titles.seed callbacks.procrustes.seed"
        " callbacks.concept_clustering.seed",
    ),
    "above 0, up to 1": ((0, -1, 1.001, 1e30, *NO_NUMBER), (1e-9, 1), "scheduler.gamma model.rotary_share"),
    "from 1 to 1000000": ((0, -1, 1_000_001, 1e30), (1, 1_000_000), "model.attention.k"),
    "from 1 to 99": ((0, -1, 100, 1e30), (1, 99), "optimizer.ns_steps"),
    "between 0 and 1, both excluded": ((0, -1, 1, 1e30, *NO_NUMBER), (1e-9, 0.999), "data.val_frac"),
    "from 0 to below 1": (
        (-1, 1, 1e30, *NO_NUMBER),
        (0, 0.999),
        "model.dropout model.attention_dropout optimizer.alpha optimizer.momentum callbacks.ema.decay"
        " callbacks.gradient_noise_scale.smoothing model.technique.label_smoothing.share"
        " model.technique.token_dropout.share model.technique.span_dropout.share",
    ),
    "from 0 to 1": ((-1, 1.001, 1e30, *NO_NUMBER), (0, 1), "scheduler.floor optimizer.dampening"),
    "each from 0 to below 1": (
        ([0.9, 1], [-1, 0.9], [0.9], 0.9, [0.9, math.nan], [1e30, 0]),
        ([0, 0.999],),
        "optimizer.betas",
    ),
    "at least 259 (256 bytes and 3 special tokens), at most 1000000": (
        (0, -1, 258, 1_000_001, 1e30, *NO_NUMBER),
        (259, 1_000_000),
        "tokenizer.vocab_size",
    ),
    "at least 1, or auto": ((0, -1, 1e30, True, *NO_NUMBER), (1, 8, "auto", [0, 1]), "trainer.devices"),
    "not empty": (("", 1, ["a"]), ("a",), "name ckpt_path init_from data.path data.test_path data.column"),
    "no blank at its beginning": ((" x", "\tx", 1), ("", "x y"), "callbacks.sample_titles.prompt"),
    "a file's name without / and without its ending": (
        ("/a", "a/b", 1),
        ("best",),
        "callbacks.best_checkpoint.filename",
    ),
    "one of none sqrt linear": (("cubic", "", None), ("none", "sqrt", "linear"), "model.lr_scaling"),
    "one of auto 32-true 64-true bf16-mixed bf16-true 16-mixed 16-true 32 64 bf16": (
        ("foo", 33, ["32"], None),
        ("auto", 32, "32"),
        "trainer.precision",
    ),
    "DD:HH:MM:SS, not all 0, at most 999999999 days": (
        ("soon", "00:00:00:00", "1:00", 3, f"{10**14}:00:00:00", {"days": 1e30}, {"days": 10**12}, {"hours": "x"}, {}),
        ("00:01:00:00", "400:0:0:1", {"hours": 1}, None),
        "trainer.max_time",
    ),
    "a width for each layer, such as [512,256,512]": ((3, "x", ["x"]), ([4, 2, 4], None), "model.widths"),
    "none, full or every_k such as every_2": (
        ("some", "every_0", 2),
        ("none", "every_12"),
        "model.activation_checkpointing",
    ),
}


@pytest.mark.parametrize(
    ("key", "words", "refused", "taken"),
    [(key, words, *values) for words, (*values, keys) in LIMITS.items() for key in keys.split()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_keeps_its_limit(kinds, key, words, refused, taken):
    for kind in kinds[key]:
        assert words in allowed(kind)
        assert [value for value in refused if fits(value, kind)] == []
        assert [value for value in taken if not fits(value, kind)] == []


@pytest.mark.parametrize(
    ("override", "pieces"),
    [
        ("objective=val/los", ["objective=val/los", "val/nats_per_char"]),
        ("objective=val/mainrun_loss", ["objective=val/mainrun_loss", "model.original_metric=always"]),
        ("val_interval=x", ["val_interval=x", "a whole number, at least 1, or null"]),
        ("save_interval=-1", ["save_interval=-1", "a whole number, at least 1, or null"]),
        ("data.path=", ["data.path=", "text", "not empty"]),
        ("data.num_titles=0", ["data.num_titles=0", "a whole number, at least 1, or null"]),
        ("data.num_titles=-5", ["data.num_titles=-5", "at least 1"]),
        ("data.block_size=0", ["data.block_size=0", "a whole number", "at least 1"]),
        ("data.block_size=-3", ["data.block_size=-3", "at least 1"]),
        ("data.block_size=x", ["data.block_size=x", "a whole number"]),
        ("data.batch_size=0", ["data.batch_size=0", "at least 1"]),
        ("data.val_frac=0", ["data.val_frac=0", "between 0 and 1"]),
        ("data.val_frac=1", ["data.val_frac=1", "between 0 and 1"]),
        ("data.val_frac=-1", ["data.val_frac=-1", "between 0 and 1"]),
        ("data.repack=2", ["data.repack=2", "true or false"]),
        ("tokenizer.vocab_size=258", ["tokenizer.vocab_size=258", "at least 259"]),
        ("tokenizer.vocab_size=many", ["tokenizer.vocab_size=many", "a whole number"]),
        ("model.n_head=0", ["model.n_head=0", "a whole number", "at least 1"]),
        ("model.d_model=0", ["model.d_model=0", "a whole number", "at least 1"]),
        ("model.n_layer=many", ["model.n_layer=many", "a whole number"]),
        ("model.dropout=1", ["model.dropout=1", "from 0 to below 1"]),
        ("model.bias=maybe", ["model.bias=maybe", "true or false"]),
        ("optimizer.lr=-1", ["optimizer.lr=-1", "a number", "at least 0"]),
        ("optimizer.lr=fast", ["optimizer.lr=fast", "a number", "at least 0"]),
        ("optimizer.betas=[0.9]", ["optimizer.betas=[0.9]", "a list of 2"]),
        ("scheduler.warmup=-1", ["scheduler.warmup=-1", "at least 0"]),
        ("scheduler.floor=2", ["scheduler.floor=2", "from 0 to 1"]),
        (["scheduler=wsd", "scheduler.shape=cubic"], ["scheduler.shape=cubic", "must be 1-sqrt or linear"]),
        (["scheduler=step", "scheduler.every=0"], ["scheduler.every=0", "above 0"]),
        (["scheduler=step", "scheduler.gamma=2"], ["scheduler.gamma=2", "above 0, up to 1"]),
        (["optimizer=muon", "optimizer.adjust_lr_fn=x"], ["optimizer.adjust_lr_fn=x", "match_rms_adamw or original"]),
        (["optimizer=muon", "optimizer.ns_steps=0"], ["optimizer.ns_steps=0", "from 1 to 99"]),
        (["optimizer=muon", "optimizer.adamw_lr=-1"], ["optimizer.adamw_lr=-1", "a number, at least 0, or null"]),
        (["optimizer=lion", "optimizer.betas=[0.9,1]"], ["optimizer.betas=[0.9, 1]", "each from 0 to below 1"]),
        (["optimizer=rmsprop", "optimizer.alpha=1"], ["optimizer.alpha=1", "from 0 to below 1"]),
        (["optimizer=sgd", "optimizer.momentum=1"], ["optimizer.momentum=1", "from 0 to below 1"]),
        ("model.logit_cap=0", ["model.logit_cap=0", "above 0", "or null"]),
        (
            ["model/technique=[multi_token_prediction]", "model.technique.multi_token_prediction.weights=[-1]"],
            ["model.technique.multi_token_prediction.weights=[-1]", "each at least 0"],
        ),
        ("model.lr_scaling_rows=0", ["model.lr_scaling_rows=0", "at least 1"]),
        ("trainer.precision=foo", ["trainer.precision=foo", "32-true", "bf16-mixed"]),
        ("trainer.devices=0", ["trainer.devices=0", "at least 1, or auto"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs=0", "a whole number, at least 1, or null"]),
        ("trainer.max_epochs=-1", ["trainer.max_epochs=-1", "a whole number, at least 1, or null"]),
        ("trainer.max_steps=0", ["trainer.max_steps=0", "a whole number, at least 1, or null"]),
        ("trainer.max_time=00:00:00:00", ["trainer.max_time=00:00:00:00", "not all 0"]),
        ("trainer.accumulate_grad_batches=0", ["trainer.accumulate_grad_batches=0", "at least 1"]),
        ("trainer.gradient_clip_val=0", ["trainer.gradient_clip_val=0", "above 0"]),
        ("callbacks.sample_titles.num=0", ["callbacks.sample_titles.num=0", "at least 1"]),
        (["callbacks.ema.decay=1", "callbacks=ema"], ["callbacks.ema.decay=1", "from 0 to below 1"]),
        (
            ["callbacks.early_stopping.patience=0", "callbacks=early_stopping"],
            ["callbacks.early_stopping.patience=0", "at least 1"],
        ),
        ("callbacks.sample_titles.seed=-1", ["callbacks.sample_titles.seed=-1", "from 0"]),
        ("callbacks.best_checkpoint.filename=/best", ["callbacks.best_checkpoint.filename=/best", "without /"]),
        ("optimizer.eps=0", ["optimizer.eps=0", "above 0"]),
        ("tokenizer.vocab_size=1000000000000", ["tokenizer.vocab_size=1000000000000", "at most 1000000"]),
        (
            ["model/attention=sparsek", "model.attention.k=1000000000000"],
            ["model.attention.k=1000000000000", "from 1 to"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_value_outside_its_limits_is_named(override, pieces):
    overrides = [override] if isinstance(override, str) else override
    chosen = {
        one for one in overrides if "." not in one.partition("=")[0] and (CONFIGS / one.partition("=")[0]).is_dir()
    }
    config = composed(*TINY, *sorted(chosen))
    for one in OverridesParser.create().parse_overrides([one for one in overrides if one not in chosen]):
        OmegaConf.update(config, one.key_or_group, one.value(), merge=False)
    with pytest.raises(UserError) as error:
        check_values(config)
    check_message(f"{error.value}\n", pieces)
