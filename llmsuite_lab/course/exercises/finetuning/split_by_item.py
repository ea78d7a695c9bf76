"""A split that does not leak: all phrasings of an item fall on one side, and stay there when the set grows."""

import itertools
import random
import zlib

import numpy as np

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def split_by_item(rows: list[tuple[str, str]], validation: int, test: int) -> dict[str, list[tuple[str, str]]]:
    """The solution: the item's own name decides the side, so neither the phrasing nor the other rows can."""
    sides: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    for item, text in rows:
        bucket = zlib.crc32(item.encode()) % 100
        side = "test" if bucket < test else "validation" if bucket < test + validation else "train"
        sides[side].append((item, text))
    return sides


def _bucket(item):
    return zlib.crc32(item.encode()) % 100


def _split(rows, validation, test, bucket_of):
    """The right split by the buckets of `bucket_of(place, item, text)`."""
    sides = {"train": [], "validation": [], "test": []}
    for place, (item, text) in enumerate(rows):
        bucket = bucket_of(place, item, text)
        sides["test" if bucket < test else "validation" if bucket < test + validation else "train"].append((item, text))
    return sides


def _by_text(rows, validation, test):
    return _split(rows, validation, test, lambda place, item, text: _bucket(text))


def _by_item_and_text(rows, validation, test):
    return _split(rows, validation, test, lambda place, item, text: _bucket(item + text))


def _by_place(rows, validation, test):
    return _split(rows, validation, test, lambda place, item, text: 100 * place / len(rows))


def _by_order_of_items(rows, validation, test):
    order = list(dict.fromkeys(item for item, _ in rows))
    return _split(rows, validation, test, lambda place, item, text: 100 * order.index(item) / len(order))


def _shuffled_rows(rows, validation, test):
    places = random.Random(0).sample(range(len(rows)), len(rows))
    return _split(rows, validation, test, lambda place, item, text: 100 * places[place] / len(rows))


def _shuffled_items(rows, validation, test):
    order = sorted({item for item, _ in rows})
    random.Random(0).shuffle(order)
    return _split(rows, validation, test, lambda place, item, text: 100 * order.index(item) / len(order))


def _exchanged(rows, validation, test):
    return split_by_item(rows, test, validation)


def _validation_first(rows, validation, test):
    sides = split_by_item(rows, test, validation)
    return {"train": sides["train"], "validation": sides["test"], "test": sides["validation"]}


def _own_thresholds(rows, validation, test):
    sides = {"train": [], "validation": [], "test": []}
    for item, text in rows:
        sides["test" if _bucket(item) < test else "validation" if _bucket(item) < validation else "train"].append((item, text))
    return sides


def _one_bucket_more(rows, validation, test):
    return _split(rows, validation, test, lambda place, item, text: _bucket(item) - 1)


def _train_at_the_bottom(rows, validation, test):
    return _split(rows, validation, test, lambda place, item, text: 99 - _bucket(item))


def _first_phrasing_only(rows, validation, test):
    return split_by_item(list(dict(reversed(rows)).items())[::-1], validation, test)


def _texts_alone(rows, validation, test):
    return {side: [text for _, text in chosen] for side, chosen in split_by_item(rows, validation, test).items()}


def _items_alone(rows, validation, test):
    return {side: list(dict.fromkeys(item for item, _ in chosen)) for side, chosen in split_by_item(rows, validation, test).items()}


def _sorted_rows(rows, validation, test):
    return split_by_item(sorted(rows), validation, test)


def _without_case(rows, validation, test):
    return _split(rows, validation, test, lambda place, item, text: _bucket(item.lower()))


def _every_row_once(rows, validation, test):
    return split_by_item(list(dict.fromkeys(rows)), validation, test)


def _filled_sides_alone(rows, validation, test):
    return {side: chosen for side, chosen in split_by_item(rows, validation, test).items() if chosen}


def _salted(rows, validation, test):
    return _split(rows, validation, test, lambda place, item, text: hash(item) % 100)


