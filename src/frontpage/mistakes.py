"""Which exceptions are a user's mistake, and the lines that say so."""

import re

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from frontpage.errors import UserError

MOST_LINES = 3


def explain(error: BaseException) -> str | None:
    """One to three lines for a mistake that the user can mend; None for anything else."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
    if isinstance(error, OverrideParseException):
        return _shorten(f"{error.override}: not a valid override; allowed: key=value or group=option")
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _shorten(_with_cause(error))
    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    """The exception and all that caused it, outermost first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _with_cause(error: BaseException) -> str:
    text = str(error)
    cause = error.__cause__
    return f"{text}\n{cause}" if isinstance(cause, OmegaConfBaseException) and str(cause) not in text else text


def _shorten(text: str) -> str:
    """At most three lines: what Hydra adds about search paths, object types and tracebacks is left out."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    noise = ("Config search path", "provider=", "object_type=", "full_key:", "reference_type", "Set the environment")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return "\n".join(kept[:MOST_LINES])
