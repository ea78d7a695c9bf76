"""Merging a LoRA into its weight and taking it out again: once, however often it is asked for."""

import copy

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def merge_lora(layer: dict, merged: bool) -> dict:
    """The solution: change the weight only when the state changes, and note the state."""
    W = layer["W"]
    update = layer["alpha"] / len(layer["A"]) * layer["B"] @ layer["A"]
    if merged and not layer["merged"]:
        W = W + update
    elif layer["merged"] and not merged:
        W = W - update
    return {**layer, "W": W, "merged": merged}


def _update(layer, factor=None):
    return layer["B"] @ layer["A"] * (layer["alpha"] / len(layer["A"]) if factor is None else factor)


def _change(layer, merged, factor=None, when=lambda was, will: was != will):
    """The layer with its update added or subtracted `when(was merged, will be)`."""
    sign = 1 if merged else -1
    W = layer["W"] + sign * _update(layer, factor) if when(layer["merged"], merged) else layer["W"]
    return {**layer, "W": W, "merged": merged}


def _every_time(layer, merged):
    return _change(layer, merged, when=lambda was, will: True)


def _merges_twice(layer, merged):
    return _change(layer, merged, when=lambda was, will: will or was)


def _takes_out_twice(layer, merged):
    return _change(layer, merged, when=lambda was, will: not will or not was)


def _not_scaled(layer, merged):
    return _change(layer, merged, 1)


def _alpha_alone(layer, merged):
    return _change(layer, merged, layer["alpha"])


def _root_of_r(layer, merged):
    return _change(layer, merged, layer["alpha"] / len(layer["A"]) ** 0.5)


def _over_d_out(layer, merged):
    return _change(layer, merged, layer["alpha"] / len(layer["B"]))


def _never_out(layer, merged):
    return _change(layer, merged, when=lambda was, will: will and not was)


def _never_in(layer, merged):
    return _change(layer, merged, when=lambda was, will: was and not will)


def _turned_round(layer, merged):
    return _change(layer, merged, -layer["alpha"] / len(layer["A"]))


def _flag_forgotten(layer, merged):
    return {**merge_lora(layer, merged), "merged": layer["merged"]}


def _flag_alone(layer, merged):
    return {**layer, "merged": merged}


def _toggles(layer, merged):
    return merge_lora(layer, not layer["merged"])


def _always_in(layer, merged):
    return {**merge_lora(layer, True), "merged": merged}


def _zeroes_after_merge(layer, merged):
    found = merge_lora(layer, merged)
    return {**found, "B": torch.zeros_like(found["B"])} if merged else found


def _update_for_weight(layer, merged):
    return {**layer, "W": _update(layer) if merged else layer["W"], "merged": merged}


def _weight_alone(layer, merged):
    return merge_lora(layer, merged)["W"]


def _transposed(layer, merged):
    return {**layer, "W": layer["W"] + (layer["A"].T @ layer["B"].T), "merged": merged}


def _in_place(layer, merged):
    if merged is not layer["merged"]:
        layer["W"].add_(_update(layer), alpha=1 if merged else -1)
        layer["merged"] = merged
    return layer


def _by_difference(layer, merged):
    steps = int(merged) - int(layer["merged"])
    layer.update(W=torch.addmm(layer["W"], layer["B"], layer["A"], alpha=steps * layer["alpha"] / layer["A"].shape[0]), merged=merged)
    return layer


def _by_the_base(layer, merged):
    base = layer["W"].double() - layer["merged"] * _update(layer).double()
    return dict(layer, W=base + _update(layer) if merged else base, merged=merged)


def _in_numpy(layer, merged):
    W, A, B = (layer[name].numpy() for name in "WAB")
    sign = np.sign(np.float64(merged) - layer["merged"])
    return {"W": W + sign * layer["alpha"] * (B @ A) / A.shape[0], "A": A, "B": B, "alpha": layer["alpha"], "merged": bool(merged)}


def _rank_by_rank(layer, merged):
    found = copy.deepcopy(layer)
    if found["merged"] == merged:
        return found
    for a, b in zip(found["A"], found["B"].T):
        found["W"] += (1 if merged else -1) * found["alpha"] / len(found["A"]) * torch.outer(b, a)
    found["merged"] = merged
    return found


