"""Where the memory of a training goes: weights, gradients, masters and moments, and what a frozen parameter does without."""

import math
from collections import Counter

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def bytes_by_kind(parameters: list[tuple[tuple[int, ...], float, bool]], gradient_bytes: int) -> dict[str, float]:
    """The solution: every parameter has its weight; a trained one has a gradient and two moments, and a master where its type is short."""
    found = {"weights": 0, "gradients": 0, "masters": 0, "moments": 0}
    for shape, size, trained in parameters:
        n = math.prod(shape)
        found["weights"] += size * n
        if trained:
            found["gradients"] += gradient_bytes * n
            found["moments"] += 8 * n
            if size < 4:
                found["masters"] += 4 * n
    return found


KINDS = ("weights", "gradients", "masters", "moments")


def _summed(parameters, of, count=math.prod):
    """Sums over the parameters of what `of(bytes each, trained)` says a number takes, by kind."""
    rows = [[count(shape) * each for each in of(size, trained)] for shape, size, trained in parameters]
    return dict(zip(KINDS, (sum(column) for column in zip(*rows)) if rows else (0, 0, 0, 0)))


def _all_trained(parameters, gradient_bytes):
    return bytes_by_kind([(shape, size, True) for shape, size, _ in parameters], gradient_bytes)


def _gradients_of_frozen(parameters, gradient_bytes):
    return bytes_by_kind(parameters, gradient_bytes) | {"gradients": _all_trained(parameters, gradient_bytes)["gradients"]}


def _moments_of_frozen(parameters, gradient_bytes):
    return bytes_by_kind(parameters, gradient_bytes) | {"moments": _all_trained(parameters, gradient_bytes)["moments"]}


def _masters_of_frozen(parameters, gradient_bytes):
    return bytes_by_kind(parameters, gradient_bytes) | {"masters": _all_trained(parameters, gradient_bytes)["masters"]}


def _masters_and_moments_of_frozen(parameters, gradient_bytes):
    found = _all_trained(parameters, gradient_bytes)
    return found | {"gradients": bytes_by_kind(parameters, gradient_bytes)["gradients"]}


def _masters_of_all_trained(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * 4, on * 8))


def _no_masters(parameters, gradient_bytes):
    return bytes_by_kind(parameters, gradient_bytes) | {"masters": 0}


def _masters_up_to_float32(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * 4 * (size <= 4), on * 8))


def _masters_of_two_bytes(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * 4 * (size == 2), on * 8))


def _masters_as_weights(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * size * (size < 4), on * 8))


def _one_moment(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * 4 * (size < 4), on * 4))


def _moments_as_weights(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * 4 * (size < 4), on * 2 * size))


def _moments_as_gradients(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * 4 * (size < 4), on * 2 * gradient_bytes))


def _gradients_as_weights(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * size, on * 4 * (size < 4), on * 8))


def _gradients_in_float32(parameters, gradient_bytes):
    return bytes_by_kind(parameters, 4)


def _frozen_weights_missing(parameters, gradient_bytes):
    return bytes_by_kind([row for row in parameters if row[2]], gradient_bytes)


def _trained_weights_missing(parameters, gradient_bytes):
    found = bytes_by_kind(parameters, gradient_bytes)
    return found | {"weights": sum(math.prod(shape) * size for shape, size, on in parameters if not on)}


def _sides_added(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (size, on * gradient_bytes, on * 4 * (size < 4), on * 8), count=sum)


def _numbers(parameters, gradient_bytes):
    return _summed(parameters, lambda size, on: (1, on, on * (size < 4), on * 2))


def _scalars_missing(parameters, gradient_bytes):
    return bytes_by_kind([row for row in parameters if row[0]], gradient_bytes)


def _matrices_alone(parameters, gradient_bytes):
    return bytes_by_kind([row for row in parameters if len(row[0]) == 2], gradient_bytes)


def _weights_in_whole_bytes(parameters, gradient_bytes):
    return bytes_by_kind([(shape, math.ceil(size), on) for shape, size, on in parameters], gradient_bytes)


def _total(parameters, gradient_bytes):
    return sum(bytes_by_kind(parameters, gradient_bytes).values())


def _two_kinds_of_moments(parameters, gradient_bytes):
    found = bytes_by_kind(parameters, gradient_bytes)
    half = found.pop("moments") / 2
    return found | {"first moments": half, "second moments": half}


