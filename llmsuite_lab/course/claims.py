"""The claims: what the paper says, a criterion written before the run, a measurement with its control, and the verdict that follows.

    verdict = row.holds  if  judged(measurement) <op> threshold  and  control <control_op> control_threshold  else  "not reproduced"

A claim that cannot fail is no claim. The *control* is the same measure where the effect must be present, or must be absent: when it does not come
out, the measure cannot tell, and the claim is not reproduced, whatever its value; without a control a claim counts as not measured. "As good as" is
judged by `margin`: the whole interval lies within it. n counts items (questions, problems), never seeds: a score is averaged over seeds item by item.

The rows and their criteria live in `claims.toml`; nobody types a verdict. A notebook cell ends with

    claim("rag.accuracy").measure(paired_gain(with_passage, closed_book), seeds=[0], control=gain_with_a_cut_passage)

which draws a small table. The raw figures travel in that cell's stored output (MIME type `MIME`), so the notebooks themselves are the only
record: `ledger.collect` reads them back and judges them afresh.
"""

import math
import operator
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from llmsuite_lab.core.metrics import Interval

MIME = "application/vnd.llmsuite.claim+json"
HELD = ("reproduced", "reproduced at small scale", "arithmetic", "wrong in the paper")
FAILED = "not reproduced"
OPEN = "not measured yet"
OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}
_SIGNS = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "==": "=", "!=": "≠"}
_ENDS = {"value": "", "low": "lower end of the ", "high": "upper end of the ", "interval": "whole interval of the "}
_MARKS = {FAILED: "✗", OPEN: "·", "wrong in the paper": "!"}


@dataclass(frozen=True)
class Claim:
    """One row of `claims.toml`. `claim(id)` finds it; `.measure(...)` judges a measurement by it."""

    id: str
    section: str  # package folder: transformer, retrieval, …; `course` for notebook 00 and 14
    claim: str  # in our own words
    paper: str  # what the paper states, with its section
    test: str  # what we run
    notebook: str  # whose cell measures it
    quantity: str  # name of the measured number
    unit: str  # "" for a share between 0 and 1 or a plain ratio
    judged: str  # what the criterion looks at: the value, the low or high end of its interval, or the whole interval (with `margin`)
    op: str
    threshold: float
    holds: str  # the verdict when the criterion is met, one of HELD
    needs: tuple[str, ...] = ()  # beyond two cores: "model", "adapter", "gpu", …
    correction: str = ""  # for "wrong in the paper": the correct fact with its source
    control: str = ""  # the same measure where the effect must be there, or must not: what a broken measure would get wrong
    control_op: str = ">="
    control_threshold: float = math.nan
    items: str = ""  # what n counts: "questions", "problems", "repeats"; never seeds
    items_most: int = 0  # how many of them there are: a larger n has counted an item once for every seed
    margin: float | None = None  # for "as good as": how far from the threshold either end of the interval may lie
    fixed: str = ""  # when and where the thresholds were fixed, and what was known then

    def __post_init__(self) -> None:
        allowed = {"judged": _ENDS, "op": OPERATORS, "holds": HELD, "control_op": OPERATORS}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"claim {self.id}: {name} = {getattr(self, name)!r}, allowed: {', '.join(values)}")
        if not math.isfinite(self.threshold):
            raise ValueError(f"claim {self.id}: threshold = {self.threshold}, a finite number is needed")
        if bool(self.control) != math.isfinite(self.control_threshold):
            raise ValueError(f"claim {self.id}: a control and its control_threshold belong together")
        if (self.judged == "interval") != (self.margin is not None) or not (self.margin is None or self.margin > 0):
            given = f"margin = {self.margin} with judged = {self.judged!r}"
            raise ValueError(f"claim {self.id}: {given}; equivalence takes judged = 'interval' and a margin above 0")

    @property
    def criterion(self) -> str:
        """The criterion as a phrase, such as "lower end of the accuracy gained ≥ 0.3"."""
        if self.margin is not None:
            return f"{_ENDS[self.judged]}{self.quantity} within {number(self.margin, self.unit)} of {number(self.threshold, '')}"
        return f"{_ENDS[self.judged]}{self.quantity} {_SIGNS[self.op]} {number(self.threshold, self.unit)}"

    @property
    def control_criterion(self) -> str:
        """What the control must show, as a phrase; "none yet" for a row that cannot be measured so far."""
        return f"{self.control}: {_SIGNS[self.control_op]} {number(self.control_threshold, '')}" if self.control else "none yet"

    def control_holds(self, control: float) -> bool:
        """Whether the control came out as it must."""
        return OPERATORS[self.control_op](control, self.control_threshold)

    def verdict(self, value: float, spread: tuple[float, float] | None = None, control: float | None = None) -> str:
        """What follows from a measured `value`, its interval and its control. Raises ValueError when the end it is judged on was not given."""
        if spread is None and self.judged != "value":
            raise ValueError(f"{self.id} is judged on the {_ENDS[self.judged]}interval: pass spread=(low, high) to measure()")
        if control is None:
            return OPEN
        if self.judged == "interval":
            held = self.threshold - self.margin <= spread[0] and spread[1] <= self.threshold + self.margin
        else:
            judged = value if self.judged == "value" else spread[0] if self.judged == "low" else spread[1]
            held = OPERATORS[self.op](judged, self.threshold)
        return self.holds if held and self.control_holds(control) else FAILED

    def measure(
        self,
        value: "float | Interval",
        n: int | None = None,
        *,
        seeds: Iterable[int],
        spread: tuple[float, float] | None = None,
        control: "float | Interval | None" = None,
        note: str = "",
    ) -> "Measurement":
        """Judge `value` (in the row's unit), measured on `n` items with `seeds`; `spread` is its 95 % interval, or min and max over repeats.

        An `Interval` brings its own n and spread. `control`: the row's control, measured (its mean, when it is an Interval); without it the verdict is
        "not measured yet". Let it be the last line of its cell: the table it draws is also the record. `note` is a remark printed below the table.
        Raises ValueError for a value that is not a finite number, n < 1 or above the row's number of items, no seeds, an interval that does not hold the
        value or has no width, and for a control where the row names none.
        """
        if isinstance(value, Interval):
            if n is not None or spread is not None:
                raise ValueError(f"{self.id}: an Interval brings its own n and spread; leave them out")
            value, n, spread = value.mean, value.n, (value.low, value.high)
        if isinstance(control, Interval):
            control = control.mean
        return Measurement.of(self, value, n, seeds, spread, control, note)

    def _repr_markdown_(self) -> str:
        lines = [f"**{self.id}** ({self.section}): {self.claim}", f"- the paper: {self.paper}", f"- we run: {self.test}"]
        lines += [f"- criterion: {self.criterion} → *{self.holds}*, else *{FAILED}*", f"- control: {self.control_criterion}"]
        return "\n".join([*lines, *([f"- fixed: {self.fixed}"] if self.fixed else [])])


