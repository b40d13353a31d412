"""Promises of the multi-task guide's flags: each becomes words that set what it says, or is refused with what does."""

import argparse
import re
import shlex

import pytest
from omegaconf import OmegaConf
from tiny import CONFIGS, ROOT, composed, options

from frontpage.command.errors import UserError
from frontpage.command.guide_flags import EXPERIMENT, FLAGS, FOLDER, MODES, Flag, course, translated
from frontpage.training.preflight import check_config

PAGE = (
    (ROOT / "docs/migration.md")
    .read_text(encoding="utf-8")
    .split("\n## From the multi-task guide\n")[1]
    .split("\n## ")[0]
)
BY_NAME = {flag.name: flag for flag in FLAGS}
ROOT_WORDS = [f"experiment={EXPERIMENT}", f"data.root={FOLDER}"]
MERGED = pytest.mark.skipif(not (CONFIGS / "precision").is_dir(), reason="there is no group precision yet")
SMALL = ("debug=fast_parallel", "model.n_layer=2")

# flag, value, its words, and what they set
SETS = [
    ("--mode", "microscope", ["model=microscope"], {"model.n_layer": 77, "model.d_model": 384, "model.n_head": 6}),
    ("--mode", "deep_narrow_40", ["model=deep_narrow_40"], {"model.n_layer": 40, "model.norm": "deepnorm"}),
    ("--mode", "deep_narrow_48", ["model=deep_narrow_48"], {"model.n_layer": 48, "model.d_model": 896}),
    ("--lr", "3e-4", ["optimizer.lr=0.0003"], {"optimizer.lr": 3e-4}),
    ("--lr", "1e-7", ["optimizer.lr=1e-07"], {"optimizer.lr": 1e-7}),
    ("--lr", "0", ["optimizer.lr=0.0"], {"optimizer.lr": 0}),
    ("--weight-decay", "0.1", ["optimizer.weight_decay=0.1"], {"optimizer.weight_decay": 0.1}),
    ("--weight-decay", "0", ["optimizer.weight_decay=0.0"], {"optimizer.weight_decay": 0}),
    ("--batch-size", "16", ["data.batch_size=16"], {"data.batch_size": 16}),
    ("--grad-accum", "2", ["trainer.accumulate_grad_batches=2"], {"trainer.accumulate_grad_batches": 2}),
    ("--precision", "fp32", ["precision=fp32"], {}),
    ("--precision", "fp16", ["precision=fp16"], {}),
    ("--precision", "bf16", ["precision=bf16"], {}),
    ("--precision", "int8", ["precision=int8_optim"], {}),
    ("--precision", "int4", ["precision=int4_qat"], {}),
    ("--steps", "10000", ["trainer.max_steps=10000"], {"trainer.max_steps": 10000, "trainer.max_epochs": None}),
    ("--save-interval", "200", ["save_interval=200"], {"callbacks.last_checkpoint.interval": 200}),
    ("--log-interval", "5", ["log_interval=5"], {"trainer.log_interval": 5}),
    ("--val-interval", "50", ["val_interval=50"], {"trainer.val_interval": 50}),
    (
        "--val-interval",
        "300",
        ["val_interval=300", "callbacks.grokking.window=900"],
        {"callbacks.grokking.window": 900, "callbacks.grokking.patience": 1000},
    ),
    ("--no-grokking", None, ["callbacks=default"], {"callbacks.best_checkpoint.save_top_k": 1}),
    ("--bible-dir", "/my bible/${x}", ['data.root="/my bible/\\${x}"'], {"data.root": "/my bible/${x}"}),
    ("--bible-dir", "E:/Data/Bible", ['data.root="E:/Data/Bible"'], {"data.root": "E:/Data/Bible"}),
    ("--resume", None, ["ckpt_path=last"], {"ckpt_path": "last"}),
    ("--compile", None, ["model.compile=true"], {"model.compile": True}),
    (
        "--gradient-checkpointing",
        None,
        ["model.activation_checkpointing=full"],
        {"model.activation_checkpointing": "full"},
    ),
    ("--cpu-data", None, [], {}),
    ("--language", "en, sv", ["data.translations=[en,sv]"], {"data.translations": ["en", "sv"]}),
    ("--language", "no,en", ['data.translations=["no",en]'], {"data.translations": ["no", "en"]}),
    ("--verbose", None, [], {}),
    ("--no-verbose", None, [], {}),
    ("--schedule", "constant", ["scheduler=constant"], {"scheduler.floor": 1.0}),
    ("--schedule", "cosine", ["scheduler=cosine"], {"scheduler.floor": 0.0, "scheduler.warmup": 0}),
    ("--warmup", "2000", ["scheduler.warmup=2000"], {"scheduler.warmup": 2000}),
    ("--warmup", "0", ["scheduler.warmup=0"], {"scheduler.warmup": 0}),
    ("--eval-aux-samples", "20", ["data.validation_examples=20"], {"data.validation_examples": 20}),
]
REFUSED = {
    "--prepare-cache": (None, "leave it out"),
    "--eval-interval": ("750", "val_interval=750"),
    "--eval-recon-samples": ("50", "leave it out"),
    "--wwm-trigger": ("800", "data.corruption=word data.corruption_share=[[0,0],[800,0.05],[1800,0.15]]"),
    "--wwm-window": ("100", "data.corruption_share=[[0,0],[500,0.05],[1500,0.15]]"),
    "--wwm-threshold": ("0.02", "data.corruption=word"),
    "--wwm-prob": ("0.2", "data.corruption=word data.corruption_share=[[0,0],[500,0.05],[1500,0.2]]"),
    "--span-prob": ("0.1", "data.corruption=span data.corruption_share=[[0,0],[500,0.05],[1500,0.1]]"),
    "--use-cuda-graph": (None, "model.compile=true"),
}
FALLING = {"--schedule": "cosine", "--min-lr-ratio": 0.1}


