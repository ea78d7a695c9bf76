"""The methods on a model of transformers under a LoRA: the same rows, the base untouched, and a record of them."""

import pytest
import torch

from llmsuite_lab.alignment import at_scale, benches, measuring, recipes, small_policy
from llmsuite_lab.alignment.reward_model import RewardModel
from llmsuite_lab.core.runs import Run
from llmsuite_lab.lm.batching import Example

TINY = benches.Budget(pairs=8, iterations=2, rollouts=8, items=5, along=5, held_out=0, max_new_tokens=6)


@pytest.fixture(scope="module")
def loaded():
    """A tiny Llama of transformers with the desk's words."""
    from transformers import LlamaConfig, LlamaForCausalLM

    words = small_policy.desk_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(words), max_position_embeddings=160, bos_token_id=0, eos_token_id=words.eos_token_id, pad_token_id=0, **sizes)
    return LlamaForCausalLM(config).float(), words


@pytest.fixture(scope="module")
def start(loaded):
    return at_scale.taught(*loaded, replies=8, batch_size=4, lr=1e-2)


def test_a_start_of_a_lora_is_its_own_reference_and_stays_as_it_is(start, loaded):
    before = {name: p.clone() for name, p in loaded[0].state_dict().items()}
    tuned = start.fresh()
    assert {name.rsplit(".", 2)[1] for name, p in tuned.named_parameters() if p.requires_grad} == {"A", "B"}
    replies = [Example([5, 6, 7], [9, 10]), Example([5], [9, 10, 11])]
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if ".B." in name:
                p.add_(0.3)
    reference = start.reference(tuned)
    assert torch.allclose(reference.logprobs(replies), start.reference(start.fresh()).logprobs(replies), atol=1e-6)
    assert not torch.allclose(reference.logprobs(replies), measuring.score(tuned, replies).logprobs.sum(1), atol=1e-3)
    assert all(torch.equal(p, before[name]) for name, p in loaded[0].state_dict().items())  # every tuning has a copy


def test_a_reward_model_on_a_trunk_with_a_lora_trains_that_alone_and_its_head(start):
    model = RewardModel.of(start.trunk())
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert "head.weight" in trained
    assert all(".A." in name or ".B." in name for name in trained if name != "head.weight")
    assert len(trained) > 1


def test_the_recipe_gives_a_row_for_the_start_each_method_and_the_control(loaded, tmp_path):
    (recipe,) = (one for one in recipes.RECIPES if one.name == "align_smollm2")
    knobs = {"ppo": {"epochs": 1, "lr": 1e-2}, "dpo": {"batch_size": 4, "lr": 1e-2}, "rest": {"prompts": 2, "batch_size": 4, "lr": 1e-2}}
    done = at_scale.measure(Run(recipe, 0, tmp_path), TINY, knobs, loaded)
    assert [row["method"] for row in done.results] == ["start", "ppo", "dpo", "rest", "ppo, random reward"]
    assert all(row["last"] and len(row["gold"]) == 5 for row in done.results)
    first, *others = done.results
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert all(row["kl"] > 1e-5 for row in others)
    assert done.settings["chosen"] == knobs
    assert done.settings["bench"]["pairs"] == 8


def test_a_distribution_over_many_words_is_taken_in_smaller_parts(start, monkeypatch):
    replies = [Example([5, 6, 7], [9, 10]), Example([5], [9, 10, 11]), Example([6], [12])]
    tuned = start.fresh()
    whole = measuring.kl_and_entropy(tuned, start.reference(tuned), replies)
    seen = []
    real = measuring.score
    monkeypatch.setattr(measuring, "score", lambda model, some, **how: seen.append(len(some)) or real(model, some, **how))
    monkeypatch.setattr(measuring, "NUMBERS", 2 * 3 * 298)
    parts = measuring.kl_and_entropy(tuned, start.reference(tuned), replies)
    assert seen == [2, 1]
    assert parts[0] == pytest.approx(whole[0], abs=1e-5)
    assert parts[1] == pytest.approx(whole[1], abs=1e-5)
