"""The promise to those who come from the original: its names are refused everywhere, with what to write instead."""

import re
import shlex
from pathlib import Path

import pytest
from messages import check_message, contents
from omegaconf import OmegaConf
from tiny import CONFIGS, ROOT, TINY

from frontpage.command.errors import UserError
from frontpage.command.old_names import OLD_NAMES, STAYED, in_our_words
from frontpage.training.preflight import check_config

PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
FORMS = ["{}", "model.{}", "model.attention.{}", "trainer.{}", "attn.of.{}"]
ADDED = ["+{}", "+model.{}", "+model.attention.{}", "++trainer.{}"]
SMALL = ["model.d_model=64", "model.n_layer=1", "data.block_size=32"]
# What the page shows: a command, and the line that it ends with if it ends with one.
SHOWN = re.findall(r"^\$ python train\.py (.*)\n((?!\$|```).*)?", PAGE, re.MULTILINE)


@pytest.fixture
def refused(command, tmp_path):
    """refused(*overrides) runs a command that must end with status 2 and leave every file as it was: its message."""

    def run(*overrides: str) -> str:
        before = contents(tmp_path)
        outcome = command(*TINY, *overrides)
        assert outcome.status == 2, outcome.stdout[-2000:] + outcome.stderr
        check_message(outcome.stderr, ())
        assert contents(tmp_path) == before
        assert not list((tmp_path / "logs").glob("runs/*/*")), "an empty run directory was left"
        return outcome.stderr

    return run


def check_form(refused, old: str, form: str) -> None:
    key = form.format(old)
    message = refused(f"{key}=8")
    assert message.startswith(f"{key.lstrip('+')}=8: {old} is the original's name; ")
    assert (OLD_NAMES[old].key or "nothing takes its place") in message
    assert OLD_NAMES[old].option in message and message.rstrip().endswith("(docs/migration.md)")


@pytest.mark.parametrize("old", OLD_NAMES)
def test_an_old_name_is_refused_with_ours(refused, old):
    forms = [*FORMS, *ADDED]  # one for each name, all in turn
    check_form(refused, old, forms[[*OLD_NAMES].index(old) % len(forms)])


@pytest.mark.slow
@pytest.mark.parametrize("override", ["--multirun model.num_verts=4,8", "--multirun +model.num_verts=4,8"])
def test_in_a_sweep_too(command, tmp_path, override):
    outcome = command(*TINY, *override.split(), f"hydra.sweep.dir={tmp_path}/sweep")
    assert outcome.status == 2
    check_message(outcome.stderr, ["model.num_verts=4: ", "model.attention.groups", "model/attention=fixed"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "shown"),
    [("true", "true"), ("null", "null"), ("[512,256]", "[512, 256]"), ("fixed", "fixed"), ("1e-6", "1e-06")],
)
def test_whatever_its_value(refused, value, shown):
    assert refused(f"+model.epilson={value}").startswith(f"model.epilson={shown}: ")
    assert refused(f"model.epilson={value}").startswith(f"model.epilson={value}: ")


SAVED = """
hyperparams: {seed: 1337, lr: 0.02, batch_size: 256}
model_configs: {gpt: {d_model: 128, n_layer: 8}}
attn_configs: {sparse: {n_head: 8, num_verts: 16}}
"""


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("model: {attention: {num_verts: 8}}", "model.attention.num_verts=8"),
        ("model: {hidden_layer: 128}", "model.hidden_layer=128"),
        ("model: {hidden_layer: '${data.block_size}'}", "model.hidden_layer=128"),
        ("trainer: {amp_bool: true}", "trainer.amp_bool=true"),
        ("callbacks: {progress: {epochs: 7}}", "callbacks.progress.epochs=7"),
        ("paths: {log_file: a.log}", "paths.log_file=a.log"),
        ("epochs: 7", "epochs=7"),
        (SAVED, "hyperparams.seed=1337"),
        ("hyperparams: {}", "hyperparams"),
    ],
)
def test_in_an_experiment_of_the_users_own(config, content, key):
    """Hydra merges a file's new keys without a word; the check of the whole config finds them."""
    OmegaConf.set_struct(composed := config("data=synthetic"), False)
    with pytest.raises(UserError, match=re.escape(f"{key}: ") + ".* is the original's name; .*docs/migration.md"):
        check_config(OmegaConf.merge(composed, OmegaConf.create(content)))


@pytest.mark.slow
def test_a_callback_may_have_any_name(config):
    OmegaConf.set_struct(composed := config("data=synthetic"), False)
    composed.callbacks.log_file = composed.callbacks.progress
    check_config(composed)


def configured() -> set[str]:
    """Every key that a config file writes, without its place."""

    def keys(node: dict) -> set[str]:
        return {*node}.union(*(keys(value) for value in node.values() if isinstance(value, dict)))

    return set().union(*(keys(OmegaConf.to_container(OmegaConf.load(path))) for path in CONFIGS.rglob("*.yaml")))


@pytest.mark.slow
def test_no_key_of_ours_is_an_old_name():
    assert not configured() & {*OLD_NAMES}


def check_exists(config, key: str, option: str) -> None:
    """A group's folder, or a key of what `option` composes to."""
    if "." in key:
        assert OmegaConf.select(config(*([option] if option else [])), key, default=...) is not ..., (key, option)
    else:
        assert (CONFIGS / key).is_dir(), key


