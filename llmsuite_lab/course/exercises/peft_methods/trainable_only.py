"""Freeze what is not to be trained, count the rest, and give the optimizer nothing else."""

import re
from dataclasses import replace

import torch
from torch import nn

from llmsuite_lab.course.exercises import Case, Exercise, Mistake, Wrong, check_cases


def trainable_only(model: nn.Module, pattern: str, lr: float) -> tuple[torch.optim.Optimizer, int]:
    """The solution: choose by name, refuse an empty choice, freeze all, open the chosen, hand over those alone."""
    chosen = [p for name, p in model.named_parameters() if pattern in name]
    if not chosen:
        raise ValueError(f"no parameter's name contains {pattern!r}")
    model.requires_grad_(False)
    for p in chosen:
        p.requires_grad_()
    return torch.optim.AdamW(chosen, lr=lr), sum(p.numel() for p in chosen)


def _chosen(model, pattern):
    chosen = [p for name, p in model.named_parameters() if pattern in name]
    if not chosen:
        raise ValueError("no such parameter")
    return chosen


def _frozen_but(model, chosen):
    for p in model.parameters():
        p.requires_grad = any(p is q for q in chosen)


def _all_in_the_optimizer(model, pattern, lr):
    _, count = trainable_only(model, pattern, lr)
    return torch.optim.AdamW(model.parameters(), lr=lr), count


def _nothing_frozen(model, pattern, lr):
    chosen = _chosen(model, pattern)
    model.requires_grad_(True)
    return torch.optim.AdamW(chosen, lr=lr), sum(p.numel() for p in chosen)


def _state_kept(model, pattern, lr):
    chosen = _chosen(model, pattern)
    for p in model.parameters():
        if not any(p is q for q in chosen):
            p.requires_grad = False
    return torch.optim.AdamW(chosen, lr=lr), sum(p.numel() for p in chosen)


def _those_that_were_open(model, pattern, lr):
    chosen = [p for p in _chosen(model, pattern) if p.requires_grad]
    _frozen_but(model, chosen)
    return torch.optim.AdamW(chosen or _chosen(model, pattern), lr=lr), sum(p.numel() for p in chosen)


def _counts_all(model, pattern, lr):
    return trainable_only(model, pattern, lr)[0], sum(p.numel() for p in model.parameters())


def _counts_tensors(model, pattern, lr):
    return trainable_only(model, pattern, lr)[0], len(_chosen(model, pattern))


def _counts_rows(model, pattern, lr):
    return trainable_only(model, pattern, lr)[0], sum(len(p) for p in _chosen(model, pattern))


def _counts_frozen(model, pattern, lr):
    optimizer, count = trainable_only(model, pattern, lr)
    return optimizer, sum(p.numel() for p in model.parameters()) - count


def _counts_tied_twice(model, pattern, lr):
    optimizer, _ = trainable_only(model, pattern, lr)
    named = model.named_parameters(remove_duplicate=False)
    return optimizer, sum(p.numel() for name, p in named if pattern in name)


def _others(model, pattern, lr):
    chosen = [p for name, p in model.named_parameters() if pattern not in name]
    _frozen_but(model, chosen)
    return torch.optim.AdamW(chosen or _chosen(model, pattern), lr=lr), sum(p.numel() for p in chosen)


def _starts_with(model, pattern, lr):
    chosen = [p for name, p in model.named_parameters() if name.startswith(pattern)]
    if not chosen:
        raise ValueError("no such parameter")
    _frozen_but(model, chosen)
    return torch.optim.AdamW(chosen, lr=lr), sum(p.numel() for p in chosen)


def _ends_with(model, pattern, lr):
    chosen = [p for name, p in model.named_parameters() if name.endswith(pattern)]
    if not chosen:
        raise ValueError("no such parameter")
    _frozen_but(model, chosen)
    return torch.optim.AdamW(chosen, lr=lr), sum(p.numel() for p in chosen)


def _as_expression(model, pattern, lr):
    chosen = [p for name, p in model.named_parameters() if re.search(pattern, name)]
    if not chosen:
        raise ValueError("no such parameter")
    _frozen_but(model, chosen)
    return torch.optim.AdamW(chosen, lr=lr), sum(p.numel() for p in chosen)


def _own_rate(model, pattern, lr):
    optimizer, count = trainable_only(model, pattern, lr)
    return torch.optim.AdamW(optimizer.param_groups[0]["params"]), count


def _takes_nothing(model, pattern, lr):
    chosen = [p for name, p in model.named_parameters() if pattern in name]
    _frozen_but(model, chosen)
    return torch.optim.AdamW(chosen or [torch.zeros(1)], lr=lr), sum(p.numel() for p in chosen)


def _takes_all_for_nothing(model, pattern, lr):
    return trainable_only(model, pattern if any(pattern in name for name, _ in model.named_parameters()) else "", lr)


def _freezes_before_it_refuses(model, pattern, lr):
    model.requires_grad_(False)
    return trainable_only(model, pattern, lr)


