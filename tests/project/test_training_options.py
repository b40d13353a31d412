"""Promises of docs/training_options.md: each command composes and is allowed, and each test that it names exists."""

import ast
import re
import shlex

import pytest
from tiny import ROOT, composed

from frontpage.training.preflight import check_values

PAGE = (ROOT / "docs" / "training_options.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([\w -]+) \| `python train.py (.+?)` \| .* \| `(.+?)::(\w+)` \|$", PAGE, re.MULTILINE)


def test_every_row_is_read():
    assert len(ROWS) == PAGE.count("python train.py") == len(re.findall(r"^\| ", PAGE, re.MULTILINE)) - 1 >= 7


@pytest.mark.slow
@pytest.mark.parametrize(("option", "words", "file", "test"), ROWS, ids=lambda value: value if len(value) < 25 else "")
def test_a_command_composes_with_allowed_values_and_its_test_exists(option, words, file, test):
    overrides = shlex.split(words)
    config, plain = composed(*overrides), composed(*(one for one in overrides if one.startswith("experiment=")))
    check_values(config)
    assert config != plain, "the command asks for what is so anyway"
    functions = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)]
    assert test in {node.name for node in functions}
