"""Promises of docs/parameters.md: it is what the config files and the signatures say, and speaks of keys that exist."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tiny import CONFIGS, ROOT

from frontpage.analysis.parameters.config_file import ConfigFile, config_files
from frontpage.analysis.parameters.keys import chosen_options, group_order, keys_of
from frontpage.analysis.parameters.page import BEGIN, END, changed_together, noted_keys, with_tables

PAGE = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
FILES = config_files(Path(CONFIGS), ("experiment", "hparams_search", "debug"))
TABLES = PAGE.partition(BEGIN)[2].partition(END)[0]
ROWS = {row.split("`")[1]: row for row in TABLES.splitlines() if row.startswith("| `")}
BUILDS = ("defaults", "_target_", "_partial_", "_convert_")


def test_the_page_is_what_the_config_files_say():
    """`python scripts/parameters.py` writes it anew; a key without a comment behind it in its file has no meaning."""
    assert with_tables(PAGE, FILES) == PAGE, "python scripts/parameters.py"


def keys_below(node, prefix):
    """The paths of a plain config's values."""
    for name, value in node.items():
        path = f"{prefix}.{name}".lstrip(".")
        if name not in BUILDS:
            yield from keys_below(value, path) if isinstance(value, dict) and value else [path]


def test_every_key_of_every_option_has_a_row():
    """Read by OmegaConf, as a run reads them."""
    found = set()
    for path in Path(CONFIGS).rglob("*.yaml"):
        parts = path.relative_to(CONFIGS).parts[:-1]
        if parts[:1] not in (("experiment",), ("hparams_search",), ("debug",)):
            whole = path.read_text().startswith("# @package")
            content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
            found |= {*keys_below(content, "" if whole else ".".join(parts))}
    assert found == {*ROWS} and len(ROWS) == sum(row.startswith("| `") for row in TABLES.splitlines())


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("seed", ["`1337`", "a whole number, from 0 to 4294967295"]),
        ("optimizer.lr", ["`1e-3`", "lion `1e-4`", "a number, at least 0", "peak learning rate"]),
        ("optimizer.adamw_lr", ["muon `null`", "[optimizer and rate](#what-to-change-together)"]),
        ("model.d_model", ["`512`", "microscope `384`", "a whole number, at least 1", "width of the residual stream"]),
        ("tasks.coherence.weight", ["`0.15`", "a number or a list, at least 0"]),
        ("model.attention.window", ["local, sliding_window `32`", "sparsek `8`"]),
        ("callbacks.early_stopping.patience_updates", ["early_stopping `null`", "at least 1, or null"]),
        ("hydra.launcher.mem_gb", ["`32`", "gigabytes"]),
        ("data.tokenizer", ["taken from tokenizer"]),
        ("ckpt_path", ["([more](#notes))"]),
    ],
)
def test_a_row_has_default_range_meaning_and_what_to_change_with_it(key, cells):
    missing = [cell for cell in cells if cell not in ROWS[key]]
    assert missing == [], ROWS[key]


def test_every_row_of_advice_names_keys_that_exist_and_a_measurement():
    together = changed_together(PAGE)
    assert len(together) > 20 and {*together, *noted_keys(PAGE)} <= {*ROWS}
    advice = PAGE.partition("\n## What to change together\n")[2].partition("\n## Every key\n")[0]
    rows = [line.split(" | ") for line in advice.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 15
    for row in rows:
        assert all(cell.strip(" |") for cell in row), row
        named = [word.partition("=")[0] for word in re.findall(r"`([\w.]+(?:=[\w.-]+)?)`", " ".join(row))]
        keyed = [word for word in named if word in ROWS]
        assert (keyed and re.search(r"\d|\]\(", row[-1])) or row[-1] == "measured |", row


WHOLE = ConfigFile("", "train", "defaults:\n  - kind: round\nseed: 1 # of the draws\n")
ROUND = ConfigFile("kind", "round", "# Without corners.\n#   python x.py\nsides: 0 # corners\nside: ${seed}\n")
FLAT = ConfigFile("kind", "flat", "defaults:\n  - round\n  - _self_\nsides: 4\nangles:\n  first: 90 # degrees <\n")
EXTRA = ConfigFile("extra", "more", "# @package _global_\nkind:\n  sides: 9\nelse: {} # anything\n")
TOY = (WHOLE, ROUND, FLAT, EXTRA)


def test_defaults_comments_and_other_options_values_are_told_apart():
    keys = {key.path: key for key in keys_of(TOY)}
    assert [*keys] == ["seed", "kind.sides", "kind.side", "kind.angles.first", "else"]
    assert keys["kind.sides"].values == {"round": "0", "flat": "4"}
    assert chosen_options(TOY) == {"kind": "round"} and group_order(TOY) == ["", "kind", "extra"]
    assert ROUND.about == "Without corners."
    page = with_tables(f"before\n{BEGIN}\nold\n{END}\nafter\n", TOY)
    assert page.startswith("before\n") and page.endswith(f"{END}\nafter\n") and "old" not in page
    assert "| `kind.sides` | `0`, flat `4` |  | corners |" in page
    assert "| `kind.angles.first` | flat `90` |  | degrees &lt; |" in page
    assert "| `kind.side` | `${seed}` |  | taken from seed |" in page
    assert with_tables(page, reversed(TOY)) == page, "whatever the order of the files"


def test_a_key_without_a_comment_and_one_that_is_none_are_refused():
    silent = ConfigFile("kind", "round", "sides: 0\n")
    with pytest.raises(ValueError, match=r"comment .* missing: kind.sides"):
        with_tables(f"{BEGIN}{END}", (WHOLE, silent))
    advice = f"\n## What to change together\n\n| a row | `kind.sides` `kind.gone` | do |\n\n## Next\n{BEGIN}{END}"
    with pytest.raises(ValueError, match="kind.gone"):
        with_tables(advice, TOY)
    row = with_tables(advice.replace(" `kind.gone`", ""), TOY)
    assert "corners | [a row](#what-to-change-together) |" in row
