"""What a row of the catalogue's sets must be: values by the type of their column, and the sets' own forms rewritten into the hub's columns.

    "label": "not_entailment", column "class 2"   →   1          "A": …, "B": …, "C": …, "D": …, "answer": "C"   →   "choices": […], "answer": 2

`fitted` never guesses: what does not fit raises with the column's name. Sources: the cards and repositories that catalogue.toml names.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmsuite_lab.core.values import finite
from llmsuite_lab.world.rows import json_kind


class Cell(str):
    """Text out of a table without types: a number or a list may be written in it."""


def fitted(row: Mapping[str, Any], columns: Mapping[str, str], labels: Sequence[str] = ()) -> dict[str, Any]:
    """The row's values in the order of `columns`, each as its type asks; None where an optional one is missing or null.

    A class may be given by its label. Raises LookupError with the name of a missing column, ValueError for a value of another type.
    """
    if missing := [name for name, kind in columns.items() if name not in row and not kind.endswith("?")]:
        raise LookupError(", ".join(missing))
    return {name: _value(name, row.get(name), kind, labels) for name, kind in columns.items()}


def _value(name: str, value: Any, kind: str, labels: Sequence[str]) -> Any:
    if value is None:
        if kind.endswith("?"):
            return None
        raise ValueError(f"{name!r} is null or empty, but every row needs it")
    kind = kind.removesuffix("?")
    if isinstance(value, Cell) and kind != "text":
        value = _written(name, value, kind)
    if kind.startswith("class"):
        return _class(name, value, int(kind.split()[1]), labels)
    one = {"text": _text, "number": _number}[kind.removesuffix("s")]
    if not kind.endswith("s"):
        return one(name, value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name!r} is {json_kind(value)}, not a list")
    return [one(f"{name}[{i}]", item) for i, item in enumerate(value)]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {json_kind(value)}, not text")
    return str(value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name!r} is {json_kind(value)}, not a number")
    return finite(value)


def _class(name: str, value: Any, classes: int, labels: Sequence[str]) -> int:
    if isinstance(value, str) and (said := value.replace("_", " ").casefold()) in (known := [label.casefold() for label in labels]):
        return known.index(said)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) and classes == 2:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name!r} is {value!r}, not a class below {classes}" + (f" or one of {', '.join(labels)}" if labels else ""))
    if not -1 <= value < classes:
        raise ValueError(f"{name!r} is {value}, but the classes are 0 to {classes - 1}, and -1 where the label is withheld")
    return value


def _written(name: str, cell: str, kind: str) -> Any:
    """The number or list that a cell of a table spells; a class by its label stays text."""
    if kind.endswith("s") and not kind.startswith("class"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            raise ValueError(f"{name!r} is the text {cell[:40]!r}, not a JSON list") from None
    try:
        return finite(cell)
    except ValueError:
        if kind.startswith("class"):
            return str(cell)
        raise ValueError(f"{name!r} is the text {cell[:40]!r}, not a number") from None


def _mmlu(row: dict) -> dict:
    """MMLU's own files have four columns of choices and the answer's letter."""
    if "choices" in row or not {"A", "B", "C", "D"} <= row.keys():
        return row
    return row | {"choices": [str(row[letter] or "") for letter in "ABCD"]}


def _bigbench(row: dict) -> dict:
    """A task's own examples: input with target, or with a score for each choice."""
    if "inputs" in row or "input" not in row:
        return row
    scores, target = row.get("target_scores"), row.get("target")
    made: dict[str, Any] = {"inputs": row["input"]}
    if isinstance(scores, dict) and scores:
        best = max(scores.values())
        made |= {"multiple_choice_targets": list(scores), "multiple_choice_scores": list(scores.values())}
        target = [choice for choice, score in scores.items() if score == best] if target is None else target
    return made if target is None else made | {"targets": target if isinstance(target, list) else [target]}


def _helm(row: dict) -> dict:
    """An instance as HELM stores it: the text inside objects, what is right by a tag."""
    if not isinstance(row.get("input"), dict) or not isinstance(row.get("references"), list):
        return row
    references = [(reference["output"]["text"], "correct" in reference["tags"]) for reference in row["references"]]
    right = [text for text, correct in references if correct]
    return row | {"input": row["input"]["text"], "references": [text for text, _ in references], "correct": right}


def _own_form(rewrite: Callable[[dict], dict]) -> Callable[[dict], dict]:
    def rewritten(row: dict) -> dict:
        try:
            return rewrite(row)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the set's own form ({type(error).__name__}: {error})") from None

    return rewritten


def _instances(task: dict, name: str) -> list[dict]:
    """A task of Natural Instructions: its definition beside every instance, the first of several right outputs as the target."""
    definition = task["Definition"] if isinstance(task["Definition"], str) else "\n".join(task["Definition"])
    rows = []
    for instance in task["Instances"]:
        outputs = instance["output"] if isinstance(instance["output"], list) else [instance["output"]]
        targets = {"targets": outputs[0]} if outputs else {}
        rows.append({"definition": definition, "inputs": instance["input"], "task_name": name, "id": instance.get("id")} | targets)
    return rows


REWRITTEN = {"mmlu": _own_form(_mmlu), "bigbench": _own_form(_bigbench), "helm": _own_form(_helm)}  # entry → its own rows into the hub's columns
UNWRAPPED: dict[str, Callable[[dict, str], list[dict]]] = {  # entry → the rows inside its own JSON file
    "natural_instructions": _instances,
    "bigbench": lambda task, name: task["examples"],
    "bbh": lambda task, name: task["examples"],
}
