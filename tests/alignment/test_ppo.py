"""The loop: it finds known optima, stops by name when something breaks, goes on where it was stopped, and each metric is what it says."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from llmsuite_lab.alignment import a2c, ppo
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference
from llmsuite_lab.alignment.settings import METRICS, Settings
from llmsuite_lab.alignment.watch import Watch
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder

END, ARMS = 1, {2: 0.0, 3: 0.5, 4: 1.0, 5: -1.0}
SEEDS = range(5)
BANDIT = Settings(iterations=40, prompts=32, max_new_tokens=1, lr=1e-2, beta=0.5, missing_end=0.0, epochs=2)


def policy(seed, size=6):
    torch.manual_seed(seed)
    return Decoder(llama_config(size, n_layers=1, d_model=16, n_heads=2, d_ff=24, max_length=16))


def arm(replies):
    """One token, one reward."""
    return torch.tensor([ARMS.get(reply.completion_ids[0], -1.0) for reply in replies])


def distribution(model, prompt, size=6):
    with torch.no_grad():
        return score(model, [Example(prompt, [0])], distribution=True).distribution[0, 0].exp()


def run(settings, seed=0, reward=arm, prompts=32, **options):
    model = ActorCritic(policy(seed))
    reference = Reference.frozen(model.policy)
    progress = ppo.train(model, reference, reward, [[2, 3]] * prompts, settings, end_id=END, seed=seed, **options)
    return model, reference, progress


@pytest.mark.parametrize("method", ["ppo", "a2c", "rloo", "grpo"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_bandit_s_policy_becomes_the_reference_times_the_exponential_of_the_reward(method, seed):
    """π* ∝ π_ref exp(R / β): the optimum of reward minus β KL, known in closed form (GRPO's scaling by the sd changes the price: it is only to rank)."""
    settings = replace(BANDIT, method=method, replies=1 if method in ("ppo", "a2c") else 4, prompts=32 if method in ("ppo", "a2c") else 8)
    settings = replace(settings, iterations=80 if method == "a2c" else 40, minibatches=1)
    model, reference, _ = run(settings, seed)
    before, after = distribution(reference.model, [2, 3]), distribution(model.policy, [2, 3])
    rewards = torch.tensor([ARMS.get(token, -1.0) for token in range(6)])
    best = (before.log() + rewards / settings.beta).softmax(-1)
    if method == "grpo":
        assert after.argmax() == 4
    else:
        assert (after - best).abs().sum() / 2 < 0.12  # total variation; it begins at 0.4 and more
        assert (before - best).abs().sum() / 2 > 0.3


@pytest.mark.parametrize(("method", "seed"), [("ppo", 0), ("ppo", 1), ("a2c", 2)])
def test_an_entropy_bonus_flattens_a_bandit_s_optimum_as_much_as_its_weight_says(method, seed):
    """The best of E[R] − β KL + c₂ H is π* ∝ (π_ref^β exp R)^(1 / (β + c₂)). Advantages are not whitened: their sd would change what the bonus weighs."""
    settings = replace(BANDIT, method=method, entropy_weight=0.5, whiten=False, iterations=80, minibatches=1)
    model, reference, _ = run(settings, seed)
    after, ref = distribution(model.policy, [2, 3]), distribution(reference.model, [2, 3]).log()
    rewards = torch.tensor([ARMS.get(token, -1.0) for token in range(6)])
    distance = lambda c2: float((after - ((rewards + settings.beta * ref) / (settings.beta + c2)).softmax(-1)).abs().sum() / 2)  # noqa: E731
    assert distance(0.5) < 0.055
    assert min(distance(c2) for c2 in (0.0, 0.25, 1.0)) > 0.06  # no bonus, half of it, twice as much


@pytest.mark.parametrize("seed", SEEDS)
def test_a_token_mdp_is_solved_to_within_a_twentieth_of_its_optimum(seed):
    """Replies of up to three tokens; a point for each right one of 3, 5 and the end, as long as none was wrong before. All replies can be written down:
    the best value of E[R] − β KL is β log Σ π_ref(y) exp(R(y) / β)."""
    right = (3, 5, END)
    points = lambda y: float(sum(1 for n in range(len(y)) if tuple(y[: n + 1]) == right[: n + 1]))  # noqa: E731
    reward = lambda replies: torch.tensor([points(reply.completion_ids) for reply in replies])  # noqa: E731
    settings = Settings(iterations=50, prompts=64, max_new_tokens=3, lr=5e-3, beta=0.1, missing_end=0.0)
    model, reference, _ = run(settings, seed, reward, prompts=64)
    tokens = [t for t in range(6) if t != END]
    every = [(*body, END) for n in range(3) for body in itertools.product(tokens, repeat=n)] + list(itertools.product(tokens, repeat=3))
    replies = [Example([2, 3], list(y)) for y in every]
    R = torch.tensor([points(y) for y in every])
    with torch.no_grad():
        ref, now = (score(m, replies).logprobs.sum(1) for m in (reference.model, model.policy))
    assert now.exp().sum().item() == pytest.approx(1, abs=1e-4)
    best = settings.beta * torch.logsumexp(ref + R / settings.beta, 0)
    reached = (now.exp() * (R - settings.beta * (now - ref))).sum()
    start = (ref.exp() * R).sum()
    assert start < 0.5
    assert best > 2
    assert reached > best - 0.05 * (best - start)


def test_the_metrics_are_those_that_are_described_and_the_kl_is_the_one_that_is_paid():
    model, reference, progress = run(replace(BANDIT, iterations=3), exact_kl=True)
    for row in progress.rows:
        assert set(row) == set(METRICS)
        assert row["return"] == pytest.approx(row["score"] - row["beta"] * row["kl"], abs=1e-5)  # missing_end is 0
        assert row["kl_exact"] >= 0
    first, last = progress.rows[0], progress.rows[-1]
    assert first["kl"] == 0
    assert first["kl_exact"] == pytest.approx(0, abs=1e-6)
    assert last["kl_exact"] > 0.01
    assert progress.total("reward_calls") == 3 * 32


def test_a_cut_reply_loses_the_missing_end_and_is_not_set_to_it():
    """Scores 0 … 5, every reply cut: each is lowered by the penalty, so their order stays."""
    reward = lambda replies: torch.arange(len(replies)).float()  # noqa: E731
    _, _, progress = run(replace(BANDIT, iterations=1, missing_end=0.75), reward=reward)
    row = progress.rows[0]
    assert row["ended"] < 1
    assert row["return"] == pytest.approx(row["score"] - 0.75 * (1 - row["ended"]), abs=1e-5)


def test_the_ratio_is_one_before_the_first_update_also_with_dropout():
    torch.manual_seed(0)
    dropping = Decoder(llama_config(6, n_layers=1, d_model=16, n_heads=2, d_ff=24, max_length=16, dropout=0.4)).train()
    model = ActorCritic(dropping)
    progress = ppo.train(
        model, Reference.frozen(dropping), arm, [[2, 3]] * 8, replace(BANDIT, iterations=1, prompts=8, epochs=1, minibatches=1), end_id=END
    )
    assert progress.rows[0]["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert progress.rows[0]["kl"] == pytest.approx(0, abs=1e-5)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    settings = replace(BANDIT, iterations=6, prompts=16, kl_target=0.3)
    whole_model, _, whole_run = run(settings, 3, prompts=48)
    run(replace(settings, iterations=4), 3, prompts=48, checkpoint=tmp_path / "run", checkpoint_every=2)
    model, _, resumed = run(settings, 3, prompts=48, checkpoint=tmp_path / "run", resume=True)
    timeless = lambda rows: [{k: v for k, v in row.items() if not k.endswith("_s") and v == v} for row in rows]  # noqa: E731
    assert timeless(resumed.rows) == timeless(whole_run.rows)
    assert resumed.beta == whole_run.beta != settings.beta
    for a, b in zip(model.parameters(), whole_model.parameters()):
        assert torch.equal(a, b)
    with pytest.raises(LabError, match="lr"):
        run(replace(settings, lr=1.0), 3, prompts=48, checkpoint=tmp_path / "run", resume=True)
    with pytest.raises(LabError, match="the examples are others"):
        run(settings, 3, prompts=40, checkpoint=tmp_path / "run", resume=True)


def weights(model):
    return [p.detach().clone() for p in model.policy.parameters()]


class Breaking:
    """`arm` until a call, then something else."""

    def __init__(self, at, then):
        self.calls, self.at, self.then = 0, at, then

    def __call__(self, replies):
        self.calls += 1
        return arm(replies) if self.calls <= self.at else self.then(replies)


@pytest.mark.parametrize(
    ("then", "name", "after"),
    [
        (lambda replies: torch.full((len(replies),), math.nan), "not finite: the reward of reply 0 is nan", 2),
        (lambda replies: torch.full((len(replies),), math.inf), "not finite: the reward of reply 0 is inf", 2),
        (lambda replies: torch.full((len(replies),), 0.25), "reward constant: for 3 iterations every score was 0.25", 5),
    ],
)
def test_a_broken_reward_stops_the_run_by_name_with_weights_that_are_numbers(then, name, after):
    model, _, progress = run(replace(BANDIT, iterations=12), reward=Breaking(2, then))
    assert progress.stopped.startswith(name)
    assert progress.steps == after
    assert all(bool(p.isfinite().all()) for p in weights(model))


def test_a_kl_explosion_is_named_and_the_weights_before_it_come_back():
    model, reference, progress = run(replace(BANDIT, iterations=30, beta=0.0, lr=0.05), watch=Watch(kl_limit=0.5))
    assert progress.stopped.startswith("KL explosion")
    assert progress.rows[-1]["kl"] > 0.5
    p, q = distribution(model.policy, [2, 3]), distribution(reference.model, [2, 3])
    assert (p * (p / q).log()).sum() < 0.5


def test_empty_replies_and_a_diverging_value_are_named():
    watch = Watch(patience=2)
    fine = {"score_sd": 1.0, "score": 0.0, "empty": 0.0, "kl": 1.0, "return_variance": 1.0, "value_loss": 1.0}
    assert watch.trouble(fine) is None
    assert watch.trouble(fine | {"empty": 1.0}) is None
    assert watch.trouble(fine | {"empty": 1.0}).startswith("replies empty")
    assert watch.trouble(fine | {"value_loss": 500.0}).startswith("value divergence")
    assert watch.trouble(fine | {"value_loss": math.nan}).startswith("value divergence")
    assert Watch(kl_limit=None).trouble(fine | {"kl": 1e9}) is None


def test_clipping_off_moves_further_in_one_iteration():
    far = {clip: run(replace(BANDIT, iterations=1, beta=0.0, epochs=12, minibatches=1, clip=clip), 1)[2].rows[0]["step_kl"] for clip in (0.05, None)}
    assert far[None] > 1.5 * far[0.05]


def test_updates_end_when_the_step_has_gone_far_enough():
    row = run(replace(BANDIT, iterations=1, beta=0.0, epochs=12, step_kl_limit=1e-4))[2].rows[0]
    assert row["updates"] < 24
    assert row["step_kl"] > 1e-4


def test_beta_is_raised_above_the_target_and_lowered_below_it():
    assert ppo.adapted(1.0, 2.0, 1.0, 100, 1000) == pytest.approx(1.02)
    assert ppo.adapted(1.0, 0.95, 1.0, 100, 1000) == pytest.approx(0.995)
    with pytest.raises(ValueError, match="target=0"):
        ppo.adapted(1.0, 1.0, 0, 1, 1)


def test_a_lora_alone_is_trained_and_its_base_stays_bit_for_bit():
    base = policy(2)
    held = [p.detach().clone() for p in base.parameters()]
    tuned = add_lora(base, ["W_Q", "W_V", "W_up", "W_down"], rank=2)
    model = ActorCritic(tuned)
    progress = ppo.train(model, Reference.without_adapters(tuned), arm, [[2, 3]] * 32, replace(BANDIT, iterations=15), end_id=END)
    frozen = [p for n, p in tuned.named_parameters() if not p.requires_grad]
    assert len(frozen) == len(held)
    assert all(any(torch.equal(p, h) for h in held if h.shape == p.shape) for p in frozen)
    assert progress.rows[-1]["score"] > progress.rows[0]["score"] + 0.2


def test_a_stop_button_keeps_the_last_whole_iteration():
    def pressed(replies):
        raise KeyboardInterrupt

    model, reference, progress = run(replace(BANDIT, iterations=5), reward=Breaking(0, pressed))
    assert progress.interrupted
    assert progress.steps == 0
    for p, q in zip(model.policy.parameters(), reference.model.parameters()):
        assert torch.equal(p, q)


def test_every_prompt_comes_once_before_any_comes_again():
    prompts = [[n] for n in range(10)]
    seen = [p[0] for iteration in range(3) for p in ppo.drawn(prompts, 3, iteration, 7)]
    assert len(set(seen)) == 9
    assert ppo.drawn(prompts, 3, 1, 7) == ppo.drawn(prompts, 3, 1, 7) != ppo.drawn(prompts, 3, 1, 8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Settings(method="ppp"), "ppo"),
        (lambda: Settings(method="rloo"), "2 or more are needed"),
        (lambda: Settings(lr=0.0), "lr=0"),
        (lambda: Settings(clip=-1.0), "clip=-1"),
        (lambda: Settings(temperature=0.0), "explores nothing"),
        (lambda: Settings(minibatches=65), "minibatches=65"),
        (lambda: run(BANDIT, prompts=3), "3 prompts"),
        (lambda: Watch(patience=0), "patience=0"),
        (lambda: Watch(kl_limit=0), "kl_limit=0"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(wrong, words):
    with pytest.raises(ValueError, match=words):
        wrong()


def test_nothing_to_train_is_told():
    model = ActorCritic(policy(0).requires_grad_(False))
    with pytest.raises(ValueError, match="nothing to train"):
        ppo.train(model, Reference.frozen(model.policy), arm, [[2]] * 64, end_id=END)


def test_a2c_makes_one_update_an_iteration():
    model = ActorCritic(policy(0))
    progress = a2c.train(model, Reference.frozen(model.policy), arm, [[2, 3]] * 8, replace(BANDIT, prompts=8, iterations=2), end_id=END)
    assert progress.column("updates") == [1, 1]
    assert progress.column("ratio_max") == pytest.approx([1, 1], abs=1e-5)
