"""The picture of a benchmark of attention over several lengths: time and peak memory, log-log, with their slopes."""

from typing import Any

from frontpage.analysis.benchmarks.attention import slopes

PANELS = {"milliseconds": "milliseconds, forward and backward", "peak_bytes": "bytes at the peak of both"}


def plotted(plt: Any, result: dict[str, Any], least: int) -> Any:
    """What `measure_all` gave, of what `auto` takes; slopes from `least` tokens on."""
    tables, grown = result["lengths"], slopes(result["lengths"], least)
    figure, panels = plt.subplots(1, len(PANELS), figsize=(14, 5), layout="constrained")
    for axes, (what, label) in zip(panels, PANELS.items(), strict=True):
        for place, name in enumerate(next(iter(tables.values()))):
            values = [table[name][what][table[name]["auto"]] for table in tables.values()]
            slope = f", T^{grown[name][what]:.2f}" if name in grown else ""
            style = {"color": "black", "linewidth": 2.5} if name == "causal" else {"color": f"C{place % 10}"}
            dashed = "--" if place > 10 else "-"
            axes.plot([*tables], values, dashed, marker=".", label=f"{name}{slope}", **style)
        axes.set(xscale="log", yscale="log", xlabel="tokens of a row", title=label)
        axes.set_xticks([*tables], [f"{length:,}" for length in tables], minor=False)
        axes.minorticks_off()
        axes.legend(
            fontsize="small",
            loc="upper left",
            bbox_to_anchor=(1, 1),
            title=f"slopes from {least:,} tokens on" if grown else None,
        )
    plt.close(figure)
    return figure
