"""Five weights of three values in one byte."""

from functools import reduce

import numpy as np

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def pack_trits(trits: list[int]) -> list[int]:
    """The solution: base three, the first trit at the highest place, the last byte filled up with zero weights."""
    packed = []
    for i in range(0, len(trits), 5):
        value = 0
        for trit in (trits[i:] + [0, 0, 0, 0])[:5]:
            value = 3 * value + trit + 1
        packed.append(value)
    return packed


def _groups(trits, size=5, fill=0, front=False):
    found = [list(trits[i : i + size]) for i in range(0, len(trits), size)]
    return [([fill] * (size - len(g)) + g) if front else (g + [fill] * (size - len(g))) for g in found]


def _value(group, base=3, shift=1):
    return reduce(lambda value, trit: base * value + trit + shift, group, 0)


def _lowest_first(trits):
    return [_value(g[::-1]) for g in _groups(trits)]


def _filled_with_minus_one(trits):
    return [_value(g) for g in _groups(trits, fill=-1)]


def _filled_with_one(trits):
    return [_value(g) for g in _groups(trits, fill=1)]


def _filled_in_front(trits):
    return [_value(g) for g in _groups(trits, front=True)]


def _not_filled(trits):
    return [_value(trits[i : i + 5]) for i in range(0, len(trits), 5)]


def _last_dropped(trits):
    return [_value(g) for g in _groups(trits[: len(trits) // 5 * 5])]


def _base_four(trits):
    return [_value(g, base=4) for g in _groups(trits)]


def _four_in_a_byte(trits):
    return [_value(g) for g in _groups(trits, size=4)]


def _two_bits(trits):
    return [sum((t + 1) << 2 * p for p, t in enumerate(g)) for g in _groups(trits, size=4)]


def _unshifted(trits):
    return [_value(g, shift=0) for g in _groups(trits)]


def _negated(trits):
    return [_value([-t for t in g]) for g in _groups(trits)]


def _modulo(trits):
    return [_value([t % 3 for t in g], shift=0) for g in _groups(trits)]


def _strided(trits):
    n = -(-len(trits) // 5)
    return [_value((list(trits[i::n]) + [0] * 5)[:5]) for i in range(n)]


def _as_fraction(trits):
    return [(256 * v + 242) // 243 for v in pack_trits(trits)]


def _one_number(trits):
    return _value([t for g in _groups(trits) for t in g])


def _by_places(trits):
    return [sum((t + 1) * 3 ** (4 - p) for p, t in enumerate(g)) for g in _groups(trits)]


def _by_int(trits):
    return [int("".join("012"[t + 1] for t in g), 3) for g in _groups(trits)]


def _in_numpy(trits):
    padded = np.pad(np.asarray(trits, dtype=int), (0, -len(trits) % 5))
    return (padded.reshape(-1, 5) + 1) @ np.array([81, 27, 9, 3, 1])


def _as_bytes(trits):
    return list(bytes(_by_places(trits)))


def _in_place(trits):
    while len(trits) % 5:
        trits.append(0)
    found = []
    while trits:
        found.append(_value([trits.pop(0) for _ in range(5)]))
    return found


def _centred(trits):
    return tuple(121 + _value(g, shift=0) for g in _groups(trits))


def _cases() -> list[Case]:
    place = "The first of five stands at the highest place, 3⁴ = 81, the last at 1."
    fill = "The last byte is filled up with weights of 0, whose digit is 1."
    return [
        Case(([1, 0, -1, 0, 1],), [194], "This is the statement's example."),
        Case(([-1, -1, -1, -1, -1],), [0], "Five times -1 is the least value."),
        Case(([1, 1, 1, 1, 1],), [242], "Five times 1 is the largest value."),
        Case(([1, -1, -1, -1, -1],), [162], place),
        Case(([-1, -1, -1, -1, 1],), [2], place),
        Case(([0, 1, 0, -1, -1],), [144], place),
        Case(([-1, 1, 0, 1, 0, 1, 1, -1, 0, -1],), [54 + 9 + 6 + 1, 162 + 54 + 3], "Ten weights take two bytes, in their order."),
        Case(([1],), [162 + 40], fill),
        Case(([0, 0, -1],), [81 + 27 + 4], fill),
        Case(([1, 1, 1, 1, 1, -1, -1],), [242, 9 + 4], fill),
        Case(([-1, -1, 1, 1, 0, 0, 1, 0, 1, -1, 1, 0],), [18 + 6 + 1, 81 + 54 + 9 + 6, 162 + 27 + 13], fill),
        Case(([],), [], "Without weights there is no byte."),
    ]


_MISTAKES = (
    Wrong(_lowest_first, "In yours the first weight stands at the lowest place. It stands at the highest."),
    Wrong(_filled_with_minus_one, "You fill up with digits of 0, which are weights of -1: they would be computed with."),
    Wrong(_filled_with_one, "You fill up with weights of 1."),
    Wrong(_filled_in_front, "You fill up the last byte in front. The missing weights are its last."),
    Wrong(_not_filled, "The last byte is not filled up: with fewer digits its weights stand at other places."),
    Wrong(_last_dropped, "Weights at the end are missing. Fill the last byte up with weights of 0."),
    Wrong(_base_four, "You count in base four, and five digits of it do not fit into a byte."),
    Wrong(_four_in_a_byte, "You take four weights a byte. Five fit: 3⁵ = 243."),
    Wrong(_two_bits, "That is the form of two bits a weight, four in a byte. Five fit."),
    Wrong(_unshifted, "Add 1 to each weight: a digit is 0, 1 or 2."),
    Wrong(_negated, "In yours -1 has the digit 2. The digit is the weight plus 1."),
    Wrong(_modulo, "Your digits are the weights modulo 3, so that -1 is 2. The digit is the weight plus 1."),
    Wrong(_strided, "You take every n-th weight into a byte. Five neighbours share one."),
    Wrong(_as_fraction, "You stored the fraction v/243 in 256ths, as the kernel does. Here the number v itself is asked for."),
    Wrong(_one_number, "That is one large number. Give a list with a byte for every five weights."),
)

EXERCISE = Exercise(
    id="bitnet.five_trits",
    notebook="07_one_bit_llms",
    title="five weights in a byte",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `pack_trits(trits)` for a list of weights -1, 0 and 1: a list of whole numbers from 0 to 242, one for every five weights in their order. A "
        "weight's digit is the weight plus 1; the first of five stands at the highest place, 3⁴, and the last at 1. The last byte is filled up with "
        "weights of 0. `pack_trits([1, 0, -1, 0, 1])` is `[194]`."
    ),
    name="pack_trits",
    starter="def pack_trits(trits):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Read the five digits as a number in base three: `value = 3 * value + digit`, from the first to the last.",
        "Fill the last group up to five with zeros before you add 1.",
        "Two loops: `for i in range(0, len(trits), 5)`, and over the five weights of `trits[i : i + 5]` with zeros behind.",
    ),
    solution=pack_trits,
    wrong=_MISTAKES,
    right=(_by_places, _by_int, _in_numpy, _as_bytes, _in_place, _centred),
)
