"""Read a transformers config.json as a TransformerConfig; refuse what our modules do not compute instead of computing something else."""

from collections.abc import Mapping

from llmsuite_lab.transformer.config import TransformerConfig, bart_config, bert_config, gpt2_config, llama_config, t5_config

ACTIVATION_NAMES = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings")


def published_config(config: Mapping[str, object]) -> TransformerConfig:
    """Our config for a transformers config (`model.config.to_dict()` or config.json).

    Raises:
        ValueError: a model_type or an option that our modules do not have, named with its value.
    """
    readers = {"bert": _bert, "gpt2": _gpt2, "llama": _llama, "t5": _t5, "bart": _bart}
    family = config.get("model_type")
    if family not in readers:
        raise ValueError(f"model_type={family!r} is not one of ours: {', '.join(sorted(readers))}")
    return readers[family](config)


def _activation(name: object) -> str:
    if name not in ACTIVATION_NAMES:
        raise ValueError(f"activation {name!r} is not one of ours: {', '.join(ACTIVATION_NAMES)}")
    return ACTIVATION_NAMES[name]


def _require(config: Mapping[str, object], **expected: object) -> None:
    for name, value in expected.items():
        if config.get(name, value) not in (value, None):
            raise ValueError(f"{config['model_type']} with {name}={config[name]!r} is not supported; our modules compute {name}={value!r}")


def _bert(c: Mapping[str, object]) -> TransformerConfig:
    _require(c, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    sizes = [c[name] for name in _SIZES]
    other = {"norm_eps": c["layer_norm_eps"], "activation": _activation(c["hidden_act"]), "n_segments": c["type_vocab_size"]}
    return bert_config(*sizes, **other, tie_embeddings=c.get("tie_word_embeddings", True))


def _gpt2(c: Mapping[str, object]) -> TransformerConfig:
    _require(c, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    sizes = (c["vocab_size"], c["n_embd"], c["n_layer"], c["n_head"], c.get("n_inner") or 4 * c["n_embd"], c["n_positions"])
    other = {"norm_eps": c["layer_norm_epsilon"], "activation": _activation(c["activation_function"])}
    return gpt2_config(*sizes, **other, tie_embeddings=c.get("tie_word_embeddings", True))


def _llama(c: Mapping[str, object]) -> TransformerConfig:
    rope = c.get("rope_parameters") or {"rope_theta": c.get("rope_theta", 10000.0), **(c.get("rope_scaling") or {})}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ValueError(f"llama with scaled rotary positions ({rope}) is not supported; our modules compute rope_type='default'")
    sizes = [c[name] for name in _SIZES]
    other = {"norm_eps": c["rms_norm_eps"], "rotary_base": rope["rope_theta"], "activation": _activation(c["hidden_act"])}
    other |= {
        "n_kv_heads": c.get("num_key_value_heads"),
        "d_head": c.get("head_dim"),
        "tie_embeddings": c.get("tie_word_embeddings", False),
    }
    return llama_config(*sizes, **other, attention_bias=c.get("attention_bias", False), feed_forward_bias=c.get("mlp_bias", False))


def _t5(c: Mapping[str, object]) -> TransformerConfig:
    gated = str(c["feed_forward_proj"]).startswith("gated-")
    act = str(c["feed_forward_proj"]).removeprefix("gated-")
    tied = c.get("tie_word_embeddings", True)
    scaled = c.get("scale_decoder_outputs", tied)
    sizes = (c["vocab_size"], c["d_model"], c["num_layers"], c["num_heads"], c["d_ff"])
    other = {"d_head": c["d_kv"], "n_decoder_layers": c["num_decoder_layers"], "norm_eps": c["layer_norm_epsilon"], "gated": gated}
    other |= {"activation": _activation("gelu_new" if gated and act == "gelu" else act), "tie_embeddings": tied}
    other |= {"n_buckets": c["relative_attention_num_buckets"], "max_distance": c["relative_attention_max_distance"]}
    # relative positions set no limit of their own; n_positions is what the weights were trained on
    return t5_config(*sizes, **other, max_length=c.get("n_positions") or 512, logit_scale=c["d_model"] ** -0.5 if scaled else 1.0)


def _bart(c: Mapping[str, object]) -> TransformerConfig:
    _require(c, encoder_attention_heads=c["decoder_attention_heads"], encoder_ffn_dim=c["decoder_ffn_dim"])
    sizes = (
        c["vocab_size"],
        c["d_model"],
        c["encoder_layers"],
        c["encoder_attention_heads"],
        c["encoder_ffn_dim"],
        c["max_position_embeddings"],
    )
    other = {
        "n_decoder_layers": c["decoder_layers"],
        "activation": _activation(c["activation_function"]),
        "scale_embedding": c["scale_embedding"],
    }
    return bart_config(*sizes, **other, tie_embeddings=c.get("tie_word_embeddings", True))