@dataclass(frozen=True)
class Measurement:
    """A measured claim. In a notebook it draws itself; elsewhere `print` shows one line with the figures."""

    claim: Claim
    value: float
    n: int
    seeds: tuple[int, ...]
    spread: tuple[float, float] | None
    control: float | None = None
    note: str = ""

    @classmethod
    def of(
        cls, row: Claim, value: Any, n: Any, seeds: Iterable[Any], spread: Any = None, control: Any = None, note: str = ""
    ) -> "Measurement":
        """A checked measurement of `row`; numpy and torch scalars become plain numbers. Raises ValueError as `Claim.measure` says."""
        value = _finite(row, "value", value)
        if n is None or isinstance(n, bool) or int(n) != n or n < 1:
            raise ValueError(f"{row.id}: n={n!r}, but n is the number of items measured, at least 1")
        kept = _seeds(row, seeds)
        if len(kept) > 1 and not row.items_most:
            what = f"{len(kept)} seeds, and its row does not say how many {row.items or 'items'} there are"
            raise ValueError(f"{row.id}: {what}: write items_most into claims.toml")
        if row.items_most and n > row.items_most:
            raise ValueError(f"{row.id}: n={n}, but there are {row.items_most} {row.items}: average over seeds item by item, n counts items")
        if spread is not None:
            spread = _checked_spread(row, value, spread)
        if control is not None:
            if not row.control:
                raise ValueError(f"{row.id}: its row names no control; write it into claims.toml, with its threshold, before the run")
            control = _finite(row, "control", control)
        row.verdict(value, spread, control)  # raises now, not when the ledger is collected
        return cls(row, value, int(n), kept, spread, control, note)

    @property
    def verdict(self) -> str:
        """The verdict, computed from the figures and the row's criterion."""
        return self.claim.verdict(self.value, self.spread, self.control)

    def record(self) -> dict[str, Any]:
        """What the notebook stores: {id, verdict, value, n, seeds, spread, control, note} as JSON-ready values."""
        spread = None if self.spread is None else list(self.spread)
        figures = {"value": self.value, "n": self.n, "seeds": list(self.seeds), "spread": spread, "control": self.control, "note": self.note}
        return {"id": self.claim.id, "verdict": self.verdict, **figures}

    def __repr__(self) -> str:
        return f"{self.claim.id}: {self.verdict} (n = {self.n})"

    def __str__(self) -> str:
        return f"{self.claim.id}: {self.verdict} · {self._figures()}"

    def _figures(self) -> str:
        unit = self.claim.unit
        low_high = "" if self.spread is None else f" [{number(self.spread[0], '')} … {number(self.spread[1], '')}]"
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        items = f" {self.claim.items}" if self.claim.items else ""
        return f"{number(self.value, unit)}{low_high}, n = {self.n}{items}, {seeds}"

    def _control(self) -> str:
        if self.control is None:
            return f"not measured, so the claim is open ({self.claim.control_criterion})"
        came_out = "holds" if self.claim.control_holds(self.control) else "does NOT hold: this measure cannot tell"
        return f"{number(self.control, '')}, {came_out} ({self.claim.control_criterion})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/html": self._html(), MIME: self.record()}

    def _html(self) -> str:
        row = self.claim
        cells = [("claim", row.claim), ("the paper", row.paper), (f"measured: {row.quantity}", self._figures())]
        cells += [("criterion", row.criterion), ("control", self._control())]
        cells += [("thresholds fixed", row.fixed)] if row.fixed else []
        cells += [("correct", row.correction)] if row.correction else []
        cells += [("note", self.note)] if self.note else []
        mark = _MARKS.get(self.verdict, "✓")
        head = f'<tr><th style="text-align:left">{escape(row.id)}</th><th style="text-align:left">{mark} {escape(self.verdict)}</th></tr>'
        td = '<td style="text-align:left">'
        return "<table>" + head + "".join(f"<tr>{td}{escape(k)}</td>{td}{escape(v)}</td></tr>" for k, v in cells) + "</table>"


