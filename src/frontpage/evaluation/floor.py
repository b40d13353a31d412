"""The floor: what a model that knows the source of the titles would score, where the source is known."""

from frontpage.data.title_data import TitleData
from frontpage.evaluation.metrics import honest_metrics


def floor_of(data: TitleData) -> dict[str, float] | None:
    """The honest metrics under `floor/`, on the validation titles of `data`; None where their source is not known."""
    nats = data.least_nats()
    return None if nats is None else honest_metrics(nats, data.sizes.tokens, data.sizes, prefix="floor/")
