"""What a study of scaling laws prints."""

from collections.abc import Iterator
from typing import Any


def report_lines(result: dict[str, Any]) -> Iterator[str]:
    """Every line, from what the JSON has."""
    kind = "without embeddings" if result["size"] == "non_embedding" else "with embeddings"
    yield f"{result['metric']} of {len(result['runs'])} runs; N: parameters {kind}, D: tokens seen, C: operations\n"
    yield f"{'N':>12} {'D':>12} {'C':>9} {'loss':>8}"
    for run in result["runs"]:
        yield f"{run['parameters']:>12,} {run['tokens']:>12,} {run['flops']:>9.2e} {run['loss']:>8.4f}"
    laws = [(name + " (chosen)" * (name == result["chosen"]), fit) for name, fit in result["fits"].items()]
    if result["compute"]:
        laws.append((f"L(C) of the {result['compute']['runs']} runs that no cheaper one equals", result["compute"]))
    for name, fit in laws:
        errors = f"error of the fit {fit['fit_error']:.2%}"
        if "left_out_error" in fit:
            errors += f", of runs left out in turn {fit['left_out_error']:.2%}"
        yield f"\n{name}: {fit['equation']}\n  {errors}"
        for constant, found in fit["constants"].items():
            yield f"  {constant:<10} {found['value']:>11.4g}   95 %: {found['low']:.4g} to {found['high']:.4g}"
    for run in result["held_out"]:
        yield (
            f"\nheld out: {run['run']} ({run['parameters']:,} parameters, {run['tokens']:,} tokens)\n"
            f"  predicted {run['predicted']:.4f} (95 %: {run['low']:.4f} to {run['high']:.4f}),"
            f" measured {run['measured']:.4f}: {run['percent_error']:+.2f} %"
        )
    for one in result["budgets"]:
        yield (
            f"\nbest size for {one['flops']:.3g} operations: {one['parameters']:,.0f} parameters"
            f" (95 %: {one['low']:,.0f} to {one['high']:,.0f}), {one['tokens']:,.0f} tokens, loss {one['loss']:.4f}"
        )
    yield from claim_lines(result)


def claim_lines(claims: dict[str, Any]) -> Iterator[str]:
    """What is printed of the claims."""
    for group in claims["shapes"]:
        low, high = group["parameters"]
        yield f"\nshapes of {low:,} to {high:,} parameters, {group['tokens']:,} tokens; loss over that of their mean"
        for one in group["shapes"]:
            name = f"{one['width']}x{one['layers']}"
            yield f"  {name:<8} width/layers {one['aspect']:>7.1f}  loss {one['loss']:.4f}  {_percent(one)}"
        largest = group["largest"]
        yield f"  largest difference {largest['worst']} over {largest['best']}  {_percent(largest)}, all pairs at once"
    found = claims["sample_efficiency"]
    if found:
        yield f"\ntokens to a loss of {found['loss']:.4f}, by parameters"
        for one in found["sizes"]:
            yield f"  {one['parameters']:>12,.0f} {one['tokens']:>12,.0f}{_between(one, ',.0f')}"
        if found["left_out"]:
            yield f"  not between its runs: {' '.join(f'{size:,.0f}' for size in found['left_out'])}"
        power = found["power"]
        yield f"  tokens go as N^{power['value']:.3f}{_between(power, '.3f')}: {verdict(power)}"


def verdict(power: dict[str, float | None]) -> str:
    """What a power of N, with its interval, says of the claim."""
    if power["low"] is None:
        return "without an interval nothing is said of larger models"
    if power["high"] < 0:
        return "larger models need fewer tokens"
    return "larger models need more tokens" if power["low"] > 0 else "these runs do not tell"


def _percent(value: dict[str, float | None]) -> str:
    return f"{value['percent']:+.2f} %{_between(value, '+.2f')}"


def _between(value: dict[str, float | None], form: str) -> str:
    return "" if value["low"] is None else f"   95 %: {value['low']:{form}} to {value['high']:{form}}"
