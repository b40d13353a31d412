"""Promises of the structure: twelve folders, imports that run down, and little to read to understand a variant."""

import ast
import re
import tomllib

import grimp
import pytest
from tiny import ROOT

PACKAGE = ROOT / "src/frontpage"
FOLDERS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
# What a student reads to understand a module, all of what it imports: files and lines at most.
CLOSURES = {
    "attention.local": (9, 480),
    "attention.causal": (9, 470),
    "attention.bottleneck": (9, 495),
    "attention.sliding_window": (9, 495),
    "attention.fixed": (9, 510),
    "attention.gated": (9, 515),
    "attention.strided": (9, 541),
    "models.gpt": (11, 770),
}


@pytest.fixture(scope="module")
def layers():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    return [floor.split(" | ") for floor in contracts[0]["layers"]]


def test_at_most_twelve_folders_and_no_loose_module():
    assert len(FOLDERS) <= 12
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


def test_every_folder_has_its_floor_in_the_contract_and_in_the_picture(layers):
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    drawn = re.search(r"^  (\w+ --> .*)$", text, re.M)[1].split(" --> ")
    assert [floor.split(" & ") for floor in drawn] == layers
    assert sorted(name for floor in layers for name in floor) == FOLDERS
    assert sorted(re.findall(r"^\| `(\w+)/`", text, re.M)) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_says_what_is_inside_and_names_modules_that_are(folder):
    said = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8")))
    assert said
    for name in re.findall(r"`(\w+)`", said):
        assert file_of(f"frontpage.{folder}.{name}").is_file(), name


@pytest.mark.parametrize("module", CLOSURES)
def test_there_is_little_to_read_before_a_module_is_understood(module):
    graph = grimp.build_graph("frontpage", cache_dir=None)
    name = f"frontpage.{module}"
    files = [path for one in {name, *graph.find_upstream_modules(name)} if (path := file_of(one)).stat().st_size]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert len(files) <= CLOSURES[module][0] and lines <= CLOSURES[module][1], (len(files), lines)


def file_of(module):
    path = ROOT / "src" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
