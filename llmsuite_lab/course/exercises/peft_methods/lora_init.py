"""How a LoRA begins: A drawn, B zero, so that training starts from the model as it is and can leave it."""

import math

import torch

from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def lora_init(d_in: int, d_out: int, r: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The solution: A normal with standard deviation 1/√d_in, B zero, both trainable."""
    A = torch.randn(r, d_in, generator=generator) / math.sqrt(d_in)
    B = torch.zeros(d_out, r)
    return A.requires_grad_(), B.requires_grad_()


def _with(A=None, B=None, trained=(True, True)):
    """The right answer with another A or B, each a function of (d_in, d_out, r, generator)."""

    def answer(d_in, d_out, r, generator):
        found = lora_init(d_in, d_out, r, generator)
        parts = [own(d_in, d_out, r, generator) if own else part.detach() for own, part in zip((A, B), found)]
        return tuple(part.requires_grad_(on) for part, on in zip(parts, trained))

    return answer


def _normal(rows, columns, generator, scale=1.0):
    return torch.randn(rows, columns, generator=generator) * scale


def _exchanged(d_in, d_out, r, generator):
    return torch.zeros(r, d_in, requires_grad=True), _normal(d_out, r, generator, d_in**-0.5).requires_grad_()


def _swapped_pair(d_in, d_out, r, generator):
    return lora_init(d_in, d_out, r, generator)[::-1]


def _half(d_in, d_out, r, generator):
    return tuple(part.detach().half().requires_grad_() for part in lora_init(d_in, d_out, r, generator))


def _other_generator(d_in, d_out, r, generator):
    return _normal(r, d_in, None, d_in**-0.5).requires_grad_(), torch.zeros(d_out, r, requires_grad=True)


def _fixed_seed(d_in, d_out, r, generator):
    return lora_init(d_in, d_out, r, torch.Generator().manual_seed(0))


def _reseeds(d_in, d_out, r, generator):
    return lora_init(d_in, d_out, r, generator.manual_seed(0))


def _not_leaves(d_in, d_out, r, generator):
    A = torch.randn(r, d_in, generator=generator, requires_grad=True) / math.sqrt(d_in)
    return A, torch.zeros(d_out, r, requires_grad=True)


def _in_place(d_in, d_out, r, generator):
    A = torch.empty(r, d_in).normal_(0, d_in**-0.5, generator=generator)
    B = torch.empty(d_out, r).zero_()
    A.requires_grad, B.requires_grad = True, True
    return A, B


def _parameters(d_in, d_out, r, generator):
    pair = [torch.nn.Parameter(torch.normal(0.0, d_in**-0.5, (r, d_in), generator=generator)), torch.nn.Parameter(torch.zeros(d_out, r))]
    return pair


def _by_init(d_in, d_out, r, generator):
    A, B = (torch.nn.Parameter(torch.empty(shape)) for shape in ((r, d_in), (d_out, r)))
    torch.nn.init.normal_(A, std=1 / math.sqrt(d_in), generator=generator)
    torch.nn.init.zeros_(B)
    return A, B


def _row_by_row(d_in, d_out, r, generator):
    A = torch.stack([torch.randn(d_in, generator=generator) for _ in range(r)]) * torch.rsqrt(torch.tensor(float(d_in)))
    return A.detach().requires_grad_(True), torch.full((d_out, r), 0.0, requires_grad=True)


def _in_double(d_in, d_out, r, generator):
    A = torch.randn(r, d_in, generator=generator, dtype=torch.float64).div_(d_in**0.5).float()
    B = A.new_zeros(d_out, r)
    A.requires_grad_(True)
    return A, B.requires_grad_(True)


def _drawn_transposed(d_in, d_out, r, generator):
    layers = torch.nn.Linear(d_in, r, bias=False), torch.nn.Linear(r, d_out, bias=False)
    with torch.no_grad():
        layers[0].weight.copy_(torch.randn(d_in, r, generator=generator).T / d_in**0.5)
        layers[1].weight *= 0
    return layers[0].weight, layers[1].weight


_BOTH_ZERO = "A and B are both zero: neither gets a gradient, for each is multiplied by the other. Nothing is ever learnt."
_BOTH_DRAWN = "A and B are both drawn: B A is not 0, and the model is damaged before the first step. B begins at zero."
_EXCHANGED = "A is zero and B is drawn. That starts at 0 as well, but here A is drawn and B is zero, as in the paper."
_GENERATOR = "A is to be drawn through `generator`: two generators of the same seed must give the same A, whatever torch's own state is."


def _kinds(value) -> str:
    many = isinstance(value, tuple | list)
    return type(value).__name__ + (f" of {', '.join(type(part).__name__ for part in value)}" if many and value else "")


def _check_pair(pair, d_in: int, d_out: int, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    call = f"`lora_init({d_in}, {d_out}, {r}, generator)`"
    fits = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, torch.Tensor) for part in pair)
    expect(fits, f"{call} returns a pair of tensors, A and B. Yours: {_kinds(pair)}.")
    A, B = pair
    shapes = f"{tuple(A.shape)} and {tuple(B.shape)}"
    turned = " (B and A: A comes first.)" if A.shape == (d_out, r) and B.shape == (r, d_in) else ""
    expect(A.shape == (r, d_in) and B.shape == (d_out, r), f"{call} has the shapes {(r, d_in)} and {(d_out, r)}, yours {shapes}.{turned}")
    expect(A.dtype == B.dtype == torch.float32, f"Both are float32. Yours are {A.dtype} and {B.dtype}.".replace("torch.", ""))
    for name, part in (("A", A), ("B", B)):
        expect(part.requires_grad, f"{name} does not require a gradient, so no optimizer can train it.")
        expect(part.is_leaf, f"{name} is the result of a computation, not a leaf: its gradient is not kept. Ask for the gradient last.")
    A, B = A.detach(), B.detach()
    expect(A.any() or B.any(), _BOTH_ZERO)
    expect(A.any(), _EXCHANGED)
    expect(not B.any(), _BOTH_DRAWN)
    return A, B


def _check(answer) -> None:
    drawn = {}
    for d_in, d_out, r, seed in ((6, 4, 2, 1), (6, 4, 2, 2), (5, 7, 1, 1), (3, 2, 5, 3), (400, 30, 50, 4), (100, 500, 200, 5)):
        pairs = []
        for state in (7, 8):  # torch's own state: nothing may depend on it
            with seeded(state):
                pairs.append(_check_pair(answer(d_in, d_out, r, torch.Generator().manual_seed(seed)), d_in, d_out, r))
        expect(torch.equal(pairs[0][0], pairs[1][0]), _GENERATOR)
        drawn[d_in, seed] = pairs[0][0]
    expect(not torch.equal(drawn[6, 1], drawn[6, 2]), f"{_GENERATOR} Yours gives the same A for two seeds.")
    for A in drawn.values():
        expect(A.unique().numel() > 0.95 * A.numel(), "Every entry of A is a draw of its own. In yours many are equal.")
    generator = torch.Generator().manual_seed(1)
    first, second = (_check_pair(answer(6, 4, 2, generator), 6, 4, 2)[0] for _ in range(2))
    expect(not torch.equal(first, second), "Two layers from one generator are to differ. Yours begins anew each time.")
    for A in (drawn[400, 4], drawn[100, 5]):
        expected, found, mean = A.shape[1] ** -0.5, A.std().item(), A.mean().item()
        said = f"With d_in = {A.shape[1]} the standard deviation of A is {expected:.3g}"
        expect(abs(found / expected - 1) < 0.05, f"{said}, 1/√d_in. Yours has {found:.3g}.")
        expect(abs(mean) < 0.05 * expected, f"{said}, and its mean 0. Yours has the mean {mean:.3g}.")
        beyond = (A.abs() > 2 * found).double().mean().item()  # normal: .0455
        expect(0.03 < beyond < 0.06, f"A is normal: 4.6 % of its entries are beyond two standard deviations. In yours {100 * beyond:.1f} % are.")


EXERCISE = Exercise(
    id="peft_methods.lora_init",
    notebook="09_lora",
    title="how a LoRA begins",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `lora_init(d_in, d_out, r, generator)` for the update $\\Delta W = BA$ of a weight of shape `(d_out, d_in)`. Return the pair `A`, "
        "`(r, d_in)`, and `B`, `(d_out, r)`, both float32 leaves that require a gradient. `A` is normal with mean 0 and standard deviation "
        "$1/\\sqrt{d_{in}}$, drawn through `generator`; `B` is zero. So $\\Delta W$ is 0 before the first step, and B has a gradient in it."
    ),
    name="lora_init",
    starter="def lora_init(d_in, d_out, r, generator):\n    ...",
    check=_check,
    hints=(
        "The product must be 0 at the start, and one of the two must not be: with both at zero no gradient comes through.",
        "`torch.randn(r, d_in, generator=generator)` draws; a factor sets the standard deviation.",
        "Ask for the gradient last, with `requires_grad_()`, so that the tensors are leaves.",
    ),
    solution=lora_init,
    wrong=(
        Wrong(_with(A=lambda d_in, d_out, r, g: torch.zeros(r, d_in)), _BOTH_ZERO),
        Wrong(_with(B=lambda d_in, d_out, r, g: _normal(d_out, r, g, d_in**-0.5)), _BOTH_DRAWN),
        Wrong(_exchanged, _EXCHANGED),
        Wrong(_swapped_pair, "A comes first"),
        Wrong(_with(A=lambda d_in, d_out, r, g: _normal(d_in, r, g)), "has the shapes"),
        Wrong(_half, "Both are float32"),
        Wrong(_with(trained=(True, False)), "B does not require a gradient"),
        Wrong(_with(trained=(False, True)), "A does not require a gradient"),
        Wrong(_not_leaves, "not a leaf"),
        Wrong(_other_generator, _GENERATOR),
        Wrong(_fixed_seed, "the same A for two seeds", shares_hint=True),
        Wrong(_reseeds, "the same A for two seeds", shares_hint=True),
        Wrong(_with(A=lambda d_in, d_out, r, g: torch.full((r, d_in), torch.randn(1, generator=g).item())), "a draw of its own"),
        Wrong(_with(A=lambda d_in, d_out, r, g: _normal(r, d_in, g)), "Yours has 1."),
        Wrong(_with(A=lambda d_in, d_out, r, g: _normal(r, d_in, g, r**-0.5)), "1/√d_in. Yours has"),
        Wrong(_with(A=lambda d_in, d_out, r, g: _normal(r, d_in, g, 1 / d_in)), "1/√d_in. Yours has"),
        Wrong(_with(A=lambda d_in, d_out, r, g: torch.rand(r, d_in, generator=g) * (12 / d_in) ** 0.5), "its mean 0"),
        Wrong(_with(A=lambda d_in, d_out, r, g: (torch.rand(r, d_in, generator=g) - 0.5) * (12 / d_in) ** 0.5), "A is normal"),
    ),
    right=(_in_place, _parameters, _by_init, _row_by_row, _in_double, _drawn_transposed),
)
