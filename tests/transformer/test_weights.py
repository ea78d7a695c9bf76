"""Every family's logits equal transformers' with the same weights: tiny random models, unequal lengths, cached decoding, and the two real ones."""

import pytest
import torch
import transformers

from llmsuite_lab.transformer import weights
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.encoder import Encoder, sentence_embeddings
from llmsuite_lab.transformer.encoder_decoder import EncoderDecoder
from llmsuite_lab.transformer.fused import written_out

VOCABULARY, BATCH, SOURCE, TARGET = 43, 3, 11, 7


def assert_near(ours: torch.Tensor, theirs: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


def spread(model: torch.nn.Module) -> torch.nn.Module:
    """Random weights large enough that a wrong head, norm or position shows; transformers' 0.02 makes every attention nearly uniform."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = 1 + 0.3 * noise if "norm" in name.lower() and name.endswith("weight") else 0.3 * noise
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_(generator=generator)
    return model.eval()


def tiny(family: str, **options: object) -> torch.nn.Module:
    made = {
        "bert": lambda **o: transformers.BertForMaskedLM(transformers.BertConfig(
            vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=17, **o)),
        "gpt2": lambda **o: transformers.GPT2LMHeadModel(transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=3, n_inner=40, n_positions=17, bos_token_id=1, eos_token_id=1, **o)),
        "llama": lambda **o: transformers.LlamaForCausalLM(transformers.LlamaConfig(**({
            "vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
            "intermediate_size": 40, "max_position_embeddings": 17, "rope_theta": 500.0} | o))),
        "t5": lambda **o: transformers.T5ForConditionalGeneration(transformers.T5Config(
            vocab_size=VOCABULARY, d_model=24, d_kv=5, d_ff=40, num_layers=2, num_decoder_layers=3, num_heads=3, n_positions=17,
            relative_attention_num_buckets=8, relative_attention_max_distance=9, decoder_start_token_id=0, **o)),
        "bart": lambda **o: transformers.BartForConditionalGeneration(transformers.BartConfig(
            vocab_size=VOCABULARY, d_model=24, encoder_layers=2, decoder_layers=3, encoder_attention_heads=3, decoder_attention_heads=3,
            encoder_ffn_dim=40, decoder_ffn_dim=40, max_position_embeddings=17, **o)),
    }  # fmt: skip
    torch.manual_seed(0)
    return spread(made[family](**options))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows of 11, 8 and 4 real tokens, padded on the right."""
    ids = torch.randint(0, VOCABULARY, (BATCH, SOURCE), generator=torch.Generator().manual_seed(1))
    return ids, torch.arange(SOURCE)[None] < torch.tensor([11, 8, 4])[:, None]


@torch.no_grad()
def test_bert_gives_the_same_logits_with_padding_and_segments(batch):
    ids, mask = batch
    segments = (torch.arange(SOURCE) > 5).long().expand(BATCH, -1)
    theirs = tiny("bert")
    ours = weights.from_transformers(theirs)
    expected = theirs(ids, attention_mask=mask.long(), token_type_ids=segments).logits
    assert_near(ours(ids, mask, segments)[mask], expected[mask])
    with written_out():
        assert_near(ours(ids, mask, segments)[mask], expected[mask])


@pytest.mark.parametrize("options", [{}, {"tie_word_embeddings": False}])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
@torch.no_grad()
def test_decoders_give_the_same_logits_padded_on_either_side(family, options, batch):
    ids, mask = batch
    theirs = tiny(family, **options)
    ours = weights.from_transformers(theirs)
    for m in (mask, mask.flip(1)):
        positions = (m.long().cumsum(1) - 1).clamp(min=0)
        expected = theirs(ids, attention_mask=m.long(), position_ids=positions).logits
        assert_near(ours(ids, m)[m], expected[m])
        with written_out():
            assert_near(ours(ids, m)[m], expected[m])


@torch.no_grad()
def test_llama_options_head_width_and_biases():
    theirs = tiny("llama", head_dim=10, attention_bias=True, mlp_bias=True)
    ids = torch.arange(14).view(2, 7)
    assert_near(weights.from_transformers(theirs)(ids), theirs(ids).logits)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@torch.no_grad()
def test_a_cache_changes_nothing_but_the_work(family, batch):
    ids, mask = batch[0], batch[1].flip(1)
    ours = weights.from_transformers(tiny(family))
    whole, cache = ours(ids, mask), KVCache(2)
    parts = [ours(ids[:, a:b], mask[:, :b], cache) for a, b in ((0, 5), (5, 6), (6, 9), (9, 11))]
    assert cache.length == SOURCE
    assert_near(torch.cat(parts, 1)[mask], whole[mask], 1e-5)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("t5", {}),
        ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
        ("bart", {}),
        ("bart", {"scale_embedding": True}),
    ],
)
@torch.no_grad()
def test_encoder_decoders_give_the_same_logits_and_the_same_greedy_text(family, options, batch):
    ids, mask = batch
    target = torch.randint(0, VOCABULARY, (BATCH, TARGET), generator=torch.Generator().manual_seed(2))
    target_mask = torch.arange(TARGET)[None] < torch.tensor([5, 7, 2])[:, None]
    theirs = tiny(family, **options)
    ours = weights.from_transformers(theirs)
    expected = theirs(ids, attention_mask=mask.long(), decoder_input_ids=target, decoder_attention_mask=target_mask.long()).logits
    assert_near(ours(ids, target, mask, target_mask)[target_mask], expected[target_mask])
    with written_out():
        assert_near(ours(ids, target, mask, target_mask)[target_mask], expected[target_mask])

    memory, cache = ours.encode(ids, mask), KVCache(3)
    parts = [ours.decode(target[:, a:b], memory, mask, cache=cache) for a, b in ((0, 3), (3, 4), (4, 7))]
    assert_near(torch.cat(parts, 1), ours(ids, target, mask), 1e-5)

    written = theirs.generate(
        ids, attention_mask=mask.long(), do_sample=False, num_beams=1, max_new_tokens=9, min_new_tokens=9, decoder_start_token_id=2,
        forced_bos_token_id=None, forced_eos_token_id=None, eos_token_id=VOCABULARY, pad_token_id=1, suppress_tokens=None,
        use_cache=False,  # their cache counts the encoder's layers, which are fewer here
    )[:, 1:]  # fmt: skip
    assert ours.greedy(ids, mask, start_id=2, eos_id=VOCABULARY, max_new_tokens=9) == written.tolist()
    eos = int(written[0, 4])
    cut = [row[: row.index(eos)] if eos in row else row for row in written.tolist()]
    assert ours.greedy(ids, mask, start_id=2, eos_id=eos, max_new_tokens=9) == cut


