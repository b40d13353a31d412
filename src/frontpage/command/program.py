"""What every command of the project does at its edges: where warnings go, which exit status an error gets."""

from frontpage.command.first_moment import all_is_imported, leave_when_interrupted  # isort: skip  (first: it hears Ctrl-C while all is imported)

import argparse
import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TextIO

from frontpage.command.console import make_lasting, what_was_lost
from frontpage.command.endings import FAILURE, INTERRUPTED, MISTAKE, Failure, Interrupted, TaskError
from frontpage.command.env_file import load_env_file
from frontpage.command.errors import UserError
from frontpage.command.fewer_imports import leave_them_alone
from frontpage.command.interrupts import leave, raise_when_interrupted, was_interrupted
from frontpage.command.masking import hide, remember_arguments
from frontpage.command.process_family import end_with_first_process, is_child, is_helper, launched
from frontpage.command.terminal import printable_lines

FULL_ERROR = "FRONTPAGE_FULL_ERROR"
make_lasting()
end_with_first_process()
leave_them_alone()


# Before torch and Lightning are imported: stderr is for errors only, all else goes to stdout.
class _Stdout(logging.StreamHandler):
    """Writes to what sys.stdout is at that moment."""

    stream = property(lambda self: sys.stdout, lambda self, stream: None)


logging.basicConfig(handlers=[_Stdout()], format="%(message)s", level=logging.INFO)
logging.captureWarnings(True)
# Lightning 2.6 with torch 2.13 calls a deprecated helper of torch's on every batch.
warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
# A resumed run writes where it wrote before; open_run has refused every other directory in use.
warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
# Logging steps are counted over the whole run, so an epoch shorter than their interval is fine.
warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
# check_callbacks says it in words of the config.
warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided.*")
# Every process of a run computes the metrics of all.
warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
# On a machine of a Slurm cluster a run need not be a job of it.
warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used.*")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Several processes: sockets that close first at the end are no news.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
# CUDA only: batches of changing sizes leave no holes that nothing fits into.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


class _Stderr:
    """stderr, but what Hydra says there of every job of a sweep that was pruned or failed goes to stdout."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write one piece of text where it belongs."""
        stream = sys.stdout if text.startswith("Error executing job with overrides") else self._stream
        return stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def task(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorate what `hydra.main` runs: a value's `~/` is written out; errors of a sweep go to Hydra, others past it."""

    @wraps(function)
    def run(config: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig

        from frontpage.command.job import console_of_trial
        from frontpage.command.run_folder import expand_homes

        quiet_lightning()  # in the processes of a launcher, too
        try:
            with console_of_trial():
                expand_homes(config)
                return function(config)
        except Exception as error:
            if str(HydraConfig.get().mode).endswith("MULTIRUN"):
                raise
            raise TaskError from error

    return run


def program(main: Callable[[], object]) -> None:
    """Run `main` and leave with status 0; 2 after a user's mistake, said in at most three lines; 130; or 1.

    `HYDRA_FULL_ERROR=1` shows the traceback of a mistake instead.
    """
    all_is_imported()
    # Processes that this one starts inherit what the user asked for, not what Hydra is told below.
    full = os.environ.get(FULL_ERROR if is_child() else "HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ[FULL_ERROR] = str(int(full))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise its errors, so that we can word them
    argparse.ArgumentParser.error = _refuse
    try:
        raise_when_interrupted()
        lines, status, error = _outcome(main)
        if error is not None and lines is not None:
            print(printable_lines(hide("".join(traceback.format_exception(error)) if full else lines)), file=sys.stderr)
    except (Interrupted, KeyboardInterrupt) as stopped:
        _leave_interrupted(str(stopped))
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning leaves with 1 then
            _leave_interrupted("")
        raise
    finally:
        leave_when_interrupted()
    if error is None:
        _check_output()
    elif lines is None:
        raise error  # not inside `except`, so that its traceback holds its own causes only
    else:
        sys.exit(status)


def _outcome(main: Callable[[], object]) -> tuple[str | None, int, BaseException | None]:
    """(what to say of it or None, the exit status, the error or None) of a `main` that was not interrupted."""
    from frontpage.command.disk_full import explain_full_disk
    from frontpage.command.mistakes import check_arguments, explain, with_homes

    quiet_lightning()
    try:
        with contextlib.redirect_stderr(_Stderr(sys.stderr)):
            check_arguments()
            sys.argv[1:] = with_homes(sys.argv[1:])
            load_env_file()
            remember_arguments(sys.argv)
            main()
        return None, 0, None
    except TaskError as carrier:
        error = carrier.__cause__
    except Exception as raised:
        if was_interrupted():  # what a signal breaks off may end in any error
            raise KeyboardInterrupt from raised
        error = raised
    sys.stdout.flush()
    if isinstance(error, Failure):
        return str(error), FAILURE, error
    mistake = explain(error)
    if mistake is not None:
        return mistake, MISTAKE, error
    return explain_full_disk(error), FAILURE, error


def quiet_lightning() -> None:
    """Take from Lightning its own handlers, which write to stderr, and what is no warning."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)


def _leave_interrupted(where: str) -> None:
    """Say it and where, if that is known, and end; another signal ends at once."""
    leave_when_interrupted()
    if is_helper():
        leave(0 if launched() else INTERRUPTED)  # a launcher ends all where one fails; our own first process knows
    print(f"{where}\n" * bool(where) + "interrupted", flush=True)
    leave(INTERRUPTED)


def _check_output() -> None:
    """Fail where what was printed did not arrive, e.g. on a full disk."""
    sys.stdout.flush()
    problem = what_was_lost()
    if problem is not None:
        print(f"the output could not be written: {problem}", file=sys.stderr)
        sys.exit(FAILURE)


def _refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """Instead of a usage text of many lines."""
    raise UserError(f"{message}; allowed: key=value, group=option, and the flags that --help lists")