def _by_sums(parameters, gradient_bytes):
    counts = [(math.prod(shape), size, on) for shape, size, on in parameters]
    trained = sum(n for n, _, on in counts if on)
    short = sum(n for n, size, on in counts if on and size < 4)
    weights = sum(n * size for n, size, _ in counts)
    return {"moments": trained * 8, "masters": short * 4, "gradients": trained * gradient_bytes, "weights": weights}


def _in_numpy(parameters, gradient_bytes):
    n = np.array([np.prod(shape, dtype=int) for shape, _, _ in parameters], float)
    size, on = (np.array([row[i] for row in parameters], float) for i in (1, 2))
    each = np.stack([size, on * gradient_bytes, on * 4 * (size < 4), on * 4 * 2])
    return dict(zip(KINDS, each @ n))


def _in_torch(parameters, gradient_bytes):
    found = {kind: torch.tensor(0.0, dtype=torch.float64) for kind in KINDS}
    for shape, size, trained in parameters:
        n = torch.empty(shape, device="meta").numel()
        found["weights"] += n * size
        found["gradients"] += n * gradient_bytes * trained
        found["moments"] += n * 8 * trained
        found["masters"] += n * 4 * (trained and size < 4)
    return found


def _with_a_counter(parameters, gradient_bytes):
    found = Counter(dict.fromkeys(KINDS, 0))
    for shape, size, trained in parameters:
        n = 1
        for side in shape:
            n *= side
        found.update(weights=n * size)
        if trained:
            found.update(gradients=n * gradient_bytes, moments=2 * 4 * n, masters=0 if size >= 4 else 4 * n)
    return found


def _in_place(parameters, gradient_bytes):
    found = dict.fromkeys(KINDS, 0.0)
    while parameters:
        shape, size, trained = parameters.pop()
        n = math.prod(shape)
        for kind, each in zip(KINDS, (size, gradient_bytes, 4 if size < 4 else 0, 8)):
            if trained or kind == "weights":
                found[kind] += n * each
    return found


def _recursive(parameters, gradient_bytes):
    if not parameters:
        return dict.fromkeys(KINDS, 0)
    (shape, size, trained), *others = parameters
    n, rest = math.prod(shape), _recursive(others, gradient_bytes)
    own = n * trained
    more = {"weights": n * size, "gradients": own * gradient_bytes, "masters": own * 4 if size < 4 else 0, "moments": own * 8}
    return {kind: rest[kind] + more[kind] for kind in rest}


def _cases() -> list[Case]:
    def case(parameters: list, gradient_bytes: int, want: tuple, rule: str) -> Case:
        return Case((parameters, gradient_bytes), dict(zip(KINDS, want)), rule)

    lora = [((512, 64), 2, False), ((8, 64), 2, True), ((512, 8), 2, True)]
    frozen = "A frozen parameter has its weight and nothing else."
    master = "A trained parameter of fewer than 4 bytes has a master of 4 bytes a number."
    return [
        case(lora, 4, (74752, 18432, 18432, 36864), "This is the statement's example."),
        case(lora, 2, (74752, 9216, 18432, 36864), "A gradient takes `gradient_bytes` a number."),
        case([((10, 3), 4, True)], 4, (120, 120, 0, 240), "Float32 weights are their own masters."),
        case([((7,), 4, False), ((5, 6), 4, True), ((6,), 4, True)], 2, (172, 72, 0, 288), "Float32 weights are their own masters."),
        case([((10, 6), 2, False), ((3,), 2, False)], 4, (126, 0, 0, 0), frozen),
        case([((4, 5), 0.5, False), ((4,), 4, True)], 4, (26, 16, 0, 32), "A number may take half a byte, as in a 4-bit base."),
        case([((9, 2), 1, False), ((9, 2), 1, True)], 2, (36, 36, 72, 144), master),
        case([((6, 4), 3, True)], 4, (72, 96, 96, 192), master),
        case([((2, 3, 5), 2, True), ((), 2, True), ((4, 0), 2, True)], 4, (62, 124, 124, 248), "A parameter has any number of axes; a scalar is one number."),
        case([((3, 7), 8, True), ((11,), 2, False)], 8, (190, 168, 0, 168), "Moments are float32 whatever the weight is."),
        case([], 4, (0, 0, 0, 0), "Without parameters all four are 0."),
    ]  # fmt: skip


