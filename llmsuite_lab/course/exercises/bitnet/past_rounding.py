"""Gradients that get past the rounding."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def gradients(G: torch.Tensor, q: torch.Tensor, s: torch.Tensor, T: torch.Tensor, gamma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The solution: as if y = (s q) (γ T)ᵀ had been computed from W and x themselves."""
    return G.T @ (s * q), gamma * (G @ T)


def _zeros(G, q, s, T, gamma):
    return torch.zeros_like(T), torch.zeros_like(q)


def _no_s(G, q, s, T, gamma):
    return G.T @ q, gamma * (G @ T)


def _no_gamma(G, q, s, T, gamma):
    return G.T @ (s * q), G @ T


def _gamma_in_both(G, q, s, T, gamma):
    return gamma * (G.T @ (s * q)), gamma * (G @ T)


def _s_in_both(G, q, s, T, gamma):
    return G.T @ (s * q), s * gamma * (G @ T)


def _of_T(G, q, s, T, gamma):
    return gamma * (G.T @ (s * q)), s * gamma * (G @ T)


def _transposed(G, q, s, T, gamma):
    return (s * q).T @ G, gamma * (G @ T)


def _mean(G, q, s, T, gamma):
    return G.T @ (s * q) / len(G), gamma * (G @ T)


def _other_order(G, q, s, T, gamma):
    dW, dx = gradients(G, q, s, T, gamma)
    return dx, dW


def _weights_only(G, q, s, T, gamma):
    return G.T @ (s * q), torch.zeros_like(q)


def _only_nonzero(G, q, s, T, gamma):
    return G.T @ (s * q) * (T != 0), gamma * (G @ T)


def _only_zero(G, q, s, T, gamma):
    return G.T @ (s * q) * (T == 0), gamma * (G @ T)


def _first_token(G, q, s, T, gamma):
    return G[:1].T @ (s * q)[:1], gamma * (G @ T)


def _downhill(G, q, s, T, gamma):
    return -(G.T @ (s * q)), -gamma * (G @ T)


def _by_einsum(G, q, s, T, gamma):
    return torch.einsum("no,ni,nz->oi", G, q, s), torch.einsum("no,oi->ni", G, T) * gamma


def _by_autograd(G, q, s, T, gamma):
    W, x = (gamma * T).requires_grad_(), (s * q).requires_grad_()
    return torch.autograd.grad(x @ W.T, (W, x), G)


def _in_numpy(G, q, s, T, gamma):
    G, q, s, T = (a.double().numpy() for a in (G, q, s, T))
    return G.T @ (s * q), np.float64(gamma) * G @ T


def _token_by_token(G, q, s, T, gamma):
    dW = sum(torch.outer(g, scale * a) for g, scale, a in zip(G, s, q))
    return dW, torch.stack([sum(g[o] * gamma * T[o] for o in range(len(T))) for g in G])


def _in_place(G, q, s, T, gamma):
    return G.t().mm(q.mul_(s)), G.mm(T.mul_(gamma))


def _scaled_gradient(G, q, s, T, gamma):
    return (s * G).T @ q, (gamma * G) @ T


def _cases() -> list[Case]:
    def case(n: int, d_out: int, d_in: int, seed: int, rule: str, gamma: float = 0.3) -> Case:
        generator = torch.Generator().manual_seed(seed)
        G = torch.randn(n, d_out, generator=generator, dtype=torch.float64)
        q = torch.randint(-127, 128, (n, d_in), generator=generator).double()
        s = 0.01 + torch.rand(n, 1, generator=generator, dtype=torch.float64)
        T = torch.randint(-1, 2, (d_out, d_in), generator=generator).double()
        dW = [[sum(float(G[t, o] * s[t, 0] * q[t, i]) for t in range(n)) for i in range(d_in)] for o in range(d_out)]
        dx = [[sum(float(G[t, o] * T[o, i]) for o in range(d_out)) * gamma for i in range(d_in)] for t in range(n)]
        return Case((G, q, s, T, gamma), (dW, dx), rule)

    given = [[1.0, 2.0]], [[10.0, -5.0, 0.0]], [[0.5]], [[1.0, 0.0, -1.0], [0.0, 1.0, 1.0]]
    example = tuple(torch.tensor(rows) for rows in given)
    return [
        Case((*example, 0.1), ([[5.0, -2.5, 0.0], [10.0, -5.0, 0.0]], [[0.1, 0.2, 0.1]]), "This is the statement's example."),
        case(1, 2, 3, 1, "The gradient of W is Gᵀ (s q), that of x is γ G T."),
        case(4, 3, 5, 2, "Each token has a scale of its own, and all tokens are added up."),
        case(3, 5, 2, 3, "W's gradient has W's shape, (d_out, d_in).", 2.5),
        case(2, 4, 4, 4, "A square matrix is transposed as little as any other.", 1.7),
    ]


_MISTAKES = (
    Wrong(_zeros, "Those are the true gradients of a rounding, zero almost everywhere: nothing would be learnt. Pass over it."),
    Wrong(_no_s, "In W's gradient the activations stand as they were used, s q. The s is missing."),
    Wrong(_no_gamma, "In x's gradient the weights stand as they were used, γ T. The γ is missing."),
    Wrong(_gamma_in_both, "γ stands in W's gradient, too. W is compared with γ T, not with T."),
    Wrong(_s_in_both, "s stands in x's gradient, too. x is compared with s q, not with q."),
    Wrong(_of_T, "Those are the gradients of T and q. W and x are asked for."),
    Wrong(_transposed, "W's gradient is transposed: W has the shape (d_out, d_in)."),
    Wrong(_mean, "You take the mean over the tokens. G has the loss's own weighting already: add."),
    Wrong(_other_order, "The gradient of W comes first."),
    Wrong(_weights_only, "x's gradient is zero in yours: the layers before would learn nothing."),
    Wrong(_only_nonzero, "Weights that are 0 now get no gradient in yours, and could never leave it."),
    Wrong(_only_zero, "Only weights that are 0 get a gradient in yours."),
    Wrong(_first_token, "Only the first token counts in W's gradient."),
    Wrong(_downhill, "The sign is turned round. The optimizer goes downhill, not the gradient."),
)

EXERCISE = Exercise(
    id="bitnet.past_rounding",
    notebook="07_one_bit_llms",
    title="gradients past the rounding",
    difficulty=3,
    minutes=20,
    statement=(
        "A layer computed y = (s q) (γ T)ᵀ, where s q is x rounded and γ T is W rounded: q (n, d_in), s (n, 1), T (d_out, d_in). G (n, d_out) is the "
        "loss's gradient for y. Write `gradients(G, q, s, T, gamma)`: the straight-through gradients for W and for x, as if nothing had been rounded and s q "
        "and γ T had been x and W. G = `[[1, 2]]`, q = `[[10, -5, 0]]`, s = `[[0.5]]`, T = `[[1, 0, -1], [0, 1, 1]]` and γ = 0.1 give "
        "`[[5, -2.5, 0], [10, -5, 0]]` and `[[0.1, 0.2, 0.1]]`."
    ),
    name="gradients",
    starter="def gradients(G, q, s, T, gamma):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Take y = x Wᵀ, which you can differentiate: ∂L/∂W = Gᵀ x and ∂L/∂x = G W.",
        "Now put in what was used in the place of x and W.",
        "`G.T @ (s * q)` and `gamma * (G @ T)`.",
    ),
    solution=gradients,
    wrong=_MISTAKES,
    right=(_by_einsum, _by_autograd, _in_numpy, _token_by_token, _in_place, _scaled_gradient),
)
