"""Hand a run's model to other programs: `python scripts/export.py <run dir> --format hf|safetensors|gguf|quantised`.

`--push OWNER/NAME` uploads the folder to the Hugging Face hub, with `--dry-run` shows what it would upload.
"""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from frontpage.command.arguments import Arguments, path_for, save_json
from frontpage.command.errors import BadValue, UserError
from frontpage.command.terminal import printable_lines
from frontpage.export.folder import check_new
from frontpage.export.formats import FORMATS, NEEDED, export, quantising_mode
from frontpage.export.gguf_file import PRECISIONS
from frontpage.export.hub import HubRepository, add_push, places_named, repository_of
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
    needed = [name for name in NEEDED[arguments.format] if find_spec(name) is None]
    if needed:
        extra = "quantised" if "torchao" in needed else "export"
        raise UserError(f"--format {arguments.format} needs {' and '.join(needed)}: pip install -e '.[{extra}]'")
    lacking = arguments.format == "hf" and find_spec("transformers") is None
    if lacking and arguments.verify:
        raise UserError("--verify needs transformers: pip install -e '.[transformers]'")
    arguments.verify = not lacking if arguments.verify is None else arguments.verify
    repository = repository_of(arguments)
    # Before the folder: a wrong run makes none.
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
        _say(written, lacking, arguments.dry_run)
        if repository is not None:
            message = f"Export {config.name}, checkpoint {Path(arguments.checkpoint).stem}, as {arguments.format}"
            written["pushed"] = _push(repository, output, message, arguments.dry_run)
        save_json(arguments.json, written | {"verified": written["verified"] and vars(written["verified"])})


def _say(written: dict[str, Any], lacking: bool, dry: bool) -> None:
    where = "to a folder that is removed again" if dry else written["output"]
    print(f"written: {where}, {written['layout']}, {sum(written['files'].values()):,} bytes")
    for name, size in written["files"].items():
        print(f"  {name:<24} {size:>12,}")
    if written["verified"]:
        print(f"compared: {written['verified']}")
    else:
        print("not compared" + ": transformers is not installed (pip install -e '.[transformers]')" * lacking)
    for line in written["notices"]:
        print(f"notice: {line}")


def _push(repository: HubRepository, folder: Path, message: str, dry: bool) -> dict[str, Any]:
    for line in places_named(folder):
        print(f"notice: {line}")
    commit = None if dry else repository.push(folder, message)
    if dry:
        token = f"HF_TOKEN is {'set' if repository.has_token else 'not set'}"
        print(f"would be pushed: all of it to {repository.url}, {repository.visibility}; {token}; its card:")
        print(printable_lines((folder / "README.md").read_text(encoding="utf-8")))
    else:
        print(f"pushed: {commit}, {repository.visibility}")
        left = sorted(repository.there - {path.name for path in folder.iterdir()} - {".gitattributes"})
        if left:
            print(f"notice: left as they are there: {' '.join(left)}")
    return {"repository": repository.url, "visibility": repository.visibility, "commit": commit}


if __name__ == "__main__":
    program(main)
