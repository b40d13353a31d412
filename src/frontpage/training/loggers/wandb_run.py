"""WandbRun: a run on Weights & Biases where that can be reached, kept on disk where it cannot."""

import json
import netrc
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from frontpage.command.endings import INTERRUPTED, Interrupted, Pruned
from frontpage.command.errors import BadValue, UserError
from frontpage.command.job import study_of_job
from frontpage.command.limits import Text
from frontpage.command.notices import notice

MODES = ("auto", "online", "offline")
MODES_OF_WANDB = ("online", "offline", "disabled", "shared", "dryrun", "run")  # of the variable WANDB_MODE
NOT_IN_PROJECT = "/\\#?%:"  # what Weights & Biases takes in no project's name
LONGEST = 128  # characters of such a name, and of a group's
PATIENCE = 3.0  # seconds that the check for a network may take
# Of the run's directory, uploaded at its end.
RECORD = "run.json"
FILES = ("config.yaml", RECORD, "metrics.csv", "events.jsonl", "samples.txt")
STILL_WRITTEN = ("events.jsonl",)  # so that what is uploaded is a copy
SYNC = "`wandb sync` uploads it later"


class WandbRun(WandbLogger):
    """Logs to Weights & Biases, and finishes with the run: FILES as an artifact, and an exit code.

    `mode` is `online`, `offline` (on disk, below `directory`), or `auto`: online where there are a key and a network.
    The variable WANDB_MODE wins over it. A resumed run continues its own run there. Neither the command line nor the
    console is sent, for what they may hold. `group` null: the study's name in a search, else `name`. `entity` is the
    user or team whose project it is (null: the key's own), `tags` and `notes` are shown with it. Raises UserError.
    """

    def __init__(
        self,
        directory: str | Path,
        project: str,
        name: str,
        group: str | None,
        mode: str = "auto",
        *,
        entity: Text | None = None,
        tags: list[Text] | None = None,
        notes: Text | None = None,
    ) -> None:
        import wandb

        if mode not in MODES:
            raise BadValue("logger.wandb.mode", mode, f"one of {' '.join(MODES)}")
        fits = 0 < len(project) <= LONGEST and not set(project) & set(NOT_IN_PROJECT)
        allowed = f"a name of at most {LONGEST} characters, without {' '.join(NOT_IN_PROJECT)}"
        if not fits:
            raise BadValue("logger.wandb.project", project, allowed)
        if len(group or "") > LONGEST:
            raise BadValue("logger.wandb.group", group, f"at most {LONGEST} characters")
        self.directory = Path(directory)
        self.chosen = choose_mode(mode)
        settings = wandb.Settings(
            mode=self.chosen,
            console="off",
            x_disable_machine_info=True,
            disable_code=True,
            silent=True,
            init_timeout=20,
        )
        run_id, group = earlier_id(self.directory), group or study_of_job() or name
        shown = {"entity": entity, "group": group, "tags": list(tags or ()), "notes": notes}
        super().__init__(name=name, save_dir=directory, project=project, id=run_id, settings=settings, **shown)
        del self._wandb_init["anonymous"]  # Lightning gives it, and wandb warns of it on stderr

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; UserError where Weights & Biases refuses it."""
        import wandb

        try:
            return super().experiment
        except wandb.errors.Error as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"logger.wandb.mode={self.chosen}: {reason}; logger.wandb.mode=offline needs none"
            ) from error

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Upload what the run leaves, and finish it, also after an error or an interrupt."""
        if self._experiment is None:
            return
        import wandb

        run, self._experiment = self._experiment, None
        self._id = run.id  # a later experiment of this logger continues it
        there = [self.directory / name for name in FILES if (self.directory / name).is_file()]
        if there and not run.disabled:
            artifact = wandb.Artifact(f"run-{run.id}", type="run")
            for path in there:
                if path.name == RECORD:
                    with artifact.new_file(RECORD) as file:
                        json.dump(without_hosts(json.loads(path.read_text(encoding="utf-8"))), file)
                else:
                    artifact.add_file(str(path), policy="mutable" if path.name in STILL_WRITTEN else "immutable")
            run.log_artifact(artifact)
        error = sys.exc_info()[1]
        broken = INTERRUPTED if isinstance(error, Interrupted | KeyboardInterrupt) else 1
        run.finish(exit_code=0 if status == "success" or isinstance(error, Pruned) else broken)


def without_hosts(record: dict[str, Any]) -> dict[str, Any]:
    """A `run.json` that does not name the machines of its processes; an older one names none."""
    kept = dict(record)
    if "processes" in record:
        kept["processes"] = [
            {name: value for name, value in one.items() if name != "host"} for one in kept["processes"]
        ]
    return kept


def choose_mode(asked: str) -> str:
    """`online` or `offline` (or what WANDB_MODE says); a notice says why it is offline, unless that was asked for."""
    variable = os.environ.get("WANDB_MODE")
    allowed = f"the environment variable; one of {' '.join(MODES_OF_WANDB)}"
    if variable and variable not in MODES_OF_WANDB:
        raise BadValue("WANDB_MODE", variable, allowed)
    asked = variable or asked
    if asked != "auto":
        return asked
    if not has_key():
        notice(f"logger.wandb.mode=auto: no WANDB_API_KEY and no `wandb login`, so the run stays on disk; {SYNC}")
        return "offline"
    if not reachable(server()):
        notice(
            f"logger.wandb.mode=auto: {urlsplit(server()).hostname} cannot be reached, so the run stays on disk; {SYNC}"
        )
        return "offline"
    return "online"


def has_key() -> bool:
    """Whether the environment or `wandb login`, which writes to .netrc, gives a key."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        logins = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
    except (OSError, netrc.NetrcParseError):
        return False
    return logins.authenticators(urlsplit(server()).hostname or "") is not None


def server() -> str:
    """The URL of the server of Weights & Biases."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def reachable(url: str, seconds: float = PATIENCE) -> bool:
    """Whether the server of `url`, or the proxy on the way to it, takes a connection within `seconds`.

    In a thread of its own, since looking a name up takes as long as the system likes.
    """
    target = urlsplit(url)
    target = urlsplit(getproxies().get(target.scheme, url))
    answered = threading.Event()

    def connect() -> None:
        try:
            port = target.port or (80 if target.scheme == "http" else 443)
            socket.create_connection((target.hostname, port), timeout=seconds).close()
            answered.set()
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def earlier_id(directory: Path) -> str | None:
    """The id of the run that an earlier session has left in `directory`, or None."""
    folders = sorted(directory.glob("wandb/*run-*-*"), key=lambda path: path.stat().st_mtime_ns)
    return folders[-1].name.rpartition("-")[2] if folders else None
