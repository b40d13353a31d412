"""Promises of the two claims: known answers come back, and intervals are those of the seeds."""

import json
import math

import numpy as np
import pytest
from scipy.stats import studentized_range, t

from frontpage.analysis.scaling.claims import claims_of
from frontpage.analysis.scaling.efficiency import common_loss, curves_of, sample_efficiency
from frontpage.analysis.scaling.fit import fit_law
from frontpage.analysis.scaling.forms import PowerLaw
from frontpage.analysis.scaling.plot import drawn
from frontpage.analysis.scaling.points import Point
from frontpage.analysis.scaling.report import claim_lines, verdict
from frontpage.analysis.scaling.shapes import compare_shapes, shape_groups
from frontpage.analysis.scaling.spread import Spread, spread_of
from frontpage.command.errors import UserError
from frontpage.command.notices import forget_notices, notices


def point(parameters, tokens, loss, shape=(64, 2), seed=1, rate=0.01):
    name = f"{shape}-{parameters}-{tokens}-{seed}"
    return Point(name, parameters, tokens, 6.0 * parameters * tokens, loss, (), (), shape, rate, seed)


def shaped(effects, seeds=(1,), noise=0.0, parameters=442_368):
    """Runs of one size, the logarithm of whose loss is off by `effects` of the shape, and by the seed's noise."""
    random = np.random.default_rng(0)
    return [
        point(parameters, 1_500_000, 1.6 * math.exp(effect + noise * random.standard_normal()), shape, seed)
        for shape, effect in effects.items()
        for seed in seeds
    ]


EFFECTS = {(64, 9): 0.01, (96, 4): -0.02, (192, 1): 0.03}


def test_the_spread_is_that_of_the_seeds_alone():
    cells = [(1.0, (0.01, -0.01)), (2.0, (0.02, -0.02, 0.0)), (3.0, (0.5,))]
    points = [
        point(10**place, 1000, level * math.exp(off), seed=seed)
        for place, (level, offs) in enumerate(cells, start=3)
        for seed, off in enumerate(offs)
    ]
    found = spread_of(points)
    assert found.freedom == 3
    assert found.deviation == pytest.approx(math.sqrt((2 * 0.01**2 + 2 * 0.02**2) / 3))


@pytest.mark.parametrize("other", [{"shape": (32, 8)}, {"rate": 0.02}, {"seed": 1}], ids=str)
def test_runs_of_another_shape_or_rate_or_of_the_same_seed_are_no_seeds_of_each_other(other):
    assert spread_of([point(1000, 10, 2.0), point(1000, 10, 2.1, **({"seed": 2} | other))]) is None
    assert spread_of([point(1000, 10, 2.0), point(1000, 10, 2.1, seed=2)]).freedom == 1
    assert spread_of([]) is None


def test_shapes_of_one_size_and_as_many_tokens_are_a_group_by_their_aspect():
    far = [point(500_000, 1_500_000, 1.0, (128, 3)), point(442_368, 3_000_000, 1.0, (128, 3))]
    near = point(450_000, 1_505_000, 1.5, (32, 36))
    (group,) = shape_groups([*shaped(EFFECTS, (1, 2)), near, *far, point(442_368, 1_500_000, 1.0, None)])
    assert [cell[0].shape for cell in group] == [(32, 36), (64, 9), (96, 4), (192, 1)]
    assert [len(cell) for cell in group] == [1, 2, 2, 2]
    assert shape_groups(shaped({(64, 9): 0.0}, (1, 2))) == []


def test_the_effect_of_a_shape_comes_back():
    (group,) = shape_groups(shaped(EFFECTS))
    found = compare_shapes(group, lambda run: 1.0, None)
    mean = sum(EFFECTS.values()) / 3
    percents = {(one["width"], one["layers"]): one["percent"] for one in found["shapes"]}
    assert percents == pytest.approx({shape: 100 * math.expm1(e - mean) for shape, e in EFFECTS.items()})
    assert found["largest"]["percent"] == pytest.approx(100 * math.expm1(0.05))
    assert (found["largest"]["worst"], found["largest"]["best"]) == ("192x1", "96x4")
    assert all(one["low"] is one["high"] is None for one in [*found["shapes"], found["largest"]])


