"""Type the beginning of a title in a browser and see a run, or two, go on: `python scripts/playground.py <run>`."""

from frontpage.command.program import program  # isort: skip  (first: it sends warnings to stdout)

import argparse
import signal

from frontpage.analysis.pages.playground.answers import OpenRun
from frontpage.analysis.pages.playground.server import Playground
from frontpage.command.arguments import number
from frontpage.runs.run_arguments import RunArguments, reopen


def main() -> None:
    """Serve the page on this machine until Ctrl-C."""
    parser = RunArguments("A page on this machine that continues the beginnings of titles as they are typed.")
    parser.add_argument("second", nargs="?", help="another run, to stand beside the first")
    parser.add_argument("--port", type=number(int, 0, 65535), default=8000, help="of the page (8000; 0: any free one)")
    arguments = parser.parse_args()
    runs = [opened(arguments, run) for run in (arguments.run, arguments.second) if run is not None]
    with Playground(runs, arguments.port) as playground:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
        print(f"playground: open {playground.address} in a browser; Ctrl-C ends it", flush=True)
        playground.serve_forever()


def opened(arguments: argparse.Namespace, run: str) -> OpenRun:
    """One of the runs, with its weights."""
    config, module, known = reopen(argparse.Namespace(**{**vars(arguments), "run": run}))
    return OpenRun(run, config, module, known)


if __name__ == "__main__":
    program(main)
