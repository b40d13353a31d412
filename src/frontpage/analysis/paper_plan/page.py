"""The tables of docs/scale.md between two marks; what people wrote around them stays."""

from collections.abc import Iterable

from frontpage.analysis.paper_plan.plan import PresetPlan, Row
from frontpage.machine.peak_memory import GIB

BEGIN = "<!-- begin: written by scripts/scale.py from the estimates of memory and operations; nothing is measured -->"
END = "<!-- end -->"
HEAD = (
    "| GPUs | strategy | checkpointing | rows of a micro-batch x accumulation | tokens of an update | GiB a GPU"
    " | GiB of a machine | GB sent an update | tokens a second | bound by | days |\n" + "|---" * 11 + "|"
)


def with_tables(page: str, plans: Iterable[PresetPlan]) -> str:
    """The page with its tables written anew; ValueError where its marks are missing."""
    if page.count(BEGIN) != 1 or END not in page.partition(BEGIN)[2]:
        raise ValueError("the marks between which the tables stand are missing")
    before, _, rest = page.partition(BEGIN)
    tables = "\n\n".join(map(table_of, plans))
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}"


def table_of(plan: PresetPlan) -> str:
    """A preset's heading, the keys that make it, and a row for each number of devices."""
    about = f"{plan.weights / 1e6:,.1f} million weights, {plan.flops / 1e9:,.3f} GFLOP a token"
    rows = "\n".join(map(row_of, plan.rows))
    return f"### {plan.name}\n\n{about}: `{' '.join(plan.overrides)}`\n\n{HEAD}\n{rows}"


def row_of(row: Row) -> str:
    """A line of the table."""
    if row.strategy is None:
        return f"| {row.devices} | does not fit |" + " |" * 9
    cells = [
        str(row.devices),
        f"`{row.strategy}`",
        row.checkpointing,
        f"{row.rows} x {row.accumulate}",
        f"{row.update_tokens:,}",
        f"{row.device_bytes / GIB:.1f}",
        f"{row.host_bytes / GIB:.1f}",
        _short(row.sent / 1e9),
        _short(row.rate),
        row.bound,
        _short(row.days),
    ]
    return f"| {' | '.join(cells)} |"


def _short(number: float) -> str:
    """Two digits that mean something, or all before the point."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 10 else f"{number:.2g}"
