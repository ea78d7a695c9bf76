"""Every causal family writes what its own forward pass says, read anew for each token without cache, batch or padding: tiny random models of fifteen."""

import pytest
import torch

from llmsuite_lab.transformer.generation import engine_for, generate
from llmsuite_lab.transformer.row_engine import NO_LIMIT, RowEngine, longest_context, needs_rows_of_its_own

SPECIAL = {"vocab_size": 67, "bos_token_id": 65, "eos_token_id": 66, "pad_token_id": 64, "initializer_range": 0.4}
USUAL = {"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 5, "intermediate_size": 60, "max_position_embeddings": 96}
FAMILIES = {  # class of the config, its sizes, whether each row is a batch of its own, most tokens
    "BloomConfig": ({"hidden_size": 40, "n_layer": 2, "n_head": 5}, False, NO_LIMIT),
    "MptConfig": ({"d_model": 40, "n_layers": 2, "n_heads": 5, "max_seq_len": 96}, True, 96),
    "MambaConfig": ({"hidden_size": 40, "num_hidden_layers": 2, "state_size": 6}, True, NO_LIMIT),
    "Mamba2Config": (
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 6, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 7}, True, NO_LIMIT,
    ),
    "RwkvConfig": ({"hidden_size": 40, "num_hidden_layers": 2, "context_length": 96}, True, 96),
    "JambaConfig": (
        USUAL | {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 2,
         "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 3}, True, 96,
    ),
    "BambaConfig": (  # counts positions from 0 in every call that does not tell them
        USUAL | {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8,
         "mamba_d_state": 4, "mamba_n_groups": 1}, True, 96,
    ),
    "Lfm2Config": (
        USUAL | {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}, True, 96,
    ),
    "CpmAntConfig": ({"hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 5, "dim_head": 8, "dim_ff": 60, "prompt_length": 3}, True, NO_LIMIT),
    "OpenAIGPTConfig": ({"n_embd": 40, "n_layer": 2, "n_head": 5, "n_positions": 96}, True, 96),
    "OPTConfig": (USUAL | {"ffn_dim": 60, "word_embed_proj_dim": 40}, False, 96),
    "GPTNeoXConfig": (USUAL, False, 96),
    "FalconConfig": (USUAL, False, 96),
    "PhiConfig": (USUAL, False, 96),
    "Gemma2Config": (USUAL | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10}, False, 96),
}  # fmt: skip
PREFIX = list(range(20, 50))
PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [60, 61], list(range(13, 48)), [*PREFIX, 3, 4], [*PREFIX, 9]]


def tiny(family: str, **more):
    """A random float32 model of the family."""
    import transformers

    torch.manual_seed(11)
    config = getattr(transformers, family)(**SPECIAL | FAMILIES[family][0] | more)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def written_anew(model, prompt, n):
    """The greedy tokens, the whole row read again for each."""
    ids = list(prompt)
    for _ in range(n):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_writes_what_its_own_forward_pass_says(family):
    model = tiny(family)
    for prompts in (PROMPTS[:3], PROMPTS[3:]):
        expected = [written_anew(model, prompt, 8) for prompt in prompts]
        assert [row.ids for row in generate(model, prompts, 8)] == expected
        stopped = generate(model, prompts, 8, should_stop=lambda row, ids: row == 1 and len(ids) == 2)  # a row leaves the batch
        assert [row.ids for row in stopped] == [ids[: 2 if i == 1 else 8] for i, ids in enumerate(expected)]
    assert (needs_rows_of_its_own(model), longest_context(model.config)) == FAMILIES[family][1:]


def test_a_state_is_carried_on_and_not_made_again(monkeypatch):
    model, lengths = tiny("MambaConfig"), []
    forward = type(model).forward

    def counted(self, input_ids=None, cache_params=None, use_cache=None, logits_to_keep=0):
        lengths.append(input_ids.shape[1])
        return forward(self, input_ids=input_ids, cache_params=cache_params, use_cache=use_cache, logits_to_keep=logits_to_keep)

    monkeypatch.setattr(type(model), "forward", counted)
    generate(model, PROMPTS[:1], 5)
    assert lengths == [7, 1, 1, 1, 1]


def test_what_cannot_go_on_is_refused():
    engine = engine_for(tiny("MambaConfig"))(PROMPTS[:2], 3)
    assert isinstance(engine, RowEngine)
    with pytest.raises(ValueError, match="names a row twice"):
        engine.select([1, 1])
    with pytest.raises(ValueError, match="over the model's max_length=96"):
        generate(tiny("MptConfig"), [[3] * 95], 2)