def _by_comprehension(rows, validation, test):
    ends = {"test": range(test), "validation": range(test, test + validation), "train": range(test + validation, 100)}
    return {side: [row for row in rows if zlib.crc32(row[0].encode("utf-8")) % 100 in buckets] for side, buckets in ends.items()}


def _with_a_table(rows, validation, test):
    table = ["test"] * test + ["validation"] * validation + ["train"] * (100 - test - validation)
    side_of = {item: table[_bucket(item)] for item, _ in rows}
    sides = {side: [] for side in ("test", "validation", "train")}
    for row in rows:
        sides[side_of[row[0]]] += [row]
    return sides


def _in_numpy(rows, validation, test):
    buckets = np.array([zlib.crc32(bytes(item, "utf-8")) for item, _ in rows], dtype=np.uint32) % 100
    places = np.digitize(buckets, [test, test + validation])
    return {side: tuple(rows[i] for i in np.flatnonzero(places == n)) for n, side in enumerate(("test", "validation", "train"))}


def _in_place(rows, validation, test):
    sides = {"train": rows, "validation": [], "test": []}
    for row in list(rows):
        if (bucket := _bucket(row[0])) < test + validation:
            sides["test" if bucket < test else "validation"].append(row)
    rows[:] = [row for row in rows if _bucket(row[0]) >= test + validation]
    return sides


def _grouped(rows, validation, test):
    def key(row):
        return int(_bucket(row[0]) >= test) + int(_bucket(row[0]) >= test + validation)

    found = {n: list(group) for n, group in itertools.groupby(sorted(rows, key=key), key)}
    return {side: found.get(n, []) for n, side in enumerate(("test", "validation", "train"))}


def _lists_for_pairs(rows, validation, test):
    train, held_out = [], {"validation": [], "test": []}
    for item, text in rows:
        left = _bucket(item) - test
        (held_out["test"] if left < 0 else held_out["validation"] if left < validation else train).append([item, text])
    return {**held_out, "train": train}


def _named(bucket: int, start: int = 0) -> str:
    """The first item's name from number `start` on that falls into `bucket`."""
    return next(name for n in itertools.count(start) if _bucket(name := f"call {n}") == bucket)


def _cases() -> list[Case]:
    low, ten, eleven, half, high = _named(0), _named(10), _named(11), _named(50), _named(99)
    texts = ("Summarise:", "In short:", "What happened?")
    rows = [(item, text) for text in texts for item in (low, ten, eleven, half, high)]
    bound = "A bucket below `test` is test, the next `validation` buckets are validation, the rest is train."
    name = "The bucket comes from the item's name as it is written: `zlib.crc32(item.encode()) % 100`."
    many = [(f"case {n // 3}", texts[n * n % 3]) for n in range(60)]

    def case(rows: list, validation: int, test: int, rule: str) -> Case:
        ends = {"test": (0, test), "validation": (test, test + validation), "train": (test + validation, 100)}
        want = {side: [row for row in rows if start <= _bucket(row[0]) < end] for side, (start, end) in ends.items()}
        return Case((rows, validation, test), want, rule)

    example = {"train": [("b", "In short:")], "validation": [], "test": [("a", "Summarise:"), ("a", "In short:")]}
    return [
        Case(([("a", "Summarise:"), ("b", "In short:"), ("a", "In short:")], 10, 10), example, "This is the statement's example."),
        case(rows, 1, 10, bound), case(rows, 2, 10, bound), case(rows, 40, 11, bound), case(rows, 39, 11, bound), case(rows, 10, 40, bound),
        case(many, 15, 25, "All rows of an item go to one side, in the order given."),
        case(many[::-1], 30, 5, "All rows of an item go to one side, in the order given."),
        case(many[:7], 15, 25, "An item stays on its side whatever other rows there are."),
        case([*many, *many[:9]], 20, 20, "A row that comes twice is kept twice."),
        case(rows, 0, 20, "A side may be empty, and is then an empty list."),
        case(rows, 20, 0, "A side may be empty, and is then an empty list."),
        case(rows, 40, 60, "A side may be empty, and is then an empty list."),
        case([], 10, 10, "A side may be empty, and is then an empty list."),
        case([("Zoë Ångström", "x"), ("ZOË ÅNGSTRÖM", "x"), (" b", "y"), ("b", "y"), ("B", "y"), ("日本", "z"), ("", "z")], 30, 40, name),
    ]  # fmt: skip