def test_what_the_law_says_of_sizes_that_differ_a_little_is_taken_out():
    sizes = {(64, 9): 440_000, (96, 4): 450_000, (192, 1): 460_000}
    points = [point(n, 1_500_000, 5 * n**-0.1, shape) for shape, n in sizes.items()]
    (group,) = shape_groups(points)
    found = compare_shapes(group, lambda run: 5 * run.parameters**-0.1, Spread(0.004, 3))
    assert found["largest"]["percent"] == pytest.approx(0, abs=1e-9)
    assert compare_shapes(group, lambda run: 1.0, None)["largest"]["percent"] == pytest.approx(
        100 * ((46 / 44) ** 0.1 - 1)
    )


def test_the_intervals_of_shapes_are_students_and_tukeys():
    spread = Spread(0.004, 6)
    (group,) = shape_groups(shaped(EFFECTS, (1, 2, 3)))
    found = compare_shapes(group, lambda run: 1.0, spread)
    half = t.ppf(0.975, 6) * 0.004 * math.sqrt(2 / 3 / 3)  # a mean of three, less the mean of three such
    for one in found["shapes"]:
        centre = math.log1p(one["percent"] / 100)
        assert math.log1p(one["low"] / 100) == pytest.approx(centre - half)
        assert math.log1p(one["high"] / 100) == pytest.approx(centre + half)
    half = studentized_range.ppf(0.95, 3, 6) * 0.004 / math.sqrt(3)
    assert math.log1p(found["largest"]["high"] / 100) == pytest.approx(0.05 + half)
    assert math.log1p(found["largest"]["low"] / 100) == pytest.approx(0.05 - half)


def test_an_interval_of_shapes_with_unequal_runs_has_the_variance_of_its_means():
    """By simulation: the deviation of a shape's mean from the mean of all."""
    runs = [point(1000, 10, 1.0, shape, seed) for shape, n in (((64, 9), 4), ((96, 4), 1)) for seed in range(n)]
    (group,) = shape_groups(runs)
    found = {one["runs"]: one for one in compare_shapes(group, lambda run: 1.0, Spread(0.01, 8))["shapes"]}
    random = np.random.default_rng(0).standard_normal((200_000, 5)) * 0.01
    four, one = random[:, :4].mean(1), random[:, 4]
    for count, mean in ((4, four), (1, one)):
        half = t.ppf(0.975, 8) * np.std(mean - (four + one) / 2)
        assert math.log1p(found[count]["high"] / 100) == pytest.approx(half, rel=0.01)


def study(power, sizes=(25e3, 98e3, 332e3, 983e3), lengths=(0.5e6, 1.5e6, 4.5e6), seeds=(1,), noise=0.0, at=0):
    """Runs whose tokens to any one loss go as N^power: loss is a power of D / N^power."""
    random = np.random.default_rng(at)
    return [
        point(
            int(n), int(d), 30 * (d * (n / 1e5) ** -power) ** -0.2 * math.exp(noise * random.standard_normal()), seed=s
        )
        for n in sizes
        for d in lengths
        for s in seeds
    ]


@pytest.mark.parametrize("power", [-0.3, 0.0, 0.2])
def test_the_power_of_the_tokens_comes_back(power):
    points = study(power)
    found = sample_efficiency(points, None)
    assert found["power"]["value"] == pytest.approx(power, abs=1e-3)
    loss = found["loss"]
    for one in found["sizes"]:
        exact = (loss / 30) ** -5 * (one["parameters"] / 1e5) ** power
        assert one["tokens"] == pytest.approx(exact, rel=1e-3)
    assert found["left_out"] == [] and len(found["sizes"]) == 4


def test_draws_that_never_reach_the_loss_leave_an_interval_open():
    """The last piece of each curve falls by a percent, and seeds differ by as much."""
    points = study(0.0, lengths=(4.0e6, 4.3e6, 4.5e6), seeds=(1, 2))
    sure, unsure = (sample_efficiency(points, Spread(noise, 8)) for noise in (1e-5, 0.02))
    assert all(math.isfinite(one["high"]) for one in sure["sizes"]) and sure["power"]["high"] is not None
    assert any(one["high"] == math.inf for one in unsure["sizes"])
    assert all(one["low"] <= one["tokens"] for one in unsure["sizes"])
    assert unsure["power"]["low"] is None, "draws without a line are not left out"


def test_the_loss_is_the_lowest_that_most_sizes_reach():
    points = study(-0.3)
    assert common_loss(curves_of(points)) == pytest.approx(max(run.loss for run in points if run.tokens == 4_500_000))
    unable = study(-3.0)  # so much worse that the smallest one's best is above the others' worst
    assert sample_efficiency(unable, None) is None
    assert sample_efficiency(points[:6], None) is None, "two sizes are no line"
    assert sample_efficiency(points, None, loss=0.1) is None


