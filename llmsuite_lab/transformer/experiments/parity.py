"""Is what is written here the real thing? Each part beside the library that does it in production, as one number: the largest difference.

    difference = max |ours − theirs|         float32, same inputs, same weights

Sizes differ on every axis, so that a swapped axis cannot pass. Each comparison can be spoilt on purpose (`fault=True`): the control, which must show a
difference that no rounding explains. The tests go further (gradients, padding, caches); a notebook shows these.
"""

import torch
from torch import Tensor, nn

from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.transformer import weights
from llmsuite_lab.transformer.attention import causal_mask, scaled_dot_product_attention
from llmsuite_lab.transformer.fused import written_out
from llmsuite_lab.transformer.multi_head import MultiHeadAttention
from llmsuite_lab.transformer.positions import sinusoidal_positions

FAMILIES = ("bert", "gpt2", "llama", "t5", "bart")


def attention_differences(seeds: tuple[int, ...] = (0, 1, 2), *, fault: bool = False) -> dict[str, float]:
    """Our written-out attention against torch's kernel: without mask, causal, and with a random mask; the largest difference over seeds.

    `fault` leaves 1/√d_k out of torch's.
    """
    largest: dict[str, float] = {}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        Q, K = (torch.randn(2, 3, n, 8, generator=generator) for n in (5, 7))
        V = torch.randn(2, 3, 7, 6, generator=generator)
        some = torch.rand(5, 7, generator=generator) < 0.5
        some[:, 0] = True  # every query may look somewhere
        for name, mask in {"no mask": None, "causal": causal_mask(5, 7), "random mask": some}.items():
            theirs = nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=mask, scale=1.0 if fault else None)
            largest[name] = max(largest.get(name, 0.0), _largest(scaled_dot_product_attention(Q, K, V, mask), theirs))
    return largest


@torch.inference_mode()
def multi_head_differences(seeds: tuple[int, ...] = (0, 1, 2), *, fault: bool = False) -> dict[str, float]:
    """Our multi-head attention against `torch.nn.MultiheadAttention` with its weights copied: self-attention, causal, cross-attention.

    `fault` hands the heads to W_O in another order.
    """
    largest: dict[str, float] = {}
    for seed in seeds:
        with seeded(seed):
            x, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
            layers = {name: _two_layers(causal=name == "causal") for name in ("self", "causal", "cross")}
        for name, (theirs, ours) in layers.items():
            if fault:
                ours.W_O.weight.copy_(ours.W_O.weight.roll(12 // 3, dims=1))
            source = memory if name == "cross" else x
            expected = theirs(x, source, source, attn_mask=~causal_mask(5) if name == "causal" else None, need_weights=False)[0]
            with written_out():
                result = ours(x, memory if name == "cross" else None)
            largest[name] = max(largest.get(name, 0.0), _largest(result, expected))
    return largest


def _two_layers(causal: bool) -> tuple[nn.MultiheadAttention, MultiHeadAttention]:
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    return theirs, copy_multi_head(theirs, causal)


def copy_multi_head(theirs: nn.MultiheadAttention, causal: bool = False) -> MultiHeadAttention:
    """Our layer with the weights of torch's, whose W_Q, W_K and W_V are stacked in one matrix."""
    ours = MultiHeadAttention(theirs.embed_dim, theirs.num_heads, bias=True, causal=causal)
    for name, weight, bias in zip("QKV", theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)):
        getattr(ours, f"W_{name}").load_state_dict({"weight": weight, "bias": bias})
    ours.W_O.load_state_dict(theirs.out_proj.state_dict())
    return ours


@torch.inference_mode()
def order_deviation(with_positions: bool, seed: int = 0, seq: int = 9, d_model: int = 12, causal: bool = False) -> float:
    """Permute the tokens: how far is self-attention's output from the permuted output? Zero means that order does not exist for it.

    `causal` puts a mask on the layer: then each token sees another set after the permutation.
    """
    with seeded(seed):
        layer, x, order = MultiHeadAttention(d_model, 3, causal=causal), torch.randn(2, seq, d_model), torch.randperm(seq)
    positions = sinusoidal_positions(seq, d_model) if with_positions else torch.zeros(seq, d_model)
    return _largest(layer(x[:, order] + positions), layer(x + positions)[:, order])


@torch.inference_mode()
def beginning_deviation(n_layers: int, causal: bool, seed: int = 0, seq: int = 9, d_model: int = 12) -> float:
    """Permute all tokens but the last, without positions: how far does the output of the last token move in a stack of self-attention?

    One causal layer shows the last token the same set. In the second it sees vectors that have each seen a set of their own, so order is there.
    """
    with seeded(seed):
        layers = [MultiHeadAttention(d_model, 3, causal=causal) for _ in range(n_layers)]
        x, order = torch.randn(2, seq, d_model), torch.cat([torch.arange(seq - 1).roll(3), torch.tensor([seq - 1])])
    outputs = []
    for y in (x, x[:, order]):
        for layer in layers:
            y = y + layer(y)
        outputs.append(y[:, -1])
    return _largest(*outputs)


def tiny_reference(family: str, seed: int = 0) -> nn.Module:
    """A tiny random `transformers` model of one family, weights large enough that a wrong part shows. Raises ValueError for another family."""
    import transformers as t

    size = {"vocab_size": 43}
    made = {
        "bert": lambda: t.BertForMaskedLM(t.BertConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, max_position_embeddings=17, **size)),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(
            n_embd=24, n_layer=2, n_head=3, n_inner=40, n_positions=17, bos_token_id=1, eos_token_id=1, **size)),
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, intermediate_size=40, max_position_embeddings=17, **size)),
        "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(
            d_model=24, d_kv=5, d_ff=40, num_layers=2, num_decoder_layers=3, num_heads=3, decoder_start_token_id=0, **size)),
        "bart": lambda: t.BartForConditionalGeneration(t.BartConfig(
            d_model=24, encoder_layers=2, decoder_layers=3, encoder_attention_heads=3, decoder_attention_heads=3, encoder_ffn_dim=40,
            decoder_ffn_dim=40, max_position_embeddings=17, **size)),
    }  # fmt: skip
    if family not in made:
        raise ValueError(f"family={family!r} is not known; choose one of {', '.join(made)}")
    with seeded(seed), torch.no_grad():
        model = made[family]()
        for name, parameter in model.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape)
            parameter.copy_(1 + noise if "norm" in name.lower() and name.endswith("weight") else noise)
    return model.eval()


@torch.inference_mode()
def family_difference(family: str, seed: int = 0, *, fault: bool = False) -> float:
    """Largest difference of logits between a tiny random model of `transformers` and ours carrying its weights.

    `fault` raises the gain of one of our norms by a tenth.
    """
    theirs = tiny_reference(family, seed)
    ours = weights.from_transformers(theirs)
    if fault:
        next(p for name, p in ours.named_parameters() if "norm" in name and name.endswith("weight")).mul_(1.1)
    generator = torch.Generator().manual_seed(seed + 1)
    source, target = torch.randint(2, 43, (3, 11), generator=generator), torch.randint(2, 43, (3, 7), generator=generator)
    if family in ("t5", "bart"):
        return _largest(ours(source, target), theirs(input_ids=source, decoder_input_ids=target).logits)
    return _largest(ours(source), theirs(input_ids=source).logits)


def _largest(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()