def number(value: float, unit: str) -> str:
    """`value` with its unit: integers whole, the rest to three significant digits, tiny ones in powers of ten."""
    whole = float(value).is_integer() and abs(value) < 1e15
    text = f"{int(value):,}" if whole else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def _finite(row: Claim, name: str, value: Any) -> float:
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{row.id}: {name}={value!r} is not a number") from None
    if not math.isfinite(result):
        raise ValueError(f"{row.id}: {name}={result}; measure a finite number (an empty sample gives nan)")
    return result


def _seeds(row: Claim, seeds: Iterable[Any]) -> tuple[int, ...]:
    kept = () if isinstance(seeds, str) else tuple(int(seed) for seed in seeds)
    if not kept or len(set(kept)) < len(kept):
        said = "is empty" if not list(seeds) else "must be different whole numbers"
        raise ValueError(f"{row.id}: seeds={seeds!r} {said}; say which seeds were used, [0] for a single run")
    return kept


def _checked_spread(row: Claim, value: float, spread: Any) -> tuple[float, float]:
    ends = [_finite(row, "spread", end) for end in spread]
    if len(ends) != 2:
        raise ValueError(f"{row.id}: spread={spread!r} has {len(ends)} ends; give (low, high)")
    low, high = ends
    slack = 1e-9 * max(1.0, abs(value))  # rounding of a mean that lies on its interval's end
    if not low - slack <= value <= high + slack:
        raise ValueError(f"{row.id}: value={value:g} lies outside its own spread ({low:g}, {high:g})")
    if high - low <= slack:
        advice = "take Wilson's for a share of 0 or 1 (metrics.mean_interval), and more items where all came out alike"
        raise ValueError(f"{row.id}: spread=({low:g}, {high:g}) has no width: {advice}")
    return low, high


@cache
def claims() -> dict[str, Claim]:
    """All rows by id, in the paper's order. Raises ValueError for a row that breaks the form (unknown key, operator, verdict, doubled id)."""
    rows: dict[str, Claim] = {}
    known = {field.name for field in fields(Claim)}
    for entry in tomllib.loads((Path(__file__).parent / "claims.toml").read_text(encoding="utf-8"))["claim"]:
        if unknown := set(entry) - known:
            raise ValueError(f"claims.toml, {entry.get('id')}: unknown keys {sorted(unknown)}")
        row = Claim(**{**entry, "needs": tuple(entry.get("needs", ()))})
        if row.id in rows:
            raise ValueError(f"claims.toml: {row.id} stands twice")
        rows[row.id] = row
    return rows


def claim(id: str) -> Claim:
    """The row called `id`. Raises ValueError naming the nearest rows when there is none."""
    rows = claims()
    if id not in rows:
        near = get_close_matches(id, rows, n=3, cutoff=0.4)
        raise ValueError(f"no claim {id!r} in claims.toml; nearest: {', '.join(near) or 'none, see `llmsuite claims`'}")
    return rows[id]
