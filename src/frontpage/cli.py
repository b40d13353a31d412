"""What every command of the project does at its edges: where warnings go, which exit status an error gets."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

# Before torch and Lightning are imported: stderr is for errors only, all else goes to stdout.
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
logging.captureWarnings(True)
# Lightning 2.6 with torch 2.13 calls a deprecated helper of torch's on every batch.
warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

CONFIGS = str(Path(__file__).resolve().parents[2] / "configs")
WHITELIST = ("frontpage.*", "torch.*", "lightning.*", "optuna.*")  # what a config may name as `_target_`

MISTAKE, INTERRUPTED, FAILURE = 2, 130, 1


class Interrupted(BaseException):
    """The run was asked to stop (Ctrl-C or SIGTERM) and stopped in good order."""


class TaskError(BaseException):
    """Carries an error of a single run past Hydra, which would print to stderr what is not needed there."""


def task(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorate what `hydra.main` runs: errors of a single run go straight to `program`, those of a sweep to Hydra."""

    @wraps(function)
    def run(config: Any) -> Any:
        from hydra.core.hydra_config import HydraConfig

        try:
            return function(config)
        except Exception as error:
            if str(HydraConfig.get().mode).endswith("MULTIRUN"):
                raise
            raise TaskError from error

    return run


def program(main: Callable[[], object]) -> None:
    """Run `main` and leave with status 0; 2 after a user's mistake, said in one or two lines; 130; or 1.

    `HYDRA_FULL_ERROR=1` shows the traceback of a mistake too.
    """
    from frontpage.mistakes import explain

    full = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise its errors, so that we can word them
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).handlers.clear()  # they write to stderr
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        main()
    except (Interrupted, KeyboardInterrupt):
        print("interrupted", flush=True)
        sys.exit(INTERRUPTED)
    except (Exception, TaskError) as caught:
        error = caught.__cause__ if isinstance(caught, TaskError) else caught
        lines = explain(error)
        sys.stdout.flush()
        if lines is None or full:
            raise error from None
        print(lines, file=sys.stderr)
        sys.exit(MISTAKE)