def test_a_size_that_does_not_reach_the_loss_is_named():
    points = study(-0.3)
    loss = 0.99 * max(run.loss for run in points if run.tokens == 4_500_000)
    found = sample_efficiency(points, None, loss=loss)
    assert found["left_out"] == [25_000] and len(found["sizes"]) == 3


def test_a_curve_that_rises_is_read_where_it_first_has_the_loss():
    points = [point(1000, d, loss) for d, loss in ((100, 3.0), (200, 2.0), (400, 2.5), (800, 1.0))]
    (curve,) = curves_of(points)
    assert math.exp(curve.tokens_to(2.0)) == pytest.approx(200)
    assert math.isnan(curve.tokens_to(0.5, np.log([3.0, 2.0, 1.0, 1.0])))
    assert math.exp(curve.tokens_to(1.0, np.log([8.0, 4.0, 2.0, 1.5]))) == pytest.approx(
        math.exp(math.log(800) + math.log(1.5) / math.log(2 / 1.5) * math.log(2))
    )


@pytest.mark.slow
def test_the_interval_of_the_power_holds_it_and_is_as_wide_as_the_seeds_make_it():
    inside, powers, widths = 0, [], []
    for at in range(40):
        points = study(-0.3, seeds=(1, 2), noise=0.01, at=at)
        found = sample_efficiency(points, spread_of(points), draws=200, seed=at)["power"]
        inside += found["low"] <= -0.3 <= found["high"]
        powers.append(found["value"])
        widths.append(found["high"] - found["low"])
    assert inside >= 34
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(powers), rel=0.4)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.4, -0.2, "fewer tokens"),
        (-0.1, 0.1, "do not tell"),
        (0.1, 0.2, "more tokens"),
        (None, None, "nothing is said"),
    ],
)
def test_a_claim_is_as_good_as_its_interval(low, high, said):
    assert said in verdict({"value": 0.0, "low": low, "high": high})


def law():
    tokens = np.array([1e5, 1e6, 1e7])[:, None]
    return fit_law(PowerLaw("D"), tokens, (1e9 / tokens[:, 0]) ** 0.1, draws=2)


def test_everything_is_printed_drawn_and_strict_json():
    forget_notices()
    points, shapes = study(-0.3, seeds=(1, 2), noise=0.003), shaped(EFFECTS, (1, 2), 0.003)
    claims = claims_of(points, shapes, law(), 50, 0, None)
    assert notices() == [] and claims["spread"]["freedom"] == 12 + 3
    json.dumps(claims, allow_nan=False)
    lines = "\n".join(claim_lines(claims))
    assert "192x1" in lines and "larger models need fewer tokens" in lines and lines.count("95 %") == 3 + 1 + 4 + 1
    panels = drawn(law(), points, [], "val/nats_per_char", claims).axes
    assert [axes.get_title() for axes in panels] == ["", "dependence on shape", "sample efficiency"]
    bars = panels[1].containers[0]
    assert [*bars[0].get_xdata()] == [one["aspect"] for one in claims["shapes"][0]["shapes"]]
    assert len(drawn(law(), points, [], "val/nats_per_char", {"shapes": [], "sample_efficiency": None}).axes) == 1


def test_without_seeds_there_are_values_a_notice_and_no_intervals():
    forget_notices()
    claims = claims_of(study(-0.3), shaped(EFFECTS), law(), 50, 0, None)
    assert "no intervals" in notices()[0] and claims["spread"] is None
    lines = "\n".join(claim_lines(claims))
    assert "95 %" not in lines and "nothing is said of larger models" in lines
    drawn(law(), study(-0.3), [], "val/nats_per_char", claims)


def test_sizes_without_a_loss_in_common_are_said():
    forget_notices()
    assert claims_of(study(-3.0), [], law(), 50, 0, None)["sample_efficiency"] is None
    assert "no loss lies between the runs of 3 sizes" in notices()[0]


@pytest.mark.parametrize(
    ("shapes", "reach", "said"),
    [(shaped({(64, 9): 0.0}), None, "--shapes=.*one size"), ([], 0.01, "--reach=0.01: a loss between")],
)
def test_what_cannot_be_asked_is_said(shapes, reach, said):
    with pytest.raises(UserError, match=said):
        claims_of(study(-0.3), shapes, law(), 50, 0, reach)