@pytest.mark.parametrize("old", OLD_NAMES)
def test_every_key_that_a_message_names_exists(config, old):
    ours = OLD_NAMES[old]
    if ours.key:
        check_exists(config, ours.key, ours.option)
    for key, option in re.findall(r"(model\.[\w.]+) with (model[\w/]*=\w+)", ours.remark):
        check_exists(config, key, option)
    for option in re.findall(r"(?:model[\w/]*|scheduler)=\w+", in_our_words(old)):
        config(option)
    for key in re.findall(r"\b(?:model|hydra|optimizer|scheduler|trainer)(?:\.\w+)+", ours.remark):
        group = key.split(".")[0]
        everywhere = "\n".join(path.read_text() for path in Path(CONFIGS, group).rglob("*.yaml"))
        assert re.search(rf"^ *{key.split('.')[-1]}:", everywhere, re.MULTILINE), key


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_has_every_old_name_with_the_key_of_the_message():
    found = {}
    for original, here, remark in rows("Keys"):
        for old in re.findall(r"`(\w+)`", original):
            found[old] = here, remark
    assert list(found) and set(found) == set(OLD_NAMES)
    for old, (here, remark) in found.items():
        assert (OLD_NAMES[old].key or "") in here and bool(OLD_NAMES[old].key) == bool(here), old
        assert OLD_NAMES[old].option in here + remark, old


@pytest.mark.slow
def test_names_that_stayed_are_found_at_their_place(refused):
    kept = re.search(r"These kept their names and have a place now: (.*?), and", PAGE)[1]
    for place in re.findall(r"`([\w.]+)`", kept):
        assert f"did you mean '{place}'" in refused(f"{place.split('.')[-1]}=1")


@pytest.mark.slow
def test_names_that_stayed_with_one_option_are_found_there(refused, config):
    stayed = re.search(r"These kept their names.*?, and (`.*?`)\. ", PAGE)[1]
    pairs = {place.split(".")[-1]: (place, option) for place, option in re.findall(r"`([\w.]+)` with `(.*?)`", stayed)}
    assert pairs == STAYED
    for name, (place, option) in pairs.items():
        check_exists(config, place, option)
        for key in (name, f"trainer.{name}", place):
            assert f"did you mean '{place}', with {option}?" in refused(f"{key}=1")


@pytest.mark.slow
def test_every_value_that_is_translated_is_one(config):
    pieces = [piece for _, here in rows("Values") for piece in re.findall(r"`([^`]+)`", here)]
    options = [piece for piece in pieces if "=" in piece]
    assert len(options) >= 15
    for overrides in options:
        needed = {"model.attention.alternate": ["model/attention=strided"]}.get(overrides.split("=")[0], [])
        check_config(config("data=synthetic", *SMALL, *needed, *shlex.split(overrides)))


def test_the_page_shows_refusals_and_what_runs():
    assert len(SHOWN) >= 7 and len([line for _, line in SHOWN if line]) >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("words", "line"), SHOWN, ids=[words for words, _ in SHOWN])
def test_what_the_page_shows_is_what_happens(refused, config, words, line):
    overrides = shlex.split(words)
    if not line:
        check_config(config("data=synthetic", *overrides))
    else:
        sizes = [] if line.startswith("model.num_verts") else ["data.block_size=256", "model.n_head=8"]
        assert refused(*sizes, *overrides).rstrip("\n") == line


@pytest.mark.slow
@pytest.mark.parametrize("row", rows("The three saved sparse configurations"), ids=lambda row: row[0])
def test_a_saved_sparse_configuration_breaks_the_rules_that_the_page_names(refused, config, row):
    """The published rules, in blocks of `sparseblocksize` tokens; its neighbour breaks none."""
    kernel, groups, summary = (int(cell) for cell in row[1:4])
    given, true = (int(number) for number in re.findall(r"\d+", row[4]))
    context, heads, block = 256, 8, 32
    assert true == context // kernel and given != true
    assert groups * summary >= summary > block // kernel
    named = {int(number) for number in re.findall(r"\d+", row[5])}
    assert {summary, groups * summary, block // kernel} <= named, "the numbers that break the rules"

    def ours(block: int, summary: int, groups: int) -> list[str]:
        sizes = {"block": block, "summary": summary, "groups": groups}
        keys = [f"model.attention.{key}={size}" for key, size in sizes.items()]
        return ["model.n_head=8", "data.block_size=256", "model/attention=fixed", *keys]

    message = refused(*ours(block, summary * kernel, groups))
    first = f"groups={groups}: must divide" if heads % groups else f"summary={summary * kernel}: at most block=32"
    assert message.startswith(f"model.attention.{first}")
    check_config(config("data=synthetic", *ours(*(int(number) for number in re.findall(r"\d+", row[6])))))


def test_the_order_of_the_claims_is_what_the_page_says():
    table = [(float(row[3]), float(row[4]), float(row[5])) for row in rows("What the original's numbers are")]
    for claimed, share, nats in table:
        assert abs(claimed / share - nats) < 0.015
    assert [claimed for claimed, _, _ in sorted(table, key=lambda row: row[2])] == [
        1.2567,
        1.27,
        0.944,
        1.753,
        1.594,
        1.08,
    ]
