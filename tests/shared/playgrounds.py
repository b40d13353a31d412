"""What the tests of this part share."""

import threading
from contextlib import contextmanager
from pathlib import Path

from frontpage.analysis.pages.playground.answers import OpenRun
from frontpage.analysis.pages.playground.server import Playground
from frontpage.runs.reopen import load_run
from frontpage.runs.run import Run
from frontpage.runs.run_arguments import run_and_checkpoint
from frontpage.runs.training_titles import load_training_titles


@contextmanager
def served(*runs):
    """A playground in this process: what it would print, and the runs that it serves."""
    opened = []
    for directory in runs:
        config, module = load_run(*run_and_checkpoint(str(directory), None))
        opened.append(OpenRun(str(directory), config, module, load_training_titles(Run(Path(directory)))))
    with Playground(opened, 0) as playground:
        thread = threading.Thread(target=playground.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield playground
        finally:
            playground.shutdown()
            thread.join()
