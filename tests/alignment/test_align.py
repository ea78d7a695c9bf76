"""Alignment on one's own preferences, start to end: a tiny model learns which reply was preferred, and what is written loads in peft."""

import json

import pytest
import torch
import transformers

from llmsuite_lab.alignment import align as aligning

SIZES = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture
def own(tmp_path):
    rows = [{"prompt": f"ask {i}:", "chosen": "yes" if i % 2 else "yes yes", "rejected": "no" if i % 3 else "no no"} for i in range(40)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def llama(tmp_path, tiny_tokenizer):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=259, max_position_embeddings=64, eos_token_id=258, bos_token_id=257, pad_token_id=256, **SIZES)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    tiny_tokenizer.save_pretrained(tmp_path / "llama")
    return str(tmp_path / "llama")


def aligned(own, out, model, **options):
    said = []
    settings = {"model": model, "max_tokens": 6, "progress": False, "say": said.append} | options
    return aligning.align(own, out, **settings), said


@pytest.mark.parametrize("method", ["dpo", "ppo", "rest"])
def test_x(method, own, llama, tmp_path):
    found, said = aligned(own, tmp_path / "out", llama, method_name=method)
    print("\n".join(said))
    print((tmp_path / "out" / "README.md").read_text())
    print([p.name for p in tmp_path.iterdir()], [p.name for p in (tmp_path / "out").iterdir()])