_MISTAKES = (
    Wrong(_all_trained, "You take every parameter for a trained one: a frozen one has no gradient, no master and no moments."),
    Wrong(_gradients_of_frozen, "Frozen parameters have a gradient in yours."),
    Wrong(_moments_of_frozen, "Frozen parameters have moments in yours: the optimizer holds the trained ones only."),
    Wrong(_masters_of_frozen, "Frozen parameters have a master in yours: what is never updated needs none."),
    Wrong(_masters_and_moments_of_frozen, "Frozen parameters have masters and moments in yours. They have their weight and nothing else."),
    Wrong(_masters_of_all_trained, "Every trained parameter has a master in yours. One of 4 bytes or more is its own.", shares_hint=True),
    Wrong(_no_masters, "The masters are missing: small updates would vanish in two-byte weights."),
    Wrong(_masters_up_to_float32, "A float32 weight has a master in yours. It is its own."),
    Wrong(_masters_of_two_bytes, "Only two-byte weights have a master in yours. All below 4 bytes have one."),
    Wrong(_masters_as_weights, "Your masters are as short as the weights. They are float32: 4 bytes a number."),
    Wrong(_one_moment, "AdamW keeps two moments a number, 8 bytes together."),
    Wrong(_moments_as_weights, "Your moments have the weight's type. They are float32: 4 bytes each."),
    Wrong(_moments_as_gradients, "Your moments take two gradients' bytes. They are float32, 4 bytes each, whatever `gradient_bytes` says."),
    Wrong(_gradients_as_weights, "Your gradients have the weight's type. They take `gradient_bytes` a number."),
    Wrong(_gradients_in_float32, "You take 4 bytes for a gradient, whatever `gradient_bytes` says."),
    Wrong(_frozen_weights_missing, "The frozen weights are missing: they are not trained, and take memory all the same."),
    Wrong(_trained_weights_missing, "The trained weights are missing among the weights."),
    Wrong(_sides_added, "You add the sides of a shape. A matrix has their product."),
    Wrong(_numbers, "You count numbers. Bytes are asked for."),
    Wrong(_scalars_missing, "A scalar, of shape (), is one number. In yours it is none."),
    Wrong(_matrices_alone, "You count matrices alone. Vectors and others take memory, too."),
    Wrong(_weights_in_whole_bytes, "You round the bytes of a number up. In a 4-bit base it takes half a byte."),
)

EXERCISE = Exercise(
    id="peft_methods.bytes_by_kind",
    notebook="11_comparing_peft",
    title="the bytes of a training",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `bytes_by_kind(parameters, gradient_bytes)`: the bytes that a training with AdamW holds. `parameters` is a list of `(shape, size, trained)`; "
        "`size` is the bytes of one of its numbers (0.5 in a 4-bit base). Return a dictionary with the sums of four kinds over all parameters:\n\n"
        "- `weights`: `size` bytes for every number, trained or frozen\n"
        "- `gradients`: `gradient_bytes` for every trained number\n"
        "- `masters`: a float32 copy, 4 bytes, of every trained number whose `size` is below 4\n"
        "- `moments`: two float32 values, 4 bytes each, for every trained number\n\n"
        "`bytes_by_kind([((512, 64), 2, False), ((8, 64), 2, True), ((512, 8), 2, True)], 4)` is "
        "`{'weights': 74752, 'gradients': 18432, 'masters': 18432, 'moments': 36864}`."
    ),
    name="bytes_by_kind",
    starter="def bytes_by_kind(parameters, gradient_bytes):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Begin with a dictionary of four zeros, and go through the parameters once.",
        "`math.prod(shape)` is how many numbers a parameter has, 1 for a scalar. What does a frozen one have?",
        "Weights: `size * n`. If trained: gradients `gradient_bytes * n`, moments `8 * n`, and masters `4 * n` when `size < 4`.",
    ),
    solution=bytes_by_kind,
    wrong=(*_MISTAKES, Wrong(_total, "This is the statement's example."), Wrong(_two_kinds_of_moments, "This is the statement's example.")),
    right=(_by_sums, _in_numpy, _in_torch, _with_a_counter, _in_place, _recursive),
)  # fmt: skip