def _sgd(model, pattern, lr):
    optimizer, count = trainable_only(model, pattern, lr)
    return torch.optim.SGD(optimizer.param_groups[0]["params"], lr=lr), count


def _count_first(model, pattern, lr):
    return trainable_only(model, pattern, lr)[::-1]


def _optimizer_alone(model, pattern, lr):
    return trainable_only(model, pattern, lr)[0]


def _by_the_flag(model, pattern, lr):
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad = pattern in name
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if len(trained) == 0:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = before[name]
        raise ValueError(pattern)
    return torch.optim.AdamW(trained, lr), int(sum(parameter.nelement() for parameter in trained))


def _with_filter(model, pattern, lr):
    names = {name for name, _ in model.named_parameters() if name.find(pattern) >= 0}
    if not names:
        raise ValueError("nothing to train")
    for name, p in model.named_parameters():
        p.requires_grad_(name in names)
    optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=lr)
    return optimizer, sum(p.numel() for group in optimizer.param_groups for p in group["params"])


def _a_group_each(model, pattern, lr):
    chosen = _chosen(model, pattern)
    _frozen_but(model, chosen)
    return [torch.optim.AdamW([{"params": [p]} for p in chosen], lr=lr), torch.tensor([p.numel() for p in chosen]).sum()]


def _as_vector(model, pattern, lr):
    chosen = dict(model.named_parameters())
    chosen = {name: chosen[name] for name in sorted(chosen) if pattern in name}
    if chosen == {}:
        raise ValueError(f"{pattern} matches nothing")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_()
    return torch.optim.AdamW(list(chosen.values()), lr=lr), nn.utils.parameters_to_vector(chosen.values()).shape[0]


def _named_for_torch(model, pattern, lr):
    named = [(name, p) for name, p in model.named_parameters() if pattern in name]
    if not named:
        raise ValueError(f"{pattern!r} is in no parameter's name")
    model.requires_grad_(False)
    groups = {True: [], False: []}  # weights decay, biases do not
    for _, p in named:
        p.requires_grad = True
        groups[p.ndim > 1].append(p)
    optimizer = torch.optim.AdamW([{"params": groups[True]}, {"params": groups[False], "weight_decay": 0.0}], lr=lr)
    return optimizer, sum(p.numel() for _, p in named)


def _added_later(model, pattern, lr):
    chosen = _chosen(model, pattern)
    _frozen_but(model, chosen)
    optimizer = torch.optim.AdamW(chosen[:1], lr=lr, fused=False)
    for p in chosen[1:]:
        optimizer.add_param_group({"params": [p]})
    return optimizer, float(sum(p.data.numel() for p in chosen))


