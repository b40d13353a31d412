"""What a run says on the console of its metrics, number by number."""

from types import SimpleNamespace

import pytest
import torch
from optimizers import module_of

from frontpage.data.text_sizes import TextSizes
from frontpage.recipe.training_module import TrainingModule

FINAL = {
    "val/loss": 4.23456,
    "val/perplexity": 69.0312,
    "val/nats_per_char": 1.23456,
    "val/nats_per_char_se": 0.01234,
    "val/bits_per_byte": 1.76543,
    "val/coverage": 1.0,
}
STREAM = {"val/mainrun_loss": 1.11116, "val/mainrun_coverage": 0.87654, "val/packed_nats_per_char": 1.25678}
BEST = {"val/nats_per_char": 1.19995}


def test_the_summary_has_each_metric_with_its_unit_and_the_best_headline():
    rows = module_of().summary_rows(FINAL, BEST)
    assert rows == [
        ("val/loss", "4.2346 nats a token (perplexity 69.03)"),
        ("val/nats_per_char", "1.2346 ± 0.0123, best 1.2000"),
        ("val/bits_per_byte", "1.7654"),
        ("val/coverage", "1"),
    ]
    assert module_of().summary_rows(FINAL | {"val/coverage": 0.87654}, BEST)[3] == ("val/coverage", "0.8765")


def test_the_summary_has_the_numbers_of_the_stream_where_they_were_measured():
    module, rest = module_of(), "of the tokens: no loss, see docs/metrics.md)"
    packed, original = module.summary_rows(FINAL | STREAM, BEST)[4:]
    assert packed == ("val/packed_nats_per_char", "1.2568")
    assert original == ("val/mainrun_loss", f"1.1112 (of 87.7% {rest}")
    none = {"val/mainrun_loss": None, "val/mainrun_coverage": 0.0}
    [original] = module.summary_rows(FINAL | none, BEST)[4:]
    assert original == ("val/mainrun_loss", f"none: no span fits (of 0.0% {rest}")


def test_the_line_of_a_validation_has_the_headline_its_error_and_the_originals_number():
    module = module_of()
    module.metrics = dict(FINAL)
    assert module.validation_line() == "nats_per_char=1.2346±0.0123"
    module.metrics |= {"val/mainrun_loss": None, "val/mainrun_coverage": 0.0}
    assert module.validation_line() == "nats_per_char=1.2346±0.0123"
    module.metrics |= STREAM
    assert module.validation_line() == "nats_per_char=1.2346±0.0123 (mainrun_loss=1.1112 at coverage 0.877)"


def test_the_rows_of_any_task_are_those_of_its_declared_metrics():
    module = module_of()
    assert TrainingModule.summary_rows(module, FINAL | STREAM, BEST) == [
        ("val/nats_per_char", "1.2346±0.0123 nats a character, best 1.2000"),
        ("val/loss", "4.2346 nats a token"),
        ("val/perplexity", "69.0312"),
        ("val/bits_per_byte", "1.7654 bits a byte"),
        ("val/coverage", "1.0000"),
        ("val/mainrun_loss", "1.1112"),
        ("val/mainrun_coverage", "0.8765"),
        ("val/packed_nats_per_char", "1.2568 nats a character"),
    ]
    module.metrics = FINAL
    assert TrainingModule.validation_line(module) == "nats_per_char=1.2346±0.0123"
    module.metrics = FINAL | {"val/nats_per_char_se": None}
    assert TrainingModule.validation_line(module) == "nats_per_char=1.2346"


@pytest.mark.parametrize("known", [True, False])
def test_the_floor_is_shown_with_how_far_above_it_the_run_is_where_it_is_known(known):
    sizes = TextSizes.of(["abc", "naïve"], [4, 6])
    nats = torch.tensor([8.0, 10.0], dtype=torch.float64)  # of 8 and 10 characters, the ends counted
    data = SimpleNamespace(least_nats=lambda: nats if known else None, sizes=sizes)
    said = [("floor of the grammar", "1.0000 nats a character; this run is at 1.235 of it")]
    assert module_of().floor_rows(FINAL, data) == (said if known else [])
