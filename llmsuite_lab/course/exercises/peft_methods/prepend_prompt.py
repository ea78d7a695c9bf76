"""A soft prompt before a batch of unequal lengths: mask and labels grow with it, and with a cache it stands there already."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def prepend_prompt(prompt: torch.Tensor, embeddings: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, cached: int) -> tuple:
    """The solution: nothing with a cache; else every row cut behind its padding, and the prompt put in there."""
    if cached:
        return embeddings, mask, labels
    n, rows = len(prompt), []
    for e, m, y in zip(embeddings, mask, labels):
        k = len(m) - m.sum()  # places of padding
        parts = (e[:k], prompt, e[k:]), (m[:k], m.new_ones(n), m[k:]), (y[:k], y.new_full((n,), -100), y[k:])
        rows.append([torch.cat(part) for part in parts])
    return tuple(torch.stack(column) for column in zip(*rows))


def _built(prompt, embeddings, mask, labels, cached, front=lambda pads, prompt, text: (pads, prompt, text), real=1, ignored=-100):
    """Row by row, with the three parts in another order, another mask or another label over the prompt."""
    if cached:
        return embeddings, mask, labels
    rows = []
    for e, m, y in zip(embeddings, mask, labels):
        k = int((m == 0).sum())
        parts = front(
            (e[:k], m[:k], y[:k]),
            (prompt, torch.full((len(prompt),), real), torch.full((len(prompt),), ignored)),
            (e[k:], m[k:], y[k:]),
        )
        rows.append([torch.cat(kind) for kind in zip(*parts)])
    return tuple(torch.stack(kind) for kind in zip(*rows))


def _before_the_padding(*given):
    return _built(*given, front=lambda pads, prompt, text: (prompt, pads, text))


def _behind(*given):
    return _built(*given, front=lambda pads, prompt, text: (pads, text, prompt))


def _padding_moved(*given):
    return _built(*given, front=lambda pads, prompt, text: (prompt, text, pads))


def _twice(*given):
    return _built(*given, front=lambda pads, prompt, text: (pads, prompt, prompt, text))


def _masked(*given):
    return _built(*given, real=0)


def _labelled_zero(*given):
    return _built(*given, ignored=0)


def _labelled_minus_one(*given):
    return _built(*given, ignored=-1)


def _again_with_a_cache(prompt, embeddings, mask, labels, cached):
    return _built(prompt, embeddings, mask, labels, 0)


def _never(prompt, embeddings, mask, labels, cached):
    return embeddings, mask, labels


def _with_a_cache_alone(prompt, embeddings, mask, labels, cached):
    return _built(prompt, embeddings, mask, labels, not cached)


def _after_one_token(prompt, embeddings, mask, labels, cached):
    return _built(prompt, embeddings, mask, labels, cached > 1)


def _first_rows_padding(prompt, embeddings, mask, labels, cached):
    if cached:
        return embeddings, mask, labels
    k, batch, n = int((mask[0] == 0).sum()), len(mask), len(prompt)

    def put(part, new):
        return torch.cat([part[:, :k], new, part[:, k:]], 1)

    return put(embeddings, prompt.expand(batch, n, -1)), put(mask, mask.new_ones(batch, n)), put(labels, labels.new_full((batch, n), -100))


def _first_one(prompt, embeddings, mask, labels, cached):
    if cached:
        return embeddings, mask, labels
    rows = []
    for e, m, y in zip(embeddings, mask, labels):
        k = int(m.argmax())
        parts = (e[:k], prompt, e[k:]), (m[:k], m.new_ones(len(prompt)), m[k:]), (y[:k], y.new_full((len(prompt),), -100), y[k:])
        rows.append([torch.cat(part) for part in parts])
    return tuple(torch.stack(column) for column in zip(*rows))


def _mask_forgotten(prompt, embeddings, mask, labels, cached):
    found = _built(prompt, embeddings, mask, labels, cached)
    return found[0], mask, found[2]


def _labels_forgotten(prompt, embeddings, mask, labels, cached):
    found = _built(prompt, embeddings, mask, labels, cached)
    return found[0], found[1], labels


def _added(prompt, embeddings, mask, labels, cached):
    return embeddings + prompt.mean(0), mask, labels


def _embeddings_alone(prompt, embeddings, mask, labels, cached):
    return _built(prompt, embeddings, mask, labels, cached)[0]


def _all_real(prompt, embeddings, mask, labels, cached):
    found = _built(prompt, embeddings, mask, labels, cached)
    return found[0], torch.ones_like(found[1]), found[2]


def _text_ignored(prompt, embeddings, mask, labels, cached):
    found = _built(prompt, embeddings, mask, labels, cached)
    return found[0], found[1], torch.full_like(found[2], -100)


def _by_masks(prompt, embeddings, mask, labels, cached):
    if cached > 0:
        return [embeddings, mask, labels]
    n, batch, seq = prompt.shape[0], *mask.shape
    pads = seq - mask.sum(1, keepdim=True)
    places = torch.arange(n + seq)[None]
    of_prompt = (places >= pads) & (places < pads + n)
    wide = torch.zeros(batch, n + seq, prompt.shape[1])
    wide[of_prompt] = prompt.repeat(batch, 1)
    wide[~of_prompt] = embeddings.reshape(-1, prompt.shape[1])
    new_labels = torch.full((batch, n + seq), -100)
    new_labels[~of_prompt] = labels.flatten()
    return wide, (places >= pads).long(), new_labels


def _by_gather(prompt, embeddings, mask, labels, cached):
    if cached != 0:
        return embeddings, mask, labels
    n, seq = len(prompt), mask.shape[1]
    pads = (1 - mask).sum(1)[:, None]
    t = torch.arange(n + seq)
    source = torch.where(t < pads, t + n, torch.where(t < pads + n, t - pads, t))
    whole = torch.cat((prompt[None].repeat(len(mask), 1, 1), embeddings), 1).double()
    ones = torch.cat((torch.ones(len(mask), n).int(), mask.int()), 1)
    targets = torch.nn.functional.pad(labels, (n, 0), value=-100)
    return whole[torch.arange(len(mask))[:, None], source], ones.gather(1, source), targets.gather(1, source)


def _in_numpy(prompt, embeddings, mask, labels, cached):
    if cached:
        return embeddings.numpy(), mask.numpy(), labels.numpy()
    parts = ((prompt, embeddings), (np.ones(len(prompt)), mask), (np.full(len(prompt), -100), labels))
    pads = (mask.numpy() == 0).sum(1)
    return tuple(np.stack([np.insert(row, [k] * len(new), new, axis=0) for row, k in zip(rows.numpy(), pads)]) for new, rows in parts)


def _by_loops(prompt, embeddings, mask, labels, cached):
    if cached:
        return embeddings.tolist(), mask.tolist(), labels.tolist()
    prompt, wide, ones, targets = prompt.tolist(), [], [], []
    for e, m, y in zip(embeddings.tolist(), mask.tolist(), labels.tolist()):
        k = m.index(1) if 1 in m else len(m)
        wide.append(e[:k] + prompt + e[k:])
        ones.append(m[:k] + [1] * len(prompt) + m[k:])
        targets.append(y[:k] + [-100] * len(prompt) + y[k:])
    return wide, ones, targets


def _by_roll(prompt, embeddings, mask, labels, cached):
    if cached:
        return embeddings, mask, labels
    wide = torch.cat([embeddings, embeddings.new_empty(len(mask), *prompt.shape)], 1)
    ones, targets = (torch.nn.functional.pad(part, (0, len(prompt))) for part in (mask, labels))
    for i, row in enumerate(mask):
        k = len(row) - int(row.sum())
        for part, new in ((wide, prompt), (ones, 1), (targets, -100)):
            part[i, k:] = part[i, k:].roll(len(prompt), 0)
            part[i, k : k + len(prompt)] = new
    return wide, ones, targets


def _split_rows(prompt, embeddings, mask, labels, cached):
    if not cached:
        pads = [int(k) for k in mask.shape[1] - mask.count_nonzero(1)]
        embeddings = torch.stack([torch.vstack([e[:k], prompt, e[k:]]) for e, k in zip(embeddings, pads)])
        labels = torch.stack([torch.hstack([y[:k], torch.tensor([-100] * len(prompt)), y[k:]]) for y, k in zip(labels, pads)])
        mask = torch.nn.functional.pad(mask, (0, len(prompt)), value=1)
        for row in range(len(mask)):
            mask[row, pads[row] :] = 1
    return embeddings, mask, labels


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(10)

    def case(n: int, d: int, seq: int, lengths: tuple[int, ...], rule: str, cached: int = 0) -> Case:
        prompt, embeddings = torch.randn(n, d, generator=generator), torch.randn(len(lengths), seq, d, generator=generator)
        mask = torch.tensor([[0] * (seq - length) + [1] * length for length in lengths])
        labels = torch.randint(90, mask.shape, generator=generator).masked_fill(torch.rand(mask.shape, generator=generator) < 0.3, -100)
        labels = labels.masked_fill(mask == 0, -100)
        want = [[], [], []]
        for i, length in enumerate(lengths):
            k = seq - length
            want[0].append(embeddings[i, :k].tolist() + prompt.tolist() + embeddings[i, k:].tolist())
            want[1].append([0] * k + [1] * (n + length))
            want[2].append([-100] * (k + n) + labels[i, k:].tolist())
        right = (embeddings, mask, labels) if cached else (torch.tensor(want[0]), torch.tensor(want[1]), torch.tensor(want[2]))
        return Case((prompt, embeddings, mask, labels, cached), right, rule)

    one = torch.tensor([[7.0]]), torch.tensor([[[0.0], [1.0], [2.0]]]), torch.tensor([[0, 1, 1]]), torch.tensor([[-100, -100, 5]])
    want = [[[0.0], [7.0], [1.0], [2.0]]], [[0, 1, 1, 1]], [[-100, -100, -100, 5]]
    order = "A row is padding, prompt, text: the prompt stands right before the row's own first token."
    cache = "With a cache the prompt's keys and values are in it: nothing comes before the new tokens."
    return [
        Case((*one, 0), want, "One row with one place of padding: padding, prompt, text."),
        case(3, 4, 5, (5, 5), "Without padding the prompt is the beginning of the row."),
        case(2, 3, 6, (2, 6, 5), order),
        case(4, 2, 3, (3, 1, 2, 1), order),
        case(1, 5, 4, (0, 4), "A row without text is padding and prompt."),
        case(3, 2, 1, (1, 1, 1), cache, cached=9),
        case(2, 4, 1, (1, 1), cache, cached=1),
        case(2, 3, 3, (3, 2), cache, cached=7),
    ]


_MISTAKES = (
    Wrong(_before_the_padding, "Your prompt stands before the padding: in a short row the text is far from it. It goes right before the row's first token."),
    Wrong(_behind, "Your prompt stands behind the text."),
    Wrong(_padding_moved, "The padding moved to the right: it stays on the left, where generation needs it."),
    Wrong(_twice, "The prompt stands there twice."),
    Wrong(_masked, "The mask is 0 over the prompt: nobody may look at it, and it is never trained."),
    Wrong(_labelled_zero, "The prompt's labels are 0, which is a token: the loss would ask the prompt to be it. What is not to be learned has -100."),
    Wrong(_labelled_minus_one, "The prompt's labels are -1. What is not to be learned has -100."),
    Wrong(_again_with_a_cache, "With a cache you put the prompt in again, at every token that is generated. It is in the cache already."),
    Wrong(_never, "The prompt never comes in."),
    Wrong(_with_a_cache_alone, "The condition is turned round: the prompt comes when nothing is cached."),
    Wrong(_after_one_token, "With one position in the cache you put the prompt in again."),
    Wrong(_first_rows_padding, "You use the first row's padding for all rows. Each has its own."),
    Wrong(_first_one, "A row without text has no 1 in its mask, and `argmax` gives 0: its prompt stands before the padding. Count the zeros instead."),
    Wrong(_mask_forgotten, "The mask is still as long as the text. It grows with the prompt."),
    Wrong(_labels_forgotten, "The labels are still as long as the text. They grow with the prompt."),
    Wrong(_added, "You add the prompt to the embeddings. It has places of its own, before them."),
    Wrong(_all_real, "Your mask is 1 on the padding, too."),
    Wrong(_text_ignored, "Your labels are -100 on the text, too: there is nothing left to learn."),
)

EXERCISE = Exercise(
    id="peft_methods.prepend_prompt",
    notebook="10_prompt_tuning",
    title="a soft prompt, put in once",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `prepend_prompt(prompt, embeddings, mask, labels, cached)`. `prompt` is `(n, d)`. `embeddings`, `(batch, seq, d)`, are padded **on the left**; "
        "`mask`, `(batch, seq)`, is 1 at tokens and 0 at padding; `labels`, `(batch, seq)`, have -100 where nothing is to be learned. Return the three for "
        "`n + seq` places: in each row its padding as it is, then the prompt, then its text (which may be empty). The prompt may be looked at and is not "
        "to be predicted. When `cached`, the number of positions in the KV cache, is above 0, the prompt is in there: return the three as they are."
    ),
    name="prepend_prompt",
    starter="def prepend_prompt(prompt, embeddings, mask, labels, cached):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Begin with the cache. Then write one row by hand: padding, prompt, text, with the mask and the labels below.",
        "A row has `k = (mask[i] == 0).sum()` places of padding: cut the row there, and put the prompt between the parts.",
        "`torch.cat([e[:k], prompt, e[k:]])`; in the mask the new places are 1, in the labels -100. Then `torch.stack` the rows.",
    ),
    solution=prepend_prompt,
    wrong=(*_MISTAKES, Wrong(_embeddings_alone, "expected ([[")),
    right=(_by_masks, _by_gather, _in_numpy, _by_loops, _by_roll, _split_rows),
    equivalent={"return tuple((column for column in zip(*rows)))": "the rows unstacked are the same numbers, and any sequence of them will do"},
)  # fmt: skip
