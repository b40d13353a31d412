"""`--config-dir`: the folders of configs that a search had beside configs/."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from frontpage.command.errors import BadValue


def add_config_dir(parser: argparse.ArgumentParser) -> None:
    """`--config-dir FOLDER`, a list: more configs, as the search had them."""
    added = "that the search had added"
    parser.add_argument("--config-dir", action="append", default=[], type=_folder, metavar="FOLDER", help=added)


def with_config_dir(command: str, folders: Sequence[str]) -> str:
    """A command of the Makefile with the same folders."""
    words = shlex.join(f"--config-dir={folder}" for folder in folders)
    return f'{command} ARGS="{words}"' if folders else command


def _folder(text: str) -> str:
    if not text or not Path(text).is_dir():
        raise BadValue("--config-dir", text, "a folder of configs, which must exist")
    return text