def read(name: str, text: str | None):
    """What the command line gives for a flag."""
    return True if text is None else BY_NAME[name].takes(text)


def test_every_flag_has_its_promise():
    promised = {name for name, *_ in SETS} | {"--min-lr-ratio"}
    assert promised | {*REFUSED} == {*BY_NAME} and not promised & {*REFUSED}
    assert {flag.name for flag in FLAGS if flag.refused} == {*REFUSED} and len(BY_NAME) == len(FLAGS)


@pytest.mark.parametrize(("name", "text", "words", "values"), SETS)
def test_a_flag_becomes_words_that_set_what_it_says(name, text, words, values):
    found = translated({name: read(name, text)})
    assert [word for word in found.words if word not in ROOT_WORDS] == words
    if not words:
        assert found.said and found.said[0].startswith(f"{name}: ")
    if name == "--precision":
        return  # below
    config = composed(*found.words)
    for key, value in values.items():
        assert OmegaConf.select(config, key) == value, key


@MERGED
@pytest.mark.parametrize(("name", "text", "words", "values"), [row for row in SETS if row[0] == "--precision"])
def test_a_precision_is_an_option(name, text, words, values):
    assert words[0].partition("=")[2] in options("precision")
    composed(*translated({name: text}).words)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_flag_without_a_place_here_says_what_to_write(name):
    text, instead = REFUSED[name]
    with pytest.raises(UserError) as refused:
        translated({name: read(name, text)})
    message = str(refused.value)
    assert message.startswith(f"{name}={text}: " if text else f"{name}: ") and instead in message
    assert "\n" not in message
    words = re.findall(r"[a-z][\w.]*\.[\w.]+=\S+", message)
    check_config(composed(f"experiment={EXPERIMENT}", *SMALL, *words))