def model_with_a_shared_weight() -> nn.Module:
    """An embedding and an output layer that share one weight, and a layer with LoRA between them."""
    layers = {"embed": nn.Embedding(5, 4), "proj": nn.Linear(4, 4), "lora_A": nn.Linear(4, 2, bias=False), "lora_B": nn.Linear(2, 4, bias=False)}
    model = nn.ModuleDict({**layers, "head": nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    return model


def frozen_model_with_lora() -> nn.Module:
    """A model as it comes with an adapter: the base frozen, two blocks with LoRA and norms."""
    block = lambda: nn.ModuleDict({"base": nn.Linear(3, 6), "lora_A": nn.Linear(3, 2, bias=False), "norm": nn.LayerNorm(6)})  # noqa: E731
    model = nn.ModuleDict({"layers": nn.ModuleList([block(), block()]), "prompt": nn.ParameterDict({"soft": nn.Parameter(torch.zeros(7, 3))})})
    return model.requires_grad_(False)


def _reported(answer):
    """`answer` on a fresh model, by the model's maker: what is open, what the optimizer holds, its rates, the count; or what was refused."""

    def trainable_only(make, pattern, lr):
        model = make()
        before = [p.requires_grad for p in model.parameters()]
        try:
            pair = answer(model, pattern, lr)
        except ValueError:
            same = before == [p.requires_grad for p in model.parameters()]
            return "refused, the model as it was" if same else "refused, the model changed"
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise Mistake(f"A pair is asked for: the optimizer and the count. Yours returns a {type(pair).__name__}.")
        optimizer, count = pair
        if not isinstance(optimizer, torch.optim.AdamW):
            raise Mistake(f"The first of the pair is a torch.optim.AdamW. Yours: {type(optimizer).__name__}.")
        held = [p for group in optimizer.param_groups for p in group["params"]]
        return {
            "open": {name for name, p in model.named_parameters() if p.requires_grad},
            "in the optimizer": {name for name, p in model.named_parameters() if any(p is q for q in held)},
            "rates": sorted({group["lr"] for group in optimizer.param_groups}),
            "count": count,
        }

    return trainable_only


def _cases() -> list[Case]:
    def case(make, pattern: str, lr: float, names: set, count: int, rule: str) -> Case:
        return Case((make, pattern, lr), {"open": names, "in the optimizer": names, "rates": [lr], "count": count}, rule)

    lora = {"lora_A.weight", "lora_B.weight"}
    chosen = "Exactly the parameters whose names contain `pattern` are open, and in the optimizer."
    opened = "A chosen parameter that came frozen is opened."
    norms = {f"layers.{i}.norm.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    every = {f"layers.{i}.{rest}" for i in (0, 1) for rest in ("base.weight", "base.bias", "lora_A.weight", "norm.weight", "norm.bias")}
    nothing = "A pattern that is in no name raises ValueError, and the model stays as it was."
    return [
        case(model_with_a_shared_weight, "lora_", 0.003, lora, 16, chosen),
        case(model_with_a_shared_weight, "bias", 0.1, {"proj.bias"}, 4, "The count is of numbers, not of tensors."),
        case(model_with_a_shared_weight, "weight", 0.01, {"embed.weight", "proj.weight", *lora}, 52, "A weight that two layers share counts once."),
        case(frozen_model_with_lora, "norm", 0.002, norms, 24, opened),
        case(frozen_model_with_lora, "soft", 0.3, {"prompt.soft"}, 21, opened),
        case(frozen_model_with_lora, "1.lora", 0.5, {"layers.1.lora_A.weight"}, 6, "`pattern` may stand anywhere in the name."),
        case(frozen_model_with_lora, "", 0.001, {*every, "prompt.soft"}, 105, "The empty pattern is in every name: full tuning."),
        Case((model_with_a_shared_weight, "lora_C", 0.1), "refused, the model as it was", nothing),
        Case((model_with_a_shared_weight, "lora.A", 0.1), "refused, the model as it was", "`pattern` is a plain text, not an expression."),
        Case((frozen_model_with_lora, "LORA", 0.1), "refused, the model as it was", nothing),
    ]


_MISTAKES = (
    Wrong(_all_in_the_optimizer, "The optimizer holds frozen parameters, too: once they had a gradient it would move them. Hand over the chosen."),
    Wrong(_nothing_frozen, "Nothing is frozen: every parameter still gets a gradient, which is memory and time for nothing."),
    Wrong(_state_kept, "You freeze the others and leave the chosen as they came: one that came frozen is never trained."),
    Wrong(_those_that_were_open, "You choose among the parameters that were open. The chosen are opened, whatever they were."),
    Wrong(_counts_all, "You count all parameters. Those that are trained are asked for."),
    Wrong(_counts_frozen, "You count the frozen parameters. Those that are trained are asked for."),
    Wrong(_counts_tensors, "You count tensors. Count the numbers in them (`numel`)."),
    Wrong(_counts_rows, "You count rows. Count the numbers (`numel`)."),
    Wrong(_counts_tied_twice, "You count a weight that two layers share twice. It is one."),
    Wrong(_others, "You train those whose names do not contain the pattern."),
    Wrong(_starts_with, "You look at the name's beginning. The pattern may stand anywhere in it."),
    Wrong(_ends_with, "You look at the name's end. The pattern may stand anywhere in it."),
    Wrong(_as_expression, "You read the pattern as a regular expression. It is a plain text: a dot is a dot."),
    Wrong(_own_rate, "The optimizer does not use `lr`."),
    Wrong(_takes_nothing, "With a pattern that matches nothing yours trains nothing, and says nothing. Raise ValueError."),
    Wrong(_takes_all_for_nothing, "With a pattern that matches nothing yours trains all. Raise ValueError."),
    Wrong(_freezes_before_it_refuses, "Yours refuses, but has frozen the model by then. Look first."),
)


def _check(answer) -> None:
    check_cases(_reported(answer), _cases(), tuple(replace(wrong, answer=_reported(wrong.answer)) for wrong in _MISTAKES))


EXERCISE = Exercise(
    id="peft_methods.trainable_only",
    notebook="10_prompt_tuning",
    title="train these, freeze the rest",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `trainable_only(model, pattern, lr)`. Open (`requires_grad`) the parameters whose names, as `named_parameters()` gives them, contain the text "
        "`pattern`, even those that came frozen, and freeze all others. Return the pair of a `torch.optim.AdamW` with rate `lr` over the open parameters "
        "alone, and the number of numbers in them; a weight that two layers share counts once. When no name contains `pattern`, raise `ValueError` "
        "and leave the model as it was."
    ),
    name="trainable_only",
    starter="def trainable_only(model, pattern, lr):\n    ...",
    check=_check,
    hints=(
        "Choose first, look whether you have chosen any, and only then change the model.",
        "`model.requires_grad_(False)` freezes all at once; then open the chosen, one by one. `named_parameters()` names a shared weight once.",
        "`torch.optim.AdamW(chosen, lr=lr), sum(p.numel() for p in chosen)`.",
    ),
    solution=trainable_only,
    wrong=(*_MISTAKES, Wrong(_sgd, "a torch.optim.AdamW"), Wrong(_count_first, "a torch.optim.AdamW"), Wrong(_optimizer_alone, "A pair is asked for")),
    right=(_by_the_flag, _with_filter, _a_group_each, _as_vector, _named_for_torch, _added_later),
    equivalent={
        "raise ValueError()": "what the error says is free",
        "raise ValueError(f'{pattern!r}')": "what the error says is free",
    },
)  # fmt: skip
