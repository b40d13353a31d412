"""The floor: what a model that knows the source of the titles would score, where the source is known."""

from torch import Tensor

from frontpage.data.title_data import TitleData
from frontpage.evaluation.metrics import honest_metrics, ratio_with_error


def floor_of(data: TitleData) -> dict[str, float] | None:
    """The honest metrics under `floor/`, on the validation titles of `data`; None where their source is not known."""
    nats = data.least_nats()
    return None if nats is None else honest_metrics(nats, data.sizes.tokens, data.sizes, prefix="floor/")


def below_floor(data: TitleData, nats: Tensor, scored: Tensor) -> bool:
    """Whether `nats` of the texts, (texts,), are below what their source allows by more than three standard errors.

    The error is that of the difference, text by text. Texts of which not all tokens were `scored`, (texts,), do not
    count; False where the source is not known.
    """
    least = data.least_nats()
    if least is None:
        return False
    whole = scored.reshape(-1) == data.sizes.tokens
    if not whole.any():
        return False
    difference, error = ratio_with_error((nats.reshape(-1) - least)[whole], data.sizes.characters[whole])
    return difference < -3 * error