@pytest.mark.slow
def test_what_hides_text_from_the_first_update_on_is_a_course_too():
    words = course({"--wwm-trigger": 0, "--wwm-prob": 0.0})
    assert words[1] == "data.corruption_share=[[0,0.05],[1000,0.0]]"
    check_config(composed(f"experiment={EXPERIMENT}", *SMALL, *words))


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"--min-lr-ratio": 0.1}, {"--min-lr-ratio": 0.1, "--schedule": "constant"}])
def test_the_lowest_rate_of_a_constant_one_is_refused(given):
    """`scheduler.floor` of a constant schedule multiplies every rate."""
    with pytest.raises(UserError, match=r"--min-lr-ratio=0.1: .* add --schedule cosine"):
        translated(given)
    for words in (translated(FALLING).words, translated({"--min-lr-ratio": 0.1}, ["scheduler=wsd"]).words):
        assert composed(*words).scheduler.floor == 0.1
    assert composed(*translated({**FALLING, "--min-lr-ratio": 0.0}).words).scheduler.floor == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("--lr", text) for text in ("-1", "nan", "inf", "high")),
        *((name, "0") for name in ("--batch-size", "--grad-accum", "--steps", "--save-interval", "--val-interval")),
        ("--batch-size", "2.5"),
        ("--warmup", "-1"),
        ("--min-lr-ratio", "1.1"),
        ("--eval-aux-samples", "1"),
        ("--mode", "standard"),
        ("--precision", "fp64"),
        ("--bible-dir", " "),
        ("--language", "en,"),
    ],
)
def test_a_value_that_cannot_be_meant(name, text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not|is none of|not empty"):
        read(name, text)


def test_the_modes_are_architectures():
    assert {*MODES} <= {*options("model")}


@pytest.mark.slow
def test_one_language_alone_has_the_originals_shares_of_tasks():
    found = translated({"--language": ["en"]})
    tasks = composed(*found.words).tasks
    assert {name: task.weight for name, task in tasks.items()} == {
        "lm": 0.85,
        "coherence": 0.15,
        "cross_reference": 0,
        "paraphrase": 0,
    }
    assert "paraphrases" in found.said[1]
    assert composed(*translated({"--language": ["en"]}, ["tasks=lm_only"]).words).tasks.keys() == {"lm"}


def test_where_the_corpus_is_looked_for():
    assert translated({}).assumed.as_posix() == FOLDER and translated({}).words == ROOT_WORDS
    assert translated({"--bible-dir": "here"}).words == [f"experiment={EXPERIMENT}", "data.root=here"]
    for own in ("data.root=here", "data=parallel_synthetic", "experiment=quick_prototype"):
        found = translated({}, [own])
        assert found.assumed is None and not any(FOLDER in word for word in found.words) and found.words[-1] == own
    assert translated({"--lr": 1.0}, ["experiment=production"]).words == ["optimizer.lr=1.0", "experiment=production"]


def test_what_the_originals_int8_and_int4_did_is_said():
    for name, bits in (("int8", "8-bit averages"), ("int4", "was 32-bit training")):
        assert bits in " ".join(translated({"--precision": name}).said)
    assert translated({"--precision": "bf16"}).said == []


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def on_the_page(flag: Flag) -> str:
    return "" if flag.refused else " ".join(f"`{word.replace('{}', 'X')}`" for word in flag.words)


def test_the_page_has_every_flag_with_its_words():
    table = {re.search(r"`(--[\w-]+)", row[0])[1]: row for row in rows("Flags")}
    assert list(table) == [flag.name for flag in FLAGS]
    for flag in FLAGS:
        assert table[flag.name][0] == f"`{flag.name}{' X' * (flag.takes is not None)}`"
        assert table[flag.name][1] == on_the_page(flag), flag.name
        for value, (ours, _) in flag.names.items():
            assert f"`{value}`" in table[flag.name][2] and f"`{ours}`" in table[flag.name][2]
        assert bool(flag.refused) == table[flag.name][2].startswith("refused: "), flag.name


EXAMPLES = [(row[0], row[1], shlex.split(row[2].strip("`"))) for row in rows("Example configurations")]


@pytest.mark.slow
@pytest.mark.parametrize(("called", "here", "words"), EXAMPLES, ids=[called for called, *_ in EXAMPLES])
def test_an_example_configuration_of_the_guide_is_the_experiment_of_its_row(called, here, words):
    """All that the command line sets, the experiment has; what it leaves alone, the two share."""
    switches = {"--no-grokking": True}
    pairs = [pair for pair in words if pair not in switches]
    given = {name: read(name, text) for name, text in zip(pairs[::2], pairs[1::2], strict=True)}
    given |= {name: True for name in words if name in switches}
    assert not given.keys() - BY_NAME.keys()
    files = [CONFIGS / "experiment" / f"{name}.yaml" for name in (EXPERIMENT, here.strip("`")) if name.isidentifier()]
    chosen = "".join(path.read_text() for path in files)
    groups = {"--precision": "precision", "--no-grokking": "callbacks"}  # which an experiment need not choose
    outside = {flag for flag, group in groups.items() if f"override /{group}:" not in chosen}
    found = translated({name: value for name, value in given.items() if name not in outside}, ["data.root=here"])
    config = OmegaConf.to_container(composed(*found.words), resolve=False)
    if here == "`multitask`, with these flags":
        assert config["data"]["batch_size"] == 16 and config["trainer"]["max_steps"] == 1000
        return
    name = here.strip("`")
    expected = OmegaConf.to_container(composed(f"experiment={name}", "data.root=here"), resolve=False)
    assert config | {"name": name} == expected


def test_windows_are_those_of_the_default_runs_detector_alone():
    for more in ("experiment=production", "callbacks=default"):
        assert not any("callbacks.grokking" in word for word in translated({"--val-interval": 1000}, [more]).words)


def test_the_guides_run_without_flags_is_the_experiment():
    config = composed(*ROOT_WORDS)
    wanted = {
        "model.n_layer": 77,
        "data.batch_size": 4,
        "trainer.accumulate_grad_batches": 4,
        "optimizer.lr": 2e-4,
        "optimizer.weight_decay": 0.08,
        "optimizer.betas": [0.9, 0.95],
        "trainer.max_steps": 50000,
        "trainer.gradient_clip_val": 1.0,
        "data.block_size": 512,
        "tokenizer.vocab_size": 8192,
        "log_interval": 10,
        "val_interval": 100,
        "save_interval": 500,
    }
    assert {key: OmegaConf.select(config, key) for key in wanted} == wanted
    assert [task.weight for task in config.tasks.values()] == [0.7, 0.15, 0.075, 0.075]
