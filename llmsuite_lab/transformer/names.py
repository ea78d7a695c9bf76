"""Which name in a transformers checkpoint is which name in our modules; "#" stands for the number of the block."""


def _both(rules: dict[str, str]) -> dict[str, str]:
    """Each rule once for the weight and once for the bias."""
    return {f"{theirs}.{end}": f"{ours}.{end}" for theirs, ours in rules.items() for end in ("weight", "bias")}


_LLAMA_BLOCK = {
    "self_attn.q_proj": "attention.W_Q",
    "self_attn.k_proj": "attention.W_K",
    "self_attn.v_proj": "attention.W_V",
    "self_attn.o_proj": "attention.W_O",
    "mlp.gate_proj": "feed_forward.W_gate",
    "mlp.up_proj": "feed_forward.W_up",
    "mlp.down_proj": "feed_forward.W_down",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "feed_forward_norm",
}
_GPT2_BLOCK = {
    "attn.c_attn": "attention.W_QKV",
    "attn.c_proj": "attention.W_O",
    "mlp.c_fc": "feed_forward.W_up",
    "mlp.c_proj": "feed_forward.W_down",
    "ln_1": "attention_norm",
    "ln_2": "feed_forward_norm",
}
_BERT_BLOCK = {
    "attention.self.query": "attention.W_Q",
    "attention.self.key": "attention.W_K",
    "attention.self.value": "attention.W_V",
    "attention.output.dense": "attention.W_O",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feed_forward.W_up",
    "output.dense": "feed_forward.W_down",
    "output.LayerNorm": "feed_forward_norm",
}


def _t5_stack(stack: str) -> dict[str, str]:
    attention = {"q": "W_Q", "k": "W_K", "v": "W_V", "o": "W_O"}
    feed_forward = {"wi": "W_up", "wi_0": "W_gate", "wi_1": "W_up", "wo": "W_down"}
    last = 2 if stack == "decoder" else 1
    rules = {f"layer.0.SelfAttention.{a}": f"attention.{b}" for a, b in attention.items()} | {"layer.0.layer_norm": "attention_norm"}
    if stack == "decoder":
        rules |= {f"layer.1.EncDecAttention.{a}": f"cross_attention.{b}" for a, b in attention.items()} | {
            "layer.1.layer_norm": "cross_attention_norm"
        }
    rules |= {f"layer.{last}.DenseReluDense.{a}": f"feed_forward.{b}" for a, b in feed_forward.items()} | {
        f"layer.{last}.layer_norm": "feed_forward_norm"
    }
    named = {f"{stack}.block.#.{a}.weight": f"{stack}.blocks.#.{b}.weight" for a, b in rules.items()}
    table = {f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight": f"{stack}.relative_bias.table.weight"}
    return named | table | {f"{stack}.final_layer_norm.weight": f"{stack}.final_norm.weight"}


def _bart_stack(stack: str) -> dict[str, str]:
    attention = {"q_proj": "W_Q", "k_proj": "W_K", "v_proj": "W_V", "out_proj": "W_O"}
    rules = {f"self_attn.{a}": f"attention.{b}" for a, b in attention.items()} | {"self_attn_layer_norm": "attention_norm"}
    if stack == "decoder":
        rules |= {f"encoder_attn.{a}": f"cross_attention.{b}" for a, b in attention.items()} | {
            "encoder_attn_layer_norm": "cross_attention_norm"
        }
    rules |= {"fc1": "feed_forward.W_up", "fc2": "feed_forward.W_down", "final_layer_norm": "feed_forward_norm"}
    named = {f"model.{stack}.layers.#.{a}": f"{stack}.blocks.#.{b}" for a, b in rules.items()}
    named |= {
        f"model.{stack}.layernorm_embedding": f"{stack}_embedding.norm",
        f"model.{stack}.embed_positions": f"{stack}_embedding.position",
    }
    return _both(named)


NAMES: dict[str, dict[str, str]] = {
    "llama": _both({f"model.layers.#.{a}": f"stack.blocks.#.{b}" for a, b in _LLAMA_BLOCK.items()})
    | {
        "model.embed_tokens.weight": "embedding.token.weight",
        "model.norm.weight": "stack.final_norm.weight",
        "lm_head.weight": "unembedding.weight",
    },
    "gpt2": _both({f"h.#.{a}": f"stack.blocks.#.{b}" for a, b in _GPT2_BLOCK.items()} | {"ln_f": "stack.final_norm"})
    | {"wte.weight": "embedding.token.weight", "wpe.weight": "embedding.position.weight", "lm_head.weight": "unembedding.weight"},
    "bert": {
        **_both({f"encoder.layer.#.{a}": f"stack.blocks.#.{b}" for a, b in _BERT_BLOCK.items()}),
        **_both({"embeddings.LayerNorm": "embedding.norm"}),
        "embeddings.word_embeddings.weight": "embedding.token.weight",
        "embeddings.position_embeddings.weight": "embedding.position.weight",
        "embeddings.token_type_embeddings.weight": "embedding.segment.weight",
        **_both({"cls.predictions.transform.dense": "transform", "cls.predictions.transform.LayerNorm": "transform_norm"}),
        "cls.predictions.decoder.weight": "unembedding.weight",
        "cls.predictions.bias": "unembedding.bias",
    },
    "t5": {
        "shared.weight": "encoder_embedding.token.weight",
        "lm_head.weight": "unembedding.weight",
        **_t5_stack("encoder"),
        **_t5_stack("decoder"),
    },
    "bart": {
        "model.shared.weight": "encoder_embedding.token.weight",
        "lm_head.weight": "unembedding.weight",
        "final_logits_bias": "unembedding.bias",
        **_bart_stack("encoder"),
        **_bart_stack("decoder"),
    },
}

# their second names for a tied matrix, buffers that hold no weights, and BERT's pooler, which neither the masked-token head nor mean pooling uses
IGNORED = {
    "llama": r"rotary_emb\.inv_freq$",
    "gpt2": r"\.attn\.(masked_)?bias$",
    "bert": r"(^|\.)pooler\.|position_ids$|cls\.predictions\.decoder\.bias$|cls\.seq_relationship",
    "t5": r"coder\.embed_tokens\.weight$",
    "bart": r"coder\.embed_tokens\.weight$",
}