def _early_return(layer, merged):
    match (layer["merged"], merged):
        case (True, False):
            W = layer["W"] - torch.einsum("or,ri->oi", layer["B"], layer["A"]) / (layer["A"].size(0) / layer["alpha"])
        case (False, True):
            W = layer["W"] + torch.einsum("or,ri->oi", layer["B"], layer["A"]) / (layer["A"].size(0) / layer["alpha"])
        case _:
            return layer
    return layer | {"W": W.tolist(), "merged": not layer["merged"]}


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(2)
    merge, out = "Merging adds (alpha / r) B A to W.", "Taking out subtracts (alpha / r) B A from W, which leaves the frozen weight."
    twice, out_twice = "A merged layer is merged already: W stays.", "A layer that is not merged has nothing to take out: W stays."
    rules = {(False, True): merge, (True, False): out, (True, True): twice, (False, False): out_twice}

    def case(d_in: int, d_out: int, r: int, alpha: float, was: bool, merged: bool) -> Case:
        base, A, B = (torch.randn(shape, generator=generator) for shape in ((d_out, d_in), (r, d_in), (d_out, r)))
        update = torch.einsum("or,ri->oi", B.double(), A.double()) * (alpha / r)
        layer = {"W": (base + update * was).float(), "A": A, "B": B, "alpha": alpha, "merged": was}
        return Case((layer, merged), {**layer, "W": base + update * merged, "merged": merged}, rules[was, merged])

    small = {"W": torch.tensor([[1.0, 2.0]]), "A": torch.tensor([[1.0, -1.0]]), "B": torch.tensor([[3.0]]), "alpha": 2, "merged": False}
    want = {**small, "W": [[7.0, -4.0]], "merged": True}
    return [
        Case((small, True), want, "B A = [[3, -3]], alpha / r = 2: W becomes [[1 + 6, 2 - 6]]."),
        *(case(5, 3, 2, 8, was, merged) for was in (False, True) for merged in (True, False)),
        *(case(3, 6, 4, 1, was, merged) for was in (True, False) for merged in (False, True)),
        case(4, 7, 1, 16, False, True),
        case(4, 5, 8, 8, True, False),
    ]


_MISTAKES = (
    Wrong(_every_time, "You change W at every call: merging twice adds the update twice, and the model is wrong without an error. Look at `merged` first."),
    Wrong(_merges_twice, "You merge a layer that is merged already: the update stands in W twice."),
    Wrong(_takes_out_twice, "You take the update out of a layer that does not hold it: W is no longer the frozen weight."),
    Wrong(_not_scaled, "The factor alpha / r is missing: the merged layer computes something else than the layer before."),
    Wrong(_alpha_alone, "You multiply by alpha and do not divide by r."),
    Wrong(_root_of_r, "You divide by the root of r. The factor is alpha / r."),
    Wrong(_over_d_out, "You divide by d_out. The rank is the number of rows of A."),
    Wrong(_never_out, "You never take the update out."),
    Wrong(_never_in, "You never add the update."),
    Wrong(_turned_round, "The sign is turned round: merging adds, taking out subtracts."),
    Wrong(_flag_forgotten, "`merged` in the result is still the old one: the next call would merge again."),
    Wrong(_flag_alone, "You set `merged` and leave W as it is."),
    Wrong(_toggles, "You change the state whatever it is. `merged` says which state is wanted."),
    Wrong(_always_in, "Your W holds the update even when `merged` is False."),
    Wrong(_zeroes_after_merge, "You set B to zero after merging: then it can never be taken out again. A and B stay."),
    Wrong(_update_for_weight, "The update replaces W in yours. It is added to it."),
)

EXERCISE = Exercise(
    id="peft_methods.merge_lora",
    notebook="09_lora",
    title="merge once, and back",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `merge_lora(layer, merged)`. `layer` is a dictionary: `W`, `(d_out, d_in)`, `A`, `(r, d_in)`, `B`, `(d_out, r)`, `alpha`, and `merged`, whether "
        "$\\frac{\\alpha}{r}BA$ is in `W` already. The argument `merged` is the state that is wanted. Return the layer in that state, with the same keys: "
        "`W` holds the update once or not at all, `merged` says which, the rest stays. Asking twice for the same state changes nothing."
    ),
    name="merge_lora",
    starter="def merge_lora(layer, merged):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "There are four combinations of `layer['merged']` and `merged`. In which two does W change?",
        "The update is `layer['alpha'] / len(layer['A']) * layer['B'] @ layer['A']`.",
        "Add it when `merged and not layer['merged']`, subtract it when `layer['merged'] and not merged`; then set `merged` in the result.",
    ),
    solution=merge_lora,
    wrong=(*_MISTAKES, Wrong(_weight_alone, "expected {'W'"), Wrong(_transposed, "got {'W': [[4, 5], [-2, -1]]")),
    right=(_in_place, _by_difference, _by_the_base, _in_numpy, _rank_by_rank, _early_return),
)  # fmt: skip
