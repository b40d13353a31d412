"""The ways in which a program ends that are no success: its exit statuses, and what a run raises to end so."""

FAILURE, MISTAKE, INTERRUPTED = 1, 2, 130


class Interrupted(BaseException):
    """The run was asked to stop (Ctrl-C or SIGTERM) and stopped in good order."""


class Failure(Exception):
    """What was asked for failed, and the message says all of it in at most three lines: no traceback, status 1."""


class Pruned(Exception):
    """A trial of a search was ended early, since others are better; the message says at which update."""


class TaskError(BaseException):
    """Carries an error of a single run past Hydra, which would print to stderr what is not needed there."""
