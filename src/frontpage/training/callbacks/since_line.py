"""SinceLine: what a run has done since its newest line on the console."""

from torch import Tensor


class SinceLine:
    """Told of every micro-batch and every optimizer update since the line, which was at `update`, `tokens`, `seconds`.

    Losses stay on their device until they are asked for.
    """

    def __init__(self, update: int = 0, tokens: int = 0, seconds: float = 0.0) -> None:
        self._update, self._tokens, self._seconds = update, tokens, seconds
        self._losses: list[tuple[Tensor, int]] = []
        self._targets = 0  # of the update that is under way
        self._tasks: dict[str, list[Tensor]] = {}

    def batch_done(self, targets: int, task: tuple[str, Tensor] | None = None) -> None:
        """A micro-batch of so many targets is done; `task` is its name and its loss where there are several."""
        self._targets += targets
        if task is not None:
            self._tasks.setdefault(task[0], []).append(task[1])

    def update_done(self, loss: Tensor) -> None:
        """An update is done, of whose targets `loss` is the mean."""
        self._losses.append((loss.detach(), self._targets))
        self._targets = 0

    @property
    def loss(self) -> float:
        """The mean over all targets of the updates since the line; nan where there was none."""
        targets = sum(count for _, count in self._losses)
        return sum(float(loss) * count for loss, count in self._losses) / targets if targets else float("nan")

    @property
    def tasks(self) -> dict[str, float]:
        """The mean of each task's loss over its micro-batches, each of which weighs the same."""
        return {name: sum(map(float, losses)) / len(losses) for name, losses in sorted(self._tasks.items())}

    def rates(self, update: int, tokens: int, seconds: float) -> tuple[float, float]:
        """(updates, tokens) a second between the line and now."""
        passed = max(seconds - self._seconds, 1e-9)
        return (update - self._update) / passed, (tokens - self._tokens) / passed
