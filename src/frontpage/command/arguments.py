"""How the scripts read their command lines: mistakes as UserErrors, files to write checked, the result as JSON."""

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from frontpage.command.errors import UserError, local_path
from frontpage.command.json_file import strict_json
from frontpage.command.output_file import OutputFile, Recognise, check_outputs, json_with


class Arguments(argparse.ArgumentParser):
    """An argument parser whose mistakes are UserErrors, and which takes `--json FILE` where there is a result.

    `result` are keys of that JSON, or of each object in its list, by which an earlier result is recognised. Files to
    write are checked when the words of the command line are read: before anything is computed.
    """

    def __init__(self, description: str, result: Sequence[str] | None = None) -> None:
        super().__init__(description=description, allow_abbrev=False)
        self._writes = False
        if result is not None:
            self.add_output("--json", json_with(*result), help="write the result there, too")

    def add_output(self, option: str, ours: Recognise, **settings: Any) -> None:
        """Add an option that names a file to write; `ours` recognises what this command wrote there before."""
        if not self._writes:
            replaces = "replace files that this command has not written, and a run's own files"
            self.add_argument("--overwrite", action="store_true", help=replaces)
        self._writes = True
        made = functools.partial(_output_file, option, ours)
        self.add_argument(option, type=made, **{"metavar": "FILE"} | settings)

    def parse_args(self, *given: Any, **settings: Any) -> argparse.Namespace:  # type: ignore[override]
        """As argparse does it, files to write checked."""
        return _checked(super().parse_args(*given, **settings))

    def parse_intermixed_args(self, *given: Any, **settings: Any) -> argparse.Namespace:  # type: ignore[override]
        """As argparse does it, files to write checked."""
        return _checked(super().parse_intermixed_args(*given, **settings))

    def error(self, message: str) -> NoReturn:
        """Instead of the usage in several lines."""
        raise UserError(f"{self.prog}: {message}; --help lists what is allowed")


def _output_file(option: str, ours: Recognise, text: str) -> OutputFile:
    return OutputFile(option, local_path(text, option), ours)


def _checked(arguments: argparse.Namespace) -> argparse.Namespace:
    outputs = [value for value in vars(arguments).values() if isinstance(value, OutputFile)]
    check_outputs(outputs, getattr(arguments, "overwrite", False))
    return arguments


def number(kind: type, least: float, most: float = math.inf) -> Callable[[str], Any]:
    """An argument type: a finite number of `kind` (int or float) between `least` and `most`."""
    allowed = f"a {'whole ' if kind is int else ''}number of at least {least}"
    if most < math.inf:
        allowed += f" and at most {most}"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}") from error
        if not (least <= value <= most and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
        return value

    return parse


def path_for(option: str) -> Callable[[str], Path]:
    """An argument type: a path on this machine; a UserError names the option where it is a URL."""
    return functools.partial(local_path, key=option)


def several(one: Callable[[str], Any], none: bool = False) -> Callable[[str], list[Any]]:
    """An argument type: several of the type `one`, with commas between them; with `none` an empty text is none."""
    return lambda text: [] if none and not text else [one(part) for part in text.split(",")]


def save_json(output: OutputFile | None, content: Any) -> None:
    """Write `content` as strict JSON where a file was named."""
    if output is not None:
        output.write(strict_json(content))
