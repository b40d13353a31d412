"""Promises of an update, whatever the optimizer: its rate follows its rows, and the true gradient is clipped."""

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from optimizers import module_of
from watched_training import trained

from frontpage.command.notices import forget_notices, notices


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("sqrt", 2), ("linear", 4)])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_learning_rate_follows_the_rows_of_an_update(name, rule, factor):
    forget_notices()
    module = module_of(name, "constant", lr_scaling=rule, lr_scaling_rows=2)
    watch = trained(module, accumulate_grad_batches=2, count=4)
    assert watch.rates[0] == pytest.approx([1e-3 * factor] * 2)
    said = [line for line in notices() if "lr_scaling" in line]
    assert said == (
        []
        if rule == "none"
        else [
            f"model.lr_scaling={rule}: 8 rows an update where 2 are meant; the peak learning rate is"
            f" {0.001 * factor:.4g}, {factor} x 0.001"
        ]
    )


def test_a_scaling_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="lr_scaling=cubic: one of none sqrt linear"):
        module_of(lr_scaling="cubic")


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_with_a_loss_scale_the_true_gradient_is_clipped(name):
    plain = trained(module_of(name), gradient_clip_val=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled = trained(module_of(name), plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)], gradient_clip_val=0.1)
    assert scaled.norms == pytest.approx(plain.norms, rel=0.05)
    assert scaled.losses == pytest.approx(plain.losses, rel=0.01)
