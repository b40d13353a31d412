"""Hand a run's model to other programs: `python scripts/export.py <run dir> --format hf|safetensors|gguf|quantised`.

`--push OWNER/NAME` uploads the folder to the Hugging Face hub, with `--dry-run` shows what it would upload.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import tempfile
from pathlib import Path
from typing import Any

from frontpage.command.arguments import Arguments, path_for, save_json
from frontpage.command.errors import BadValue
from frontpage.command.extras import installing
from frontpage.export.folder import check_new
from frontpage.export.formats import FORMATS, can_compare, export, quantising_mode
from frontpage.export.gguf_file import PRECISIONS
from frontpage.export.hub import add_push, places_named, pushed, repository_of
from frontpage.runs.quantised_folder import is_quantised
from frontpage.runs.reopen import load_run
from frontpage.runs.run_arguments import add_trust, run_and_checkpoint


def main() -> None:
    """Write a new folder, compare what it says with what the run says, and push it where that was asked for."""
    parser = Arguments(
        "Write a run's model in a layout that other programs load, and compare the two.", ("format", "layout", "files")
    )
    example = "logs/runs/quickstart/2026-01-31_12-00-00-000000"
    parser.add_argument("run", help=f"a run's directory, e.g. {example}, or one of its checkpoints")
    parser.add_argument(
        "--format", required=True, choices=FORMATS, help="transformers, our own names, llama.cpp, integers"
    )
    parser.add_argument(
        "--output", type=path_for("--output"), metavar="DIR", help="a new or empty folder (<run dir>/export/<format>)"
    )
    parser.add_argument("--checkpoint", help="best (the default), last, or the path of a checkpoint")
    add_trust(parser)
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS, help="of the matrices; gguf only (fp32)")
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        help="compare afterwards; the default where what it needs is installed",
    )
    add_push(parser)
    arguments = parser.parse_args()
    arguments.run, arguments.checkpoint = run_and_checkpoint(arguments.run, arguments.checkpoint)
    if arguments.format != "gguf" and arguments.precision != "fp32":
        raise BadValue(
            "--precision",
            arguments.precision,
            f"--format {arguments.format} is written in fp32; whoever loads it can choose another",
        )
    arguments.verify = can_compare(arguments.format, arguments.verify)
    repository = repository_of(arguments)
    # Before the folder: a wrong run makes none.
    if is_quantised(Path(arguments.run)):
        raise BadValue("run", arguments.run, "is an export of integers; name the run that it was made of")
    integers = arguments.format == "quantised"
    config, module = load_run(arguments.run, arguments.checkpoint, arguments.trust, as_trained=integers)
    if integers:
        quantising_mode(config)
    with tempfile.TemporaryDirectory() as spare:  # of a dry run, which keeps nothing
        output = arguments.output or Path(arguments.run) / "export" / arguments.format
        output = Path(spare) / "export" if arguments.dry_run else output
        check_new(output)
        if repository is not None and not arguments.dry_run:
            repository.look()
        written = export(
            Path(arguments.run),
            config,
            module,
            form=arguments.format,
            output=output,
            checkpoint=arguments.checkpoint,
            precision=arguments.precision,
            verify=arguments.verify,
            licence=arguments.license,
            language=arguments.language,
        )
        print(f"run: {arguments.run}, checkpoint {arguments.checkpoint}")
        _say(written, arguments.dry_run)
        if repository is not None:
            message = f"Export {config.name}, checkpoint {Path(arguments.checkpoint).stem}, as {arguments.format}"
            print(*(f"notice: {line}\n" for line in places_named(output)), sep="", end="", flush=True)  # before it goes
            said, written["pushed"] = pushed(repository, output, message, arguments.dry_run)
            print(*said, sep="\n")
        save_json(arguments.json, written | {"verified": written["verified"] and vars(written["verified"])})


def _say(written: dict[str, Any], dry: bool) -> None:
    where = "to a folder that is removed again" if dry else written["output"]
    print(f"written: {where}, {written['layout']}, {sum(written['files'].values()):,} bytes")
    for name, size in written["files"].items():
        print(f"  {name:<24} {size:>12,}")
    lacking = written["format"] == "hf" and not can_compare("hf")
    why = f": transformers is not installed ({installing('transformers')})" * lacking
    print(f"compared: {written['verified']}" if written["verified"] else f"not compared{why}")
    for line in written["notices"]:
        print(f"notice: {line}")


if __name__ == "__main__":
    program(main)