_MISTAKES = (
    Wrong(_by_text, "The text decides in yours: one item's phrasings fall on both sides, and the test set has been seen. The item decides."),
    Wrong(_by_item_and_text, "Item and text decide together in yours: one item's phrasings fall on both sides. The item alone decides."),
    Wrong(_by_place, "The row's place decides in yours: an item is cut in two, and moves when rows are added. Its name decides."),
    Wrong(_by_order_of_items, "The item's place among the others decides in yours: it moves when one is added before it. Its name decides."),
    Wrong(_shuffled_rows, "You shuffle rows: one item's phrasings fall on both sides. The item's name decides."),
    Wrong(_shuffled_items, "You shuffle items: each moves when another one is added. The item's name decides."),
    Wrong(_exchanged, "The sizes of validation and test are exchanged in yours."),
    Wrong(_validation_first, "In yours the lowest buckets are validation. Test comes first, then validation."),
    Wrong(_own_thresholds, "Your validation ends at bucket `validation`. It has as many buckets as that, and begins at `test`."),
    Wrong(_one_bucket_more, "Off by one bucket: 0 to `test - 1` are test."),
    Wrong(_train_at_the_bottom, "You count the buckets from the top. The lowest are test."),
    Wrong(_first_phrasing_only, "You keep one phrasing an item. All its rows go to its side."),
    Wrong(_sorted_rows, "The rows come out sorted. Keep the order they are given in."),
    Wrong(_without_case, "You change the item's name first. It counts as it is written."),
    Wrong(_every_row_once, "A row that comes twice is kept once in yours."),
    Wrong(_filled_sides_alone, "A side without rows is missing in yours. It is an empty list."),
)

EXERCISE = Exercise(
    id="finetuning.split_by_item",
    notebook="08_fine_tuning",
    title="a split that does not leak",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `split_by_item(rows, validation, test)`. `rows` are pairs `(item, text)`; an item comes in several phrasings. Its bucket, 0 to 99, is "
        "`zlib.crc32(item.encode()) % 100`, the same on every machine and whatever other rows there are: below `test` it is test, the next `validation` "
        "buckets are validation, the rest is train. Return the dictionary of three lists of rows, `train`, `validation` and `test`, in the order given; a "
        "side may be empty. `split_by_item([('a', 'Summarise:'), ('b', 'In short:'), ('a', 'In short:')], 10, 10)` is "
        "`{'train': [('b', 'In short:')], 'validation': [], 'test': [('a', 'Summarise:'), ('a', 'In short:')]}`."
    ),
    name="split_by_item",
    starter="def split_by_item(rows, validation, test):\n    ...",
    check=by_cases(_cases, _MISTAKES, lambda: {hash: "Python's `hash` of a text is another in every process: the split would change with each start."}),
    hints=(
        "Begin with the dictionary of three empty lists, and go through the rows once.",
        "A row's side depends on its item's bucket alone. Test ends at `test`, validation at `test + validation`.",
        "`side = 'test' if bucket < test else 'validation' if bucket < test + validation else 'train'`, then append the pair.",
    ),
    solution=split_by_item,
    wrong=(
        *_MISTAKES,
        Wrong(_texts_alone, "This is the statement's example."),
        Wrong(_items_alone, "This is the statement's example."),
        Wrong(_salted, "Python's `hash`"),
    ),
    right=(_by_comprehension, _with_a_table, _in_numpy, _in_place, _grouped, _lists_for_pairs),
)  # fmt: skip