def test_gradients_of_a_carried_model_equal_theirs():
    theirs = tiny("llama")
    ours = weights.from_transformers(theirs)
    ids = torch.arange(18).view(2, 9) % VOCABULARY
    loss = ours.loss(ids[:, :-1], ids[:, 1:])
    expected = theirs(ids, labels=ids).loss
    assert_near(loss, expected, 1e-6)
    loss.backward()
    expected.backward()
    assert_near(ours.stack.blocks[0].attention.W_K.weight.grad, theirs.model.layers[0].self_attn.k_proj.weight.grad, 1e-5)
    assert_near(ours.embedding.token.weight.grad, theirs.model.embed_tokens.weight.grad, 1e-5)


def test_copies_by_default_and_shares_on_request():
    theirs = tiny("llama")
    place = theirs.model.norm.weight.data_ptr()
    assert weights.from_transformers(theirs).stack.final_norm.weight.data_ptr() != place
    assert weights.from_transformers(theirs, share=True).stack.final_norm.weight.data_ptr() == place


def test_what_does_not_fit_is_refused_by_name():
    theirs = tiny("llama")
    config, state = theirs.config.to_dict(), theirs.state_dict()
    with pytest.raises(ValueError, match="opt"):
        weights.from_state({"model_type": "opt"}, {})
    with pytest.raises(ValueError, match=r"W_Q\.weight"):
        weights.from_state(config, {k: v for k, v in state.items() if "q_proj" not in k})
    with pytest.raises(ValueError, match="extra"):
        weights.from_state(config, state | {"model.extra.weight": torch.ones(2)})
    with pytest.raises(ValueError, match=r"\(43, 24\)"):
        weights.from_state(config, state | {"model.embed_tokens.weight": torch.ones(5, 24)})
    with pytest.raises(ValueError, match="yarn"):
        weights.from_state(config | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, state)


@pytest.mark.real_model
@torch.no_grad()
def test_smollm2_gives_the_same_logits():
    from llmsuite_lab.core import zoo

    theirs = zoo.load_model("smollm2-135m-instruct", torch.float32)
    ours = weights.load("smollm2-135m-instruct")
    assert weights.count_parameters(ours) == 134_515_008
    ids = torch.randint(0, 49152, (2, 19), generator=torch.Generator().manual_seed(3))
    mask = torch.arange(19)[None] >= torch.tensor([0, 6])[:, None]
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    assert_near(ours(ids, mask)[mask], theirs(ids, attention_mask=mask.long(), position_ids=positions).logits[mask])


@pytest.mark.real_model
@torch.no_grad()
def test_minilm_gives_the_sentence_embeddings_of_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    from llmsuite_lab.core import zoo

    texts = ["A queue is first in, first out.", "Who pays for returns?", "the the the " * 30, "é"]
    theirs = SentenceTransformer(str(zoo.path("all-minilm-l6-v2")), device="cpu")
    encoder = weights.load_encoder()
    assert isinstance(encoder, Encoder)
    tokens = theirs.tokenizer(texts, padding=True, return_tensors="pt")
    ours = sentence_embeddings(encoder, tokens.input_ids, tokens.attention_mask.bool())
    assert_near(ours, torch.tensor(theirs.encode(texts, normalize_embeddings=True)), 1e-5)


def test_load_encoder_refuses_a_decoder(tmp_path):
    theirs = tiny("gpt2")
    theirs.save_pretrained(tmp_path)
    assert not isinstance(weights.load(tmp_path), EncoderDecoder)
    with pytest.raises(ValueError, match="not an encoder"):
        weights.load_encoder(tmp_path)
