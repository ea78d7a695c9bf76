"""Between two random draws of your own you may call the package: the second is the one you would have got, and the call gives what it always does."""

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import peft
import pytest
import torch
import transformers
from torch import nn

from llmsuite_lab.alignment import ppo, reward_model, rollouts, small_policy
from llmsuite_lab.alignment.q_learning import QHeads
from llmsuite_lab.alignment.settings import Settings
from llmsuite_lab.bitnet import twins
from llmsuite_lab.bitnet.model import bit_decoder
from llmsuite_lab.course.bench.ppo import policies
from llmsuite_lab.course.bench.transformer import reference_model
from llmsuite_lab.lm.adapters import LORA_TARGETS, add_lora, quiet_peft, write_adapter
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.merging import merge_adapter
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import sizes
from llmsuite_lab.scaling import experiments
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.experiments import parity, recall, retrieval_task, speed

EXAMPLES = [Example([3 + (7 * i + j) % 20 for j in range(2 + i % 5)], [5 + (i + j) % 9 for j in range(1 + i % 4)]) for i in range(12)]
TWINS = replace(twins.Budget(), vocabulary=300, length=16)
SMALL = small_policy.Settings(d_model=24, n_layers=1, n_heads=2, d_ff=32, pretraining_steps=1, tuning_steps=1, batch_size=4)


@contextmanager
def undisturbed(callers=77):
    """Fails where what happens inside leaves torch's generator another than the caller's, who has drawn twice from a seed of that number."""
    torch.manual_seed(callers)
    torch.rand(2)
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "the caller's next draw is another one"


def decoder(dropout=0.0):
    return Decoder(replace(llama_config(23, n_layers=2, d_model=24, n_heads=3, d_ff=40, max_length=64), dropout=dropout))


def same(model, other):
    pairs = list(zip(model.state_dict().items(), other.state_dict().items(), strict=True))
    return bool(pairs) and all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_this_check_sees_a_draw_and_a_seed():
    for disturb in (lambda: torch.rand(1), lambda: torch.manual_seed(torch.initial_seed() + 1), decoder):
        with pytest.raises(AssertionError, match="next draw is another"), undisturbed():
            disturb()


CALLS = {
    "two models are trained": lambda: retrieval_task.measure_reach(0, steps=1, batch_size=2, n=4),
    "one model is trained": lambda: recall.learned("LSTM", 8, 1e-2, marks=(1,), n=4),
    "models are timed": lambda: speed.measure_speed((4,), tokens=8, repeats=1, d_model=16, vocab_size=11),
    "layers are compared": lambda: parity.multi_head_differences((0,)),
    "tokens are permuted": lambda: (parity.order_deviation(True), parity.beginning_deviation(2, True)),
    "families are compared": lambda: [parity.family_difference(family) for family in parity.FAMILIES],
    "a base is trained": lambda: sizes.own_base(next(iter(sizes.OWN)), budget=replace(sizes.Budget(), files=16)),
    "a policy is trained": lambda: small_policy.train(0, SMALL),
    "a policy is loaded": small_policy.load,
    "models are made for a bench": lambda: (policies(), reference_model("gpt2")),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_callers_draws_go_on(call):
    with undisturbed():
        CALLS[call]()


def test_heads_on_a_model_draw_from_generators_of_their_own():
    base = decoder()
    with undisturbed():
        critic, reward = rollouts.ActorCritic(base), reward_model.RewardModel(base, seed=4)
        heads = QHeads(base, twins=True)
    assert not critic.value.weight.any()
    assert not critic.value.bias.any()
    assert torch.equal(reward.head.weight, torch.randn(1, 24, generator=torch.Generator().manual_seed(4)) / 5)
    assert not heads.q.heads[0][-1].weight.any()
    assert torch.isfinite(torch.cat([p.flatten() for p in (*heads.q.parameters(), *heads.v.parameters())])).all()


def test_a_model_is_the_one_of_its_seed_whatever_was_drawn_before(tiny_model):
    torch.manual_seed(5)
    wanted = bit_decoder(twins.config("small", TWINS))
    with undisturbed():
        found = twins.twin("ternary", "small", 5, TWINS)
    assert same(found, wanted)
    torch.manual_seed(0)
    wanted = Decoder(experiments.CONFIG).double()
    assert same(experiments._model(), wanted)
    torch.manual_seed(6)
    settings = peft.LoraConfig(r=2, lora_alpha=16, target_modules=list(LORA_TARGETS), lora_dropout=0.0, task_type="CAUSAL_LM")
    with quiet_peft():
        wanted = peft.get_peft_model(deepcopy(tiny_model), settings)
    with undisturbed():
        found = add_lora(tiny_model, 6, rank=2)
    assert same(found, wanted)


def trained(dropout, callers, **options):
    torch.manual_seed(1)
    model = decoder(dropout)
    with undisturbed(callers):
        history = fit(model, EXAMPLES, steps=4, batch_size=3, progress=False, **options)
    return model, history.losses


def test_training_with_dropout_follows_its_own_seed_alone(tmp_path):
    model, losses = trained(0.3, 2, seed=4)
    other, again = trained(0.3, 3, seed=4)
    assert losses == again
    assert same(model, other)
    assert trained(0.0, 2, seed=4)[1] != losses  # there is dropout

    def stop(step, history):
        if step == 2:
            raise KeyboardInterrupt

    trained(0.3, 6, seed=4, checkpoint=tmp_path / "run", on_step=stop)
    resumed, whole = trained(0.3, 7, seed=4, checkpoint=tmp_path / "run", resume=True)
    assert whole == losses
    assert same(resumed, model)


def test_a_resumed_ppo_gives_back_the_state_that_its_checkpoint_brought(tmp_path):
    settings = Settings(iterations=2, prompts=4, max_new_tokens=3, epochs=1, minibatches=1)

    def noise(replies):
        return torch.rand(len(replies))

    def run(iterations, **options):
        torch.manual_seed(1)
        model = rollouts.ActorCritic(decoder())
        reference = rollouts.Reference.frozen(model.policy)
        with undisturbed(2):
            ppo.train(model, reference, noise, [[2, 3]] * 8, replace(settings, iterations=iterations), end_id=1, **options)
        return model

    whole = run(2)
    run(1, checkpoint=tmp_path / "run", checkpoint_every=1)
    assert same(run(2, checkpoint=tmp_path / "run", resume=True), whole)


def test_loading_draws_nothing_also_where_a_library_draws_first(tiny_model, tiny_tokenizer, tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "expand": 2}
    mamba = transformers.MambaForCausalLM(transformers.MambaConfig(vocab_size=259, **sizes))
    mamba.save_pretrained(tmp_path / "mamba")
    tiny_tokenizer.save_pretrained(tmp_path / "mamba")
    with undisturbed():
        LanguageModel.load(str(tmp_path / "mamba"))
    tuned = add_lora(deepcopy(tiny_model), 3, rank=2)
    nn.init.ones_(next(p for name, p in tuned.named_parameters() if "lora_B" in name))
    write_adapter(tmp_path / "adapter", tuned, {})
    with undisturbed():
        merge_adapter(tiny_model, tmp_path / "adapter")
