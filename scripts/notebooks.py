"""Run every cell of the notebooks, each in a kernel of its own: `python scripts/notebooks.py notebooks`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

from importlib.util import find_spec
from pathlib import Path

from frontpage.analysis.notebooks.execution import notebooks_in, prepare_output, run_notebooks
from frontpage.command.arguments import Arguments, number, path_for
from frontpage.command.endings import Failure
from frontpage.command.errors import UserError
from frontpage.command.extras import installing
from frontpage.command.terminal import printable_lines


def main() -> None:
    """A line for each notebook, and the traceback of a cell that fails; status 1 where one does."""
    parser = Arguments("Run every cell of notebooks; a cell that fails ends its notebook, and the program with 1.")
    parser.add_argument("notebooks", nargs="*", type=Path, default=[Path("notebooks")], help="files, or their folder")
    parser.add_argument("-k", default="", metavar="NAME", help="only those with this in their names")
    seconds = number(float, 0)
    parser.add_argument("--timeout", default=1800.0, type=seconds, metavar="SECONDS", help="of a cell; 0: none (1800)")
    parser.add_argument("--jobs", type=number(int, 1, 64), default=1, help="notebooks at a time (1)")
    copies = "for copies with what came of the cells (logs/notebooks)"
    parser.add_argument("--output", type=path_for("--output"), default=Path("logs/notebooks"), help=copies)
    arguments = parser.parse_args()
    if find_spec("nbclient") is None or find_spec("ipykernel") is None:
        raise UserError("running notebooks needs nbclient and ipykernel: " + installing("dev"))
    failed = []

    def say(path: Path, problem: str | None, seconds: float) -> None:
        print(
            f"{path.stem}: {'FAILED' if problem else 'ran'}, {seconds:.0f} s, {arguments.output / path.name}",
            flush=True,
        )
        if problem:
            print(printable_lines(problem), flush=True)
            failed.append(path.stem)

    paths = notebooks_in(arguments.notebooks, arguments.k)
    prepare_output(arguments.output, paths)
    run_notebooks(paths, arguments.timeout or None, arguments.jobs, arguments.output, say)
    if failed:
        raise Failure(f"notebooks with a cell that fails: {' '.join(failed)}")


if __name__ == "__main__":
    program(main)
