"""Best of n, the line that every tuned policy has to beat: what choosing by the proxy gives, what it is worth, and how far it goes from the policy."""

import math

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def best_of_n(proxy: torch.Tensor, gold: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """The solution: chosen by the proxy among the first n, read off both tables; and the bound on the KL."""
    chosen = proxy[:, :n].argmax(1, keepdim=True)
    return proxy.gather(1, chosen).mean(), gold.gather(1, chosen).mean(), math.log(n) - (n - 1) / n


def _at(proxy, gold, n, chosen):
    """The answer for the replies in column `chosen` of each row."""
    return proxy.gather(1, chosen).mean(), gold.gather(1, chosen).mean(), math.log(n) - (n - 1) / n


def _with_kl(proxy, gold, n, kl):
    return *best_of_n(proxy, gold, n)[:2], kl


def _chosen_by_gold(proxy, gold, n):
    return _at(proxy, gold, n, gold[:, :n].argmax(1, keepdim=True))


def _each_by_itself(proxy, gold, n):
    return proxy[:, :n].amax(1).mean(), gold[:, :n].amax(1).mean(), math.log(n) - (n - 1) / n


def _chosen_by_both(proxy, gold, n):
    return _at(proxy, gold, n, (proxy + gold)[:, :n].argmax(1, keepdim=True))


def _mean_of_n(proxy, gold, n):
    return proxy[:, :n].mean(), gold[:, :n].mean(), math.log(n) - (n - 1) / n


def _gold_of_all(proxy, gold, n):
    return proxy[:, :n].amax(1).mean(), gold[:, :n].mean(), math.log(n) - (n - 1) / n


def _worst_of_n(proxy, gold, n):
    return _at(proxy, gold, n, proxy[:, :n].argmin(1, keepdim=True))


def _of_all(proxy, gold, n):
    return _at(proxy, gold, n, proxy.argmax(1, keepdim=True))


def _last_n(proxy, gold, n):
    return _at(proxy, gold, n, proxy[:, -n:].argmax(1, keepdim=True) + proxy.shape[1] - n)


def _one_more(proxy, gold, n):
    return _at(proxy, gold, n, proxy[:, : n + 1].argmax(1, keepdim=True))


def _first(proxy, gold, n):
    return _at(proxy, gold, n, torch.zeros(len(proxy), 1, dtype=torch.long))


def _best_of_the_batch(proxy, gold, n):
    chosen = proxy[:, :n].flatten().argmax()
    return proxy[:, :n].flatten()[chosen], gold[:, :n].flatten()[chosen], math.log(n) - (n - 1) / n


def _best_prompt(proxy, gold, n):
    chosen = proxy[:n].argmax(0, keepdim=True)
    return proxy.gather(0, chosen).mean(), gold.gather(0, chosen).mean(), math.log(n) - (n - 1) / n


def _n_best(proxy, gold, n):
    chosen = proxy.topk(n, dim=1).indices
    return _at(proxy, gold, n, chosen)


def _summed(proxy, gold, n):
    p, g, kl = best_of_n(proxy, gold, n)
    return p * len(proxy), g * len(proxy), kl


def _gold_first(proxy, gold, n):
    p, g, kl = best_of_n(proxy, gold, n)
    return g, p, kl


def _log_alone(proxy, gold, n):
    return _with_kl(proxy, gold, n, math.log(n))


def _log_k(proxy, gold, n):
    k = proxy.shape[1]
    return _with_kl(proxy, gold, n, math.log(k) - (k - 1) / k)


def _share_added(proxy, gold, n):
    return _with_kl(proxy, gold, n, math.log(n) + (n - 1) / n)


def _share_turned(proxy, gold, n):
    return _with_kl(proxy, gold, n, math.log(n) - n / (n - 1) if n > 1 else 0.0)


def _share_of_one(proxy, gold, n):
    return _with_kl(proxy, gold, n, math.log(n) - 1 / n)


def _log_less_one(proxy, gold, n):
    return _with_kl(proxy, gold, n, math.log(n) - 1)


def _in_bits(proxy, gold, n):
    return _with_kl(proxy, gold, n, math.log2(n) - (n - 1) / n)


def _in_tens(proxy, gold, n):
    return _with_kl(proxy, gold, n, math.log10(n) - (n - 1) / n)


def _share_alone(proxy, gold, n):
    return _with_kl(proxy, gold, n, (n - 1) / n)


def _kl_turned(proxy, gold, n):
    return _with_kl(proxy, gold, n, (n - 1) / n - math.log(n))


def _kl_missing(proxy, gold, n):
    return best_of_n(proxy, gold, n)[:2]


def _per_prompt(proxy, gold, n):
    chosen = proxy[:, :n].argmax(1, keepdim=True)
    return proxy.gather(1, chosen)[:, 0], gold.gather(1, chosen)[:, 0], math.log(n) - (n - 1) / n


def _by_max(proxy, gold, n):
    found = proxy[:, :n].max(dim=1)
    return found.values.mean(), gold[range(len(gold)), found.indices].mean(), 1 / n - 1 + np.log(n)


def _by_loops(proxy, gold, n):
    best = [max(zip(p[:n], g[:n])) for p, g in zip(proxy.tolist(), gold.tolist())]
    return [sum(pair[i] for pair in best) / len(best) for i in (0, 1)] + [math.log(n) + 1 / n - 1]


def _in_numpy(proxy, gold, n):
    proxy, gold = proxy.numpy()[:, :n].astype(float), gold.numpy()[:, :n].astype(float)
    chosen = proxy.argmax(1)[:, None]
    return np.take_along_axis(proxy, chosen, 1).mean(), np.take_along_axis(gold, chosen, 1).mean(), np.log(n) - (1 - 1 / n)


def _in_place(proxy, gold, n):
    proxy[:, n:] = -torch.inf
    chosen = torch.nn.functional.one_hot(proxy.argmax(1), proxy.shape[1]).bool()
    return torch.stack([proxy[chosen].mean(), gold[chosen].mean(), torch.tensor(n).log() - (n - 1) / n])


def _by_sorting(proxy, gold, n):
    order = proxy[:, :n].argsort(dim=1, descending=True)
    return tuple(x[:, :n].gather(1, order)[:, 0].double().mean().item() for x in (proxy, gold)) + (math.log(n) - (n - 1) / n,)


def _prompt_by_prompt(proxy, gold, n):
    total_proxy = total_gold = 0.0
    for p, g in zip(proxy, gold):
        best = 0
        for i in range(1, n):
            if p[i] > p[best]:
                best = i
        total_proxy, total_gold = total_proxy + p[best], total_gold + g[best]
    return total_proxy / len(proxy), total_gold / len(gold), torch.tensor([math.log(n) - (n - 1) / n])


def _by_comparing(proxy, gold, n):
    proxy, gold = proxy.narrow(1, 0, n), gold.narrow(1, 0, n)
    wins = (proxy[:, :, None] >= proxy[:, None]).all(2).double()
    return [(x * wins).sum() / wins.sum() for x in (proxy, gold)] + [-math.log(1 / n) - (n - 1) / n]


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(17)

    def case(prompts: int, k: int, n: int, kl: float, rule: str) -> Case:
        proxy, gold = (torch.randn(prompts, k, generator=generator) for _ in range(2))
        gold = gold + torch.arange(prompts)[:, None] * 0.5
        best = []
        for p, g in zip(proxy.double().tolist(), gold.double().tolist()):
            place = p.index(max(p[:n]))
            best.append((p[place], g[place]))
        return Case((proxy, gold, n), (sum(p for p, _ in best) / prompts, sum(g for _, g in best) / prompts, kl), rule)

    chosen = "The proxy chooses, one reply of each prompt; gold is read off the same reply."
    first = "The first n replies alone are looked at."
    bound = "The bound is log n − (n − 1) / n in nats, 0 for n = 1."
    example = (torch.tensor([[1.0, 5.0], [4.0, 3.0]]), torch.tensor([[0.0, -2.0], [1.0, 7.0]]))
    return [
        Case((*example, 2), (4.5, -0.5, 0.1931472), "This is the statement's example."),
        case(3, 4, 4, 0.6362944, chosen),
        case(5, 6, 3, 0.4319456, first),
        case(4, 7, 1, 0.0, bound),
        case(1, 9, 8, 1.2044415, first),
        case(6, 16, 10, 1.4025851, bound),
        Case((example[0] - 9, example[1], 2), (-4.5, -0.5, 0.1931472), "Scores may be negative."),
    ]


_MISTAKES = (
    Wrong(_chosen_by_gold, "You choose by gold. Nobody has it when the reply is chosen: the proxy chooses, gold judges."),
    Wrong(_each_by_itself, "You take the best gold, too: that is another reply. Read gold off the reply that the proxy chose."),
    Wrong(_chosen_by_both, "You choose by the sum of both. The proxy alone chooses."),
    Wrong(_mean_of_n, "You take the mean of the n replies. The best by the proxy is chosen."),
    Wrong(_gold_of_all, "Your gold is the mean of the n replies. Read it off the reply that the proxy chose."),
    Wrong(_worst_of_n, "You choose the reply that the proxy likes least."),
    Wrong(_of_all, "You choose among all replies. The first n are looked at."),
    Wrong(_last_n, "You choose among the last n replies. The first n are looked at."),
    Wrong(_one_more, "You look at one reply too many."),
    Wrong(_first, "You take each prompt's first reply."),
    Wrong(_best_of_the_batch, "You choose one reply of the whole batch. Each prompt has its own."),
    Wrong(_n_best, "You keep the n best. One of the first n is kept."),
    Wrong(_summed, "You sum over the prompts. The mean is asked for."),
    Wrong(_gold_first, "The order is proxy, gold, KL."),
    Wrong(_log_alone, "Your bound is log n alone. (n − 1) / n is taken off: the best of one is the policy itself, and its KL is 0."),
    Wrong(_log_k, "Your bound counts all replies. n were looked at."),
    Wrong(_share_added, "You add (n − 1) / n. It is taken off."),
    Wrong(_share_turned, "You take n / (n − 1) off. It is (n − 1) / n."),
    Wrong(_share_of_one, "You take 1 / n off. It is (n − 1) / n."),
    Wrong(_log_less_one, "You take 1 off. It is (n − 1) / n, which is 0 for n = 1."),
    Wrong(_in_bits, "Your logarithm is to base 2. The bound is in nats."),
    Wrong(_in_tens, "Your logarithm is to base 10. The bound is in nats."),
    Wrong(_share_alone, "log n is missing in your bound."),
    Wrong(_kl_turned, "The sign of your bound is wrong: a KL is never negative."),
)

EXERCISE = Exercise(
    id="alignment.best_of_n",
    notebook="13_rest",
    title="best of n",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `best_of_n(proxy, gold, n)`. `proxy` and `gold` are `(prompts, k)`: what the reward model and the hidden judge give to k replies of each "
        "prompt. Of the first n replies to each prompt choose the one with the highest proxy. Return `(proxy, gold, kl)`: the mean over the prompts of the "
        "chosen replies' proxy, of the same replies' gold, and the bound $\\log n - \\frac{n-1}{n}$ (nats) on how far this goes from the policy. Proxy "
        "[[1, 5], [4, 3]] and gold [[0, −2], [1, 7]] give, with n = 2, 4.5, −0.5 and 0.1931."
    ),
    name="best_of_n",
    starter="import math\n\n\ndef best_of_n(proxy, gold, n):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Find where the best stands (`argmax`), not only how good it is: the place is needed for gold.",
        "`proxy[:, :n].argmax(1, keepdim=True)` is `(prompts, 1)`, and `gather(1, …)` reads that column of each row.",
        "`math.log(n) - (n - 1) / n` is 0 for n = 1.",
    ),
    solution=best_of_n,
    wrong=(
        *_MISTAKES,
        Wrong(_best_prompt, "The proxy chooses, one reply of each prompt"),
        Wrong(_kl_missing, "expected (4.5, -0.5, 0.19315), got (4.5, -0.5)"),
        Wrong(_per_prompt, "This is the statement's example."),
    ),
    right=(_by_max, _by_loops, _in_numpy, _in_place, _by_sorting, _prompt_by_prompt, _by_comparing),
)  # fmt: skip
