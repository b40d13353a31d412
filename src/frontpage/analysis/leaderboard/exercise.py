"""The second report's table of 23 validations at the exercise's own size, by both metrics, beside our own runs."""

from collections.abc import Sequence

from frontpage.analysis.leaderboard.records import KeptRun, Record
from frontpage.analysis.published import CLAIMS, TABLE, UPDATES

PAIR = "mainrun_baseline", "adamw_gpt"  # the experiments, and records, of the table's two columns
HEADING = """\
## The second report's table

SGD against AdamW at the exercise's own size, 27.2 M weights and 938 updates, at the 23 places of the report \
(LukeAndWinters/mainrun, TRAINING_OPTIMIZATION_REPORT.md). *Legacy* is the original metric, which scores {share:.1%} \
of the tokens that it divides by; *honest* is the same over that share for what was published, by our estimate of the \
report's titles ([metrics](metrics.md)), and `val/nats_per_char` of our own runs, on our own titles, where they \
were validated near there.
"""
NEAR = 22 / UPDATES  # of a run: half of what lies between two places of the report
NAMES = "SGD", "AdamW"


def section(records: Sequence[Record]) -> str:
    """The table, with our columns of those of the pair that have been entered as records."""
    coverage = CLAIMS[0].coverage()
    found = {name: next((one.runs[0] for one in records if one.name == name), None) for name in PAIR}
    groups = [f"{name}, published" for name in NAMES]
    groups += [f"{name}, ours" for name, run in zip(NAMES, found.values(), strict=True) if run]
    columns = ["update", *(f"{group}: {kind}" for group in groups for kind in ("legacy", "honest"))]
    rows = [columns, ["---"] * len(columns)]
    for update, *published in TABLE:
        numbers = [number for legacy in published for number in (f"{legacy:.3f}", f"{legacy / coverage:.3f}")]
        rows.append([str(update), *numbers, *(cell for run in found.values() if run for cell in _cells(run, update))])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    absent = [name for name, run in found.items() if run is None]
    missing = f"\nNot entered yet: {', '.join(absent)}.\n" if absent else ""
    return f"{HEADING.format(share=coverage)}\n{table}{missing}"


def _cells(run: KeptRun, update: int) -> list[str]:
    """(legacy, honest) of a run's validation near a published one, by the share of the run that is done; else empty."""
    place = update / UPDATES * run.record["steps"]
    validations = run.record.get("validations") or [{"update": 0, "mainrun_loss": None, "nats_per_char": None}]
    nearest = min(validations, key=lambda one: abs(one["update"] - place))
    if abs(nearest["update"] - place) > NEAR * run.record["steps"]:
        return ["", ""]
    return ["" if nearest[name] is None else f"{nearest[name]:.4f}" for name in ("mainrun_loss", "nats_per_char")]
