"""Hand a run's model to other programs: `python scripts/export.py <run dir> --format hf|safetensors|gguf|quantised`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
from importlib.util import find_spec
from pathlib import Path

from frontpage.command.arguments import Arguments, path_for, save_json
from frontpage.command.errors import BadValue, UserError
from frontpage.export.folder import check_new
from frontpage.export.formats import FORMATS, NEEDED, export, quantising_mode
from frontpage.export.gguf_file import PRECISIONS
from frontpage.runs.reopen import load_run
from frontpage.runs.run_arguments import add_trust, run_and_checkpoint


def main() -> None:
    """Write a new folder, then compare what it says with what the run says."""
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
    arguments = parser.parse_args()
    arguments.run, arguments.checkpoint = run_and_checkpoint(arguments.run, arguments.checkpoint)
    output = arguments.output or Path(arguments.run) / "export" / arguments.format
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
    # Before the folder: a wrong run makes none.
    integers = arguments.format == "quantised"
    config, module = load_run(arguments.run, arguments.checkpoint, arguments.trust, as_trained=integers)
    if integers:
        quantising_mode(config)
    check_new(output)

    written = export(
        Path(arguments.run),
        config,
        module,
        form=arguments.format,
        output=output,
        checkpoint=arguments.checkpoint,
        precision=arguments.precision,
        verify=not lacking if arguments.verify is None else arguments.verify,
    )
    print(f"run: {arguments.run}, checkpoint {arguments.checkpoint}")
    print(f"written: {output}, {written['layout']}, {sum(written['files'].values()):,} bytes")
    for name, size in written["files"].items():
        print(f"  {name:<24} {size:>12,}")
    if written["verified"]:
        print(f"compared: {written['verified']}")
    else:
        print("not compared" + ": transformers is not installed (pip install -e '.[transformers]')" * lacking)
    for line in written["notices"]:
        print(f"notice: {line}")
    save_json(arguments.json, written | {"verified": written["verified"] and vars(written["verified"])})


if __name__ == "__main__":
    program(main)
