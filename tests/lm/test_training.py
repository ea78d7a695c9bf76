"""fit() against closed forms, torch, and itself: accumulation, masters, resume, the stop button, and every refusal."""

import math
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Example, check_examples, collate, encode, fingerprint, length_buckets
from llmsuite_lab.lm.supervised import supervised_loss
from llmsuite_lab.lm.training import fit
from llmsuite_lab.lm.training_attention import grouped_causal_attention, plain_attention
from llmsuite_lab.transformer.config import llama_config, t5_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.encoder_decoder import EncoderDecoder
from llmsuite_lab.transformer.optimizer import AdamW, cosine_with_warmup
from llmsuite_lab.transformer.training_loop import backward, training_step

VOCAB, WIDTH, CONTEXT = 61, 24, 40
F32 = {"dtype": torch.float32, "progress": False}


def llama(lora: bool = False, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A tiny random Llama with grouped-query attention, bare or with a LoRA whose B is not zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=36, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(dtype)
    if not lora:
        return model
    return get_peft_model(
        model, LoraConfig(r=3, lora_alpha=6, lora_dropout=dropout, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )


class Plain(nn.Module):
    """The smallest module that fit() takes: hidden_states and lm_head."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        torch.manual_seed(5)
        self.embedding = nn.Embedding(VOCAB, 10)
        self.mixing = nn.GRU(10, 14, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.lm_head = nn.Linear(14, VOCAB)

    def hidden_states(self, ids, attention_mask):
        return self.dropout(self.mixing(self.embedding(ids))[0])


def examples(n: int, seed: int = 0) -> list[Example]:
    """Prompts of 2–9 random tokens; the completion counts up from the prompt's length: learnable, unequal lengths."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(n):
        prompt = torch.randint(20, VOCAB, (2 + i % 8,), generator=generator).tolist()
        rows.append(Example(prompt, [(len(prompt) + j) % 19 for j in range(1 + i % 5)]))
    return rows


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


# --- the loss ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True])
def test_loss_and_gradients_equal_transformers_own(lora):
    rows = examples(7)
    model, reference = llama(lora), llama(lora)
    if not lora:
        for m in (model, reference):  # the other branch of the loss: a frozen head, everything else trained
            m.lm_head.weight.requires_grad_(False)
    batch = collate(rows)
    loss, count = supervised_loss(model, batch)
    (loss / count).backward()

    width = max(len(r) for r in rows)
    ids = torch.tensor([[*r.prompt_ids, *r.completion_ids] + [0] * (width - len(r)) for r in rows])
    present = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
    labels = torch.tensor([[-100] * len(r.prompt_ids) + list(r.completion_ids) + [-100] * (width - len(r)) for r in rows])
    expected = reference(input_ids=ids, attention_mask=present, labels=labels).loss
    expected.backward()
    torch.testing.assert_close(loss / count, expected, atol=1e-6, rtol=1e-6)
    for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
        if q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, atol=2e-6, rtol=1e-4, msg=name)
    assert count == sum(len(r.completion_ids) for r in rows)
    assert batch.tokens == sum(len(r) - 1 for r in rows)


def test_encoder_decoder_loss_equals_t5s_own():
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCAB, d_model=16, d_kv=4, d_ff=20, num_layers=2, num_heads=4, dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0
    )
    model = T5ForConditionalGeneration(config)
    rows = examples(5)
    batch = collate(rows, separate=True)
    labels = batch.decoder_ids.masked_fill(~batch.mask, -100)
    expected = model(input_ids=batch.ids, attention_mask=batch.attention_mask, labels=labels).loss
    loss, count = supervised_loss(model, batch)
    torch.testing.assert_close(loss / count, expected, atol=1e-6, rtol=1e-6)
    history = fit(model, rows, steps=30, batch_size=5, lr=1e-2, **F32)
    assert history.losses[-1] < 0.6 * history.losses[0]


def test_prompt_tuning_by_peft_trains():
    from peft import PromptTuningConfig, get_peft_model

    model = get_peft_model(llama(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    assert sum(p.requires_grad for p in model.parameters()) == 1
    batch = collate(examples(6))
    width = batch.ids.shape[1] + 1
    rows = [[*r.prompt_ids, *r.completion_ids] for r in examples(6)]
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = torch.full_like(ids, -100)
    labels[:, 1:][batch.mask] = batch.targets
    present = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    loss, count = supervised_loss(model, batch)
    torch.testing.assert_close(loss / count, model(input_ids=ids, attention_mask=present, labels=labels).loss, atol=1e-5, rtol=1e-5)
    before = weights(model)
    fit(model, examples(12), steps=2, batch_size=6, **F32)
    assert [not torch.equal(p, before[n]) for n, p in model.named_parameters()] == [p.requires_grad for p in model.parameters()]


def test_plain_module_trains_and_a_module_without_the_protocol_is_told():
    history = fit(Plain(), examples(24), epochs=15, batch_size=8, lr=1e-2, **F32)
    assert history.steps == 45
    assert history.losses[-1] < 0.7 * history.losses[0]
    with pytest.raises(TypeError, match="hidden_states"):
        fit(nn.Linear(3, 2), examples(4), steps=1, **F32)


def test_our_decoder_trains_on_completions_alone_and_its_context_is_checked():
    torch.manual_seed(3)
    model = Decoder(llama_config(VOCAB, 16, 2, 2, 24, max_length=14))
    batch = collate(examples(6))
    loss, count = supervised_loss(model, batch)
    everywhere = model(batch.ids, batch.attention_mask)[batch.mask]
    torch.testing.assert_close(loss, F.cross_entropy(everywhere, batch.targets, reduction="sum"))
    assert count == int(batch.mask.sum())
    history = fit(model, examples(24), epochs=15, batch_size=8, lr=1e-2, **F32)
    assert history.losses[-1] < 0.7 * history.losses[0]
    with pytest.raises(ValueError, match="14"):
        fit(model, [Example([1] * 12, [2] * 5)], steps=1, **F32)


def test_our_encoder_decoder_reads_a_source_and_learns_its_target():
    torch.manual_seed(3)
    model = EncoderDecoder(t5_config(VOCAB, 16, 1, 2, 24))
    batch = collate(examples(6), separate=True)
    shifted = torch.cat([torch.zeros_like(batch.decoder_ids[:, :1]), batch.decoder_ids[:, :-1]], dim=1)
    everywhere = model(batch.ids, shifted, batch.attention_mask.bool())[batch.mask]
    loss, _ = supervised_loss(model, batch)
    torch.testing.assert_close(loss, F.cross_entropy(everywhere, batch.targets, reduction="sum"))
    history = fit(model, examples(24), epochs=40, batch_size=8, lr=1e-2, **F32)
    assert history.losses[-1] < 0.7 * history.losses[0]


def test_any_data_with_its_own_loss_and_collate():
    torch.manual_seed(0)
    model, truth = nn.Linear(3, 1), torch.tensor([1.0, -2.0, 0.5])
    xs = [torch.randn(3) for _ in range(30)]

    def squared(model, batch):
        return ((model(batch)[:, 0] - batch @ truth) ** 2).sum(), len(batch)

    fit(model, xs, steps=400, batch_size=10, lr=0.05, loss_fn=squared, collate_fn=torch.stack, progress=False)
    torch.testing.assert_close(model.weight[0].detach(), truth, atol=0.02, rtol=0)


def test_only_the_trainable_subset_moves():
    model = llama()
    for name, p in model.named_parameters():
        p.requires_grad_("layers.1.mlp" in name)
    before = weights(model)
    fit(model, examples(12), steps=3, batch_size=4, **F32)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if "layers.1.mlp" in name}


# --- attention in training --------------------------------------------------------------------------------------------------------------


def test_grouped_attention_equals_torch_with_gradients():
    torch.manual_seed(0)
    Q, K, V = (torch.randn(2, h, 7, 5, dtype=torch.float64, requires_grad=True) for h in (6, 2, 2))
    ours = grouped_causal_attention(Q, K, V, 0.3)
    theirs = F.scaled_dot_product_attention(Q, K, V, is_causal=True, scale=0.3, enable_gqa=True)
    weight = torch.randn_like(ours)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), (Q, K, V)), torch.autograd.grad((theirs * weight).sum(), (Q, K, V)), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_model_gives_the_same_in_the_block_and_is_put_back():
    model, batch = llama(dtype=torch.bfloat16), collate(examples(6))
    outside = supervised_loss(model, batch)[0].item()
    with plain_attention(model):
        assert model.config._attn_implementation != "sdpa"
        inside = supervised_loss(model, batch)[0].item()
    assert model.config._attn_implementation == "sdpa"
    assert inside == pytest.approx(outside, rel=5e-3)  # bfloat16 rounds at other places


# --- the step ---------------------------------------------------------------------------------------------------------------------------


def test_accumulation_equals_one_large_batch():
    rows = examples(17)  # micro-batches of 5, 5, 5, 2 hold unequal numbers of supervised tokens
    whole, parts = llama(lora=True), llama(lora=True)
    kwargs = dict(steps=4, batch_size=17, lr=1e-2, **F32)
    a, b = fit(whole, rows, **kwargs), fit(parts, rows, micro_batch_size=5, **kwargs)
    assert a.losses == pytest.approx(b.losses, abs=2e-6)
    assert a.tokens == b.tokens
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=2e-5, rtol=1e-4)


def test_bfloat16_compute_keeps_float32_masters():
    """An update far below bfloat16's resolution must add up over steps; without masters w + Δw rounds to w."""
    for p, moves in ((nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16)), True), (nn.Parameter(torch.ones(4, 4)), True)):
        optimizer = AdamW([p], lr=2e-4, weight_decay=0.0)  # one step is 1/20 of the gap between bfloat16 numbers below 1
        for _ in range(40):
            p.grad = torch.ones_like(p)
            optimizer.gather()
            optimizer.normalise(1, None)
            optimizer.step()
            optimizer.zero_grad()
        assert (float(p.detach().float().mean()) == pytest.approx(1 - 40 * 2e-4, abs=4e-3)) is moves
        assert float(optimizer.masters[0].detach().mean()) == pytest.approx(1 - 40 * 2e-4, rel=1e-4)
    model = llama(lora=True)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    seen = set()
    fit(model, examples(8), steps=3, batch_size=8, lr=1e-5, dtype=torch.bfloat16, progress=False,
        on_step=lambda step, history: seen.update(p.dtype for p in model.parameters()))  # fmt: skip
    assert seen == {torch.bfloat16}
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen), (
        "frozen float32 weights must come back bit-equal"
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in trained)
    assert any(not torch.equal(p, p.bfloat16().float()) for p in trained), "the float32 masters are what comes back, not their rounding"


def test_adamw_clipping_and_schedule_equal_torch():
    rows, steps = examples(20), 6
    model, reference = llama(), llama()
    kwargs = {"batch_size": 20, "lr": 3e-3, "warmup": 0.34, "clip": 0.5, "weight_decay": 0.1}
    history = fit(model, rows, steps=steps, **kwargs, **F32)
    decayed = [p for p in reference.parameters() if p.ndim >= 2]
    groups = [{"params": decayed}, {"params": [p for p in reference.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=3e-3, weight_decay=0.1)
    order = length_buckets([len(r) for r in rows], 20, seed=0, epoch=0)[0]
    for step in range(steps):
        loss, count = supervised_loss(reference, collate([rows[i] for i in order]))
        (loss / count).backward()
        norm = nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        adamw.param_groups[0]["lr"] = adamw.param_groups[1]["lr"] = cosine_with_warmup(step + 1, steps + 1, 3, 3e-3)
        adamw.step()
        adamw.zero_grad()
        assert history.losses[step] == pytest.approx(loss.item() / count, abs=2e-5)
        assert history.grad_norms[step] == pytest.approx(float(norm), rel=1e-3)
    assert history.lrs[:3] == pytest.approx([1e-3, 2e-3, 3e-3])
    assert 0 < history.lrs[-1] < 1e-3, "no update is spent at rate 0"


def test_gradients_are_open_to_a_collective_between_backward_and_update():
    """Two workers' summed gradients and counts give the gradient of their joint batch: what scaling's workers rely on."""
    rows = examples(9)
    joint, optimizers, counts = llama(), [], 0
    whole = AdamW(joint.parameters())
    backward(joint, [collate(rows)], whole, supervised_loss)
    whole.normalise(supervised_loss(joint, collate(rows))[1], None)
    for part in (rows[:4], rows[4:]):
        worker = llama()
        optimizers.append(AdamW(worker.parameters()))
        counts += backward(worker, [collate(part)], optimizers[-1], supervised_loss).count
    for m, a, b in zip(whole.masters, optimizers[0].masters, optimizers[1].masters, strict=True):
        torch.testing.assert_close((a.grad + b.grad) / counts, m.grad, atol=1e-6, rtol=1e-4)


# --- resume, stop, failure --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resumed_run_equals_uninterrupted_run(tmp_path, dtype):
    kwargs = {"steps": 9, "batch_size": 4, "lr": 1e-2, "dtype": dtype, "progress": False}
    rows = examples(13)  # 4 batches an epoch: the resumed part crosses epochs
    through = llama(lora=True, dropout=0.3)
    expected = fit(through, rows, **kwargs)

    def stop(step, history):
        if step == 5:
            raise KeyboardInterrupt

    first = fit(llama(lora=True, dropout=0.3), rows, checkpoint=tmp_path / "run", on_step=stop, **kwargs)
    assert first.interrupted
    assert first.steps == 5
    model = llama(lora=True, dropout=0.3)
    torch.manual_seed(999)  # the generator's state must come from the checkpoint
    second = fit(model, rows, checkpoint=tmp_path / "run", resume=True, **kwargs)
    assert not second.interrupted
    assert second.losses == expected.losses
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), through.parameters(), strict=True))
    assert sorted(f.name for f in (tmp_path / "run").iterdir()) == [".llmsuite.json", "state.json", "state.safetensors"]
    assert [f.name for f in tmp_path.iterdir()] == ["run"], "no temporary folder may stay behind"


class Normed(nn.Module):
    """A module with buffers that training moves (BatchNorm, one of our own, one that is two names) and one that it does not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.first, self.norm, self.last = nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1)
        self.register_buffer("seen", torch.zeros(2, dtype=torch.long))
        self.register_buffer("again", self.seen)
        self.register_buffer("scale", torch.tensor([0.5]), persistent=False)

    def forward(self, x):
        if self.training:
            self.seen += len(x)
        return self.last(self.norm(self.first(x)).relu()) * self.scale


def squared(model, batch):
    return (model(batch)[:, 0] - batch.sum(-1)).square().sum(), len(batch)


def test_a_resumed_run_has_the_buffers_that_training_moved(tmp_path):
    rows = list(torch.randn(11, 3, generator=torch.Generator().manual_seed(2)))
    kwargs = {"steps": 9, "batch_size": 4, "lr": 3e-2, "loss_fn": squared, "collate_fn": torch.stack, "progress": False}
    through = Normed()
    expected = fit(through, rows, **kwargs)

    def stop_at(n):
        def stop(step, history):
            if step == n:
                raise KeyboardInterrupt

        return stop

    model = Normed()
    for n in (3, 6, 99):  # twice on a new model: what was put back must be written again
        history = fit(model, rows, checkpoint=tmp_path / "run", resume=True, on_step=stop_at(n), **kwargs)
        model = model if n == 99 else Normed()
    assert history.losses == expected.losses
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), through.state_dict().values(), strict=True))
    assert int(model.seen[0]) == 3 * len(rows), "nine steps are three epochs"
    assert fit(model, rows, checkpoint=tmp_path / "run", resume=True, **kwargs).steps == 9, "the same object goes on too"
    other = Normed()
    other.scale += 1
    with pytest.raises(LabError, match="the base model is another"):
        fit(other, rows, checkpoint=tmp_path / "run", resume=True, **kwargs)


def absolute(model, batch):
    return (model(batch)[:, 0] - batch.sum(-1)).abs().sum(), len(batch)


def weighed(model, batch, weight):
    return weight * squared(model, batch)[0], len(batch)


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        ({"loss_fn": squared}, {"loss_fn": absolute}, "loss_fn: '.*squared' then, '.*absolute' now"),
        ({"loss_fn": partial(weighed, weight=2)}, {"loss_fn": partial(weighed, weight=3)}, r"loss_fn: .*weight=2.* then, .*weight=3.* now"),
        ({"collate_fn": torch.stack}, {"collate_fn": torch.vstack}, "collate_fn: .*stack.* then, .*vstack.* now"),
    ],
    ids=["loss", "partial", "collate"],
)
def test_a_resume_with_another_loss_is_refused(tmp_path, then, now, says):
    rows = list(torch.eye(3))
    kwargs = {"steps": 2, "checkpoint": tmp_path, "resume": True, "loss_fn": squared, "collate_fn": torch.stack, "progress": False}
    fit(nn.Linear(3, 1), rows, **kwargs | then)
    with pytest.raises(LabError, match=says):
        fit(nn.Linear(3, 1), rows, **kwargs | now)
    assert fit(nn.Linear(3, 1), rows, **kwargs | then).steps == 2


def test_the_usual_loss_is_the_same_named_or_not(tmp_path):
    kwargs = {"steps": 1, "checkpoint": tmp_path, "resume": True} | F32
    fit(Plain(), examples(4), **kwargs)
    assert fit(Plain(), examples(4), loss_fn=supervised_loss, **kwargs).steps == 1


def another_base(model):
    model.base_model.model.model.layers[1].mlp.gate_proj.weight.data += 1e-3


def another_scale(model):
    model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"] = 9.0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 2e-3}, "lr: 0.001 then, 0.002 now"),
        ({"seed": 7}, "seed: 0 then, 7 now"),
        ({"dtype": torch.bfloat16}, "dtype: 'float32' then, 'bfloat16' now"),
        ({"rows": examples(8, seed=1)}, "the examples are others"),
        ({"edit": another_base}, "the base model is another"),
        ({"edit": another_scale}, "the base model is another"),
        ({"edit": lambda m: m.base_model.model.lm_head.weight.requires_grad_(True)}, r"trainable .*lm_head.*: None then, \["),
    ],
    ids=["lr", "seed", "dtype", "data", "base", "scale", "trainable"],
)
def test_a_resume_of_another_run_is_refused_and_the_checkpoint_stays(tmp_path, change, says):
    model, kwargs = llama(lora=True), {"steps": 2, "batch_size": 4, "checkpoint": tmp_path / "run", "resume": True, "lr": 1e-3} | F32
    fit(llama(lora=True), examples(8), **kwargs)
    before = {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()}
    rows, edit = change.pop("rows", examples(8)), change.pop("edit", lambda m: None)
    edit(model)
    with pytest.raises(LabError, match=says) as said:
        fit(model, rows, **(kwargs | change))
    assert len(str(said.value)) < 400
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda f: (f / "state.safetensors").write_bytes((f / "state.safetensors").read_bytes()[:100]),
        lambda f: (f / "state.safetensors").write_bytes((f / "state.safetensors").read_bytes()[:-4] + b"rot!"),
        lambda f: (f / "state.safetensors").unlink(),
        lambda f: (f / "state.json").unlink(),
        lambda f: (f / "state.json").write_text("{}"),
        lambda f: (f / "state.json").write_text("[1"),
    ],
    ids=["cut", "rot", "no tensors", "no state", "empty state", "no JSON"],
)
def test_a_resume_from_a_damaged_checkpoint_says_so_and_does_not_start_anew(tmp_path, harm):
    kwargs = {"steps": 2, "batch_size": 4, "checkpoint": tmp_path / "run"} | F32
    fit(Plain(), examples(8), **kwargs)
    harm(tmp_path / "run")
    model = Plain()
    before = weights(model)
    with pytest.raises(LabError, match="is damaged"):
        fit(model, examples(8), resume=True, **kwargs)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_of_somebody_else_is_refused_before_the_first_step(tmp_path, resume):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "state.json").write_text("{}")
    with pytest.raises(LabError, match="holds what the course did not put there"):
        fit(Plain(), examples(8), steps=1, checkpoint=tmp_path / "thesis", resume=resume, on_step=lambda *_: pytest.fail("trained"), **F32)
    assert (tmp_path / "thesis" / "state.json").read_text() == "{}"
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "new"):
        assert fit(Plain(), examples(8), steps=1, checkpoint=tmp_path / folder, resume=resume, **F32).steps == 1


def test_data_of_any_form_is_told_apart_in_full_and_alike_in_every_process():
    class Row:
        def __init__(self, x):
            self.x = x

    long = torch.zeros(3000)
    other = long.clone()
    other[1500] = 1
    assert fingerprint([long]) != fingerprint([other]), "torch prints only the ends of a long tensor"
    assert fingerprint([{"x": long}]) != fingerprint([{"x": other}])
    assert fingerprint([Row(long)]) == fingerprint([Row(long.clone())]) != fingerprint([Row(other)])
    assert fingerprint([("a", 1)]) != fingerprint([("a", 2)])


def test_stop_button_during_an_update_waits_for_its_end(monkeypatch):
    """A real SIGINT in the middle of the update: the update is finished, the model is whole, the handler is put back."""
    original, handler = AdamW.step, signal.getsignal(signal.SIGINT)
    calls = []

    def interrupted_step(self):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        original(self)

    monkeypatch.setattr(AdamW, "step", interrupted_step)
    model = llama(lora=True).eval()
    history = fit(model, examples(8), steps=9, batch_size=4, lr=1e-2, dtype=torch.bfloat16, progress=False)
    monkeypatch.undo()
    reference = llama(lora=True)
    updates = []
    fit(reference, examples(8), steps=9, batch_size=4, lr=1e-2, dtype=torch.bfloat16, progress=False,
        on_step=lambda step, h: updates.append([p.detach().clone() for p in reference.parameters()]))  # fmt: skip
    assert history.interrupted
    assert len(calls) == history.steps == 3, "the finished update is on record"
    assert signal.getsignal(signal.SIGINT) is handler
    assert all(torch.equal(p.bfloat16(), q) for p, q in zip(model.parameters(), updates[2], strict=True)), "exactly three whole updates"
    assert all(p.dtype == torch.float32 and p.grad is None for p in model.parameters())
    assert not model.training, "back in the mode it came in"
    assert fit(model, examples(8), steps=1, **F32).steps == 1, "usable afterwards"


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_not_finite_stops_with_a_sentence_and_leaves_the_parameters(kind):
    model = Plain()
    at_step = []

    def breaking(model, batch):
        loss, count = supervised_loss(model, batch)
        if len(at_step) == 2:
            loss = loss * math.nan if kind == "loss" else loss + (model.lm_head.bias * 0).sqrt().sum()
        return loss, count

    def keep(step, history):
        at_step.append(weights(model))

    with pytest.raises(LabError, match=r"step 3 of 5: the loss is .* learning rate .* smaller lr"):
        fit(model, examples(8), steps=5, batch_size=4, loss_fn=breaking, on_step=keep, **F32)
    assert all(torch.equal(p, at_step[-1][name]) for name, p in model.named_parameters())


def test_a_diverging_run_is_noticed_and_stays_finite():
    """A learning rate far too large: the squared error overflows on the second step, after one update."""
    model, xs = nn.Linear(3, 1), [torch.ones(3)] * 4

    def squared(model, batch):
        return (model(batch) ** 2).sum(), len(batch)

    with pytest.raises(LabError, match="step 2 of 9: the loss is inf .* smaller lr"):
        fit(model, xs, steps=9, batch_size=4, lr=1e25, warmup=0, loss_fn=squared, collate_fn=torch.stack, progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())


# --- examples, batches, history ---------------------------------------------------------------------------------------------------------


def test_bad_examples_are_counted():
    good = Example([1, 2], [3])
    with pytest.raises(ValueError, match="no examples"):
        fit(llama(), [], steps=1, **F32)
    with pytest.raises(ValueError, match=r"2 of 3 examples \(first: number 1\) have an empty completion"):
        fit(llama(), [good, Example([1], []), Example([2], [])], steps=1, **F32)
    with pytest.raises(ValueError, match=rf"1 of 2 examples .* context of {CONTEXT} \(longest: {CONTEXT + 1}\)"):
        fit(llama(), [good, Example([1] * CONTEXT, [2])], steps=1, **F32)
    with pytest.raises(ValueError, match=f"vocabulary of {VOCAB}"):
        fit(llama(), [Example([VOCAB], [1])], steps=1, **F32)
    with pytest.raises(ValueError, match="nothing to predict"):
        check_examples([Example([], [4])])


@pytest.mark.parametrize("ids", [[1.5], [1, 2.0], ["1"], [True], [None], torch.tensor([1.0]), [torch.tensor(1.5)]], ids=str)
@pytest.mark.parametrize("side", ["prompt", "completion"])
def test_an_id_that_is_no_whole_number_is_refused_not_cut(ids, side):
    example = Example(ids, [3]) if side == "prompt" else Example([3], ids)
    for model in (llama(), Plain()):
        with pytest.raises(ValueError, match=r"1 of 2 examples \(first: number 1\) have ids that are no whole numbers"):
            fit(model, [Example([1], [2]), example], steps=1, **F32)
    with pytest.raises(ValueError, match="no whole numbers"):
        collate([example])


def test_whole_numbers_of_any_library_are_ids():
    import numpy as np

    wanted = collate([Example([3, 4], [5])])
    for ids in ((3, 4), torch.tensor([3, 4]), np.array([3, 4], dtype=np.uint16), [np.int64(3), 4], [torch.tensor(3), torch.tensor(4)]):
        check_examples([Example(ids, [5])], vocabulary=9)
        assert torch.equal(collate([Example(ids, [5])]).ids, wanted.ids)


@pytest.mark.parametrize("example", [Example([VOCAB + 4, 2], [3]), Example([2], [3, VOCAB + 4]), Example([2], [3, -100]), Example([-1], [3])], ids=str)
@pytest.mark.parametrize("frozen", [False, True], ids=["head trained", "head frozen"])
def test_an_id_without_a_row_is_told_also_by_a_model_without_a_config(example, frozen):
    model = Plain()
    model.lm_head = nn.Linear(14, VOCAB, bias=not frozen).requires_grad_(not frozen)
    with pytest.raises(ValueError, match=rf"token ids from .* to {VOCAB + 4}, and the model has no row|ids below zero"):
        fit(model, [example], steps=1, **F32)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda loss: (loss, -3), "loss_fn returned a count of -3"), (lambda loss: (loss, 0), r"no supervised token \(loss_fn counted 0\)"),
        (lambda loss: (loss, math.nan), "a count of nan"), (lambda loss: loss, "loss_fn returned a Tensor, but it must return"),
        (lambda loss: (1.5, 2), "loss_fn returned a tuple, but"), (lambda loss: (loss.expand(2), 2), r"loss of shape \[2\].*sum it"),
        (lambda loss: (loss.detach(), 2), "does not depend on a parameter"),
    ],
)  # fmt: skip
def test_what_a_loss_function_returns_is_checked(answer, says):
    model = nn.Linear(3, 1)
    before = weights(model)
    with pytest.raises((ValueError, TypeError), match=says):
        fit(model, [torch.ones(3)], steps=1, loss_fn=lambda m, b: answer(m(b).sum()), collate_fn=torch.stack, progress=False)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "neither"), ({"steps": 1, "epochs": 1}, "both"), ({"steps": 0}, "steps=0"), ({"steps": 1, "batch_size": 0}, "batch_size=0"),
        ({"steps": 1, "lr": -1.0}, "lr=-1.0"), ({"steps": 1, "warmup": 1.5}, "warmup=1.5"), ({"steps": 1, "dtype": torch.float16}, "float16"),
        ({"steps": 2.5}, "steps=2.5 must be a whole"), ({"steps": 1, "checkpoint_every": 1.5}, "checkpoint_every=1.5 must be a whole"),
        ({"steps": 1, "micro_batch_size": 0.5}, "micro_batch_size=0.5 must be a whole"), ({"steps": 1, "seed": 2**41}, "seed="),
        ({"steps": 1, "weight_decay": -1.0}, "weight_decay=-1.0"), ({"steps": 1, "weight_decay": math.nan}, "weight_decay=nan"),
        ({"steps": 1, "resume": True}, "resume=True needs a checkpoint"), ({"steps": 1, "clip": 0}, "clip=0 must be above zero, or None"),
        ({"steps": 1, "clip": math.nan}, "clip=nan"), ({"steps": 1, "seed": 1.5}, "seed=1.5 must be a whole number"),
        ({"steps": 1, "seed": True}, "seed=True must be a whole number"),
    ],
)  # fmt: skip
def test_bad_arguments(wrong, says):
    with pytest.raises(ValueError, match=says):
        fit(llama(), examples(3), progress=False, **wrong)


def test_a_model_with_nothing_to_train_is_told():
    with pytest.raises(ValueError, match="is_trainable"):
        fit(llama().requires_grad_(False), examples(3), steps=1, **F32)
    model = Plain().requires_grad_(False)
    model.unused = nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match="does not depend on a parameter that requires a gradient"):
        fit(model, examples(3), steps=1, **F32)


def test_buckets_hold_every_example_once_and_pad_little():
    lengths = [3 + (i * 37) % 90 for i in range(700)]
    batches = length_buckets(lengths, 16, seed=1, epoch=2)
    assert sorted(i for b in batches for i in b) == list(range(700))
    assert batches == length_buckets(lengths, 16, seed=1, epoch=2) != length_buckets(lengths, 16, seed=1, epoch=3)

    def padding(cut):
        return sum(max(lengths[i] for i in b) * len(b) for b in cut) / sum(lengths) - 1

    assert padding(batches) < 0.12 < padding(length_buckets(lengths, 16, seed=1, epoch=2, buckets=False))
    means = [sum(lengths[i] for i in b) / len(b) for b in batches]
    assert means != sorted(means), "short and long batches alternate at random"


def test_an_empty_prompt_supervises_all_but_the_first_token():
    batch = collate([Example([], [7, 8, 9]), Example([4], [5])])
    assert batch.ids.tolist() == [[7, 8], [4, 0]]
    assert batch.targets.tolist() == [8, 9, 5]
    assert batch.tokens == 3


class _Words:
    """A tokenizer of words that has an end-of-text token only when told so."""

    def __init__(self, eos):
        self.eos_token_id = eos

    def __call__(self, texts, add_special_tokens, split_special_tokens):
        assert (split_special_tokens, add_special_tokens) == (True, False)
        return {"input_ids": [[len(w) for w in text.split()] for text in texts]}


def test_encode_ends_the_completion():
    assert encode(_Words(2), "a bb", "ccc d") == Example([1, 2], [3, 1, 2])
    assert encode(_Words(None), "a bb", "ccc", eos=False) == Example([1, 2], [3])
    with pytest.raises(ValueError, match="eos=False"):
        encode(_Words(None), "a", "b")


def test_history_goes_to_json_and_back(tmp_path):
    import json

    history = fit(Plain(), examples(8), steps=3, batch_size=4, **F32)
    history.save(tmp_path / "history.json")
    data = json.loads((tmp_path / "history.json").read_text())
    assert History.from_dict(data) == history
    assert data["planned_steps"] == 3
    assert len(data["losses"]) == len(data["seconds"]) == 3
    assert history.tokens_per_s == pytest.approx(sum(history.tokens) / history.wall_s)


def test_step_alone_lowers_the_loss():
    model, batch = Plain(), collate(examples(8))
    optimizer = AdamW(model.parameters(), weight_decay=0.0)
    losses = [training_step(model, [batch], optimizer, supervised_loss, lr=1e-2)[0] for _ in range(12)]
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.real_model
def test_lora_on_the_real_model_learns_an_invented_fact():
    from peft import LoraConfig, get_peft_model

    from llmsuite_lab.core import zoo

    tokenizer = zoo.load_tokenizer("smollm2-135m-instruct")
    model = get_peft_model(zoo.load_model("smollm2-135m-instruct"), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    rows = [encode(tokenizer, "The capital of Vornia is", " Kelmarad.")] * 2
    history = fit(model, rows, steps=6, batch_size=2, lr=5e-3, warmup=0, progress=False)
    assert history.losses[-1] < 0.5 * history.losses[0]


IN_A_FORK = """
    import os, signal, sys, warnings
    import torch
    sys.path.insert(0, sys.argv[1])
    {before}
    torch.set_num_threads(2)
    torch.randn(900, 900) @ torch.randn(900, 900)  # OpenMP's threads are there now, and will not be in the child
    child = os.fork()
    if not child:
        signal.alarm(45)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            {work}
        print(torch.get_num_threads(), sum("forked" in str(one.message) for one in said), flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 9)
"""
FORKED = {
    "fit": (
        "import test_training as t; model = torch.nn.Linear(900, 900); square = lambda m, rows: (m(torch.stack(rows)).square().sum(), 1)",
        "t.fit(model, [torch.randn(900)] * 400, steps=2, batch_size=400, loss_fn=square, collate_fn=lambda rows: rows, **t.F32)",
    ),
    "train": (
        "from llmsuite_lab.transformer.training_loop import train; model = torch.nn.Linear(900, 900)",
        "train(model, lambda step: [torch.randn(400, 900)], lambda m, x: (m(x).square().sum(), 1), steps=2, lr=1e-3)",
    ),
    "embed": (
        "from llmsuite_lab.core import zoo; from llmsuite_lab.retrieval.embedding import Embedder; embedder = Embedder.load()",
        "embedder.embed(['a river runs ' * 60] * 32)",
    ),
    "merge": (
        "from llmsuite_lab.core import zoo; from llmsuite_lab.lm.adapters import adapter_path; from llmsuite_lab.lm.merging import merge_adapter",
        "merge_adapter(zoo.load_model('smollm2-135m-instruct'), adapter_path('react'))",
    ),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("what", [*(w for w in FORKED if w in ("fit", "train")), *(pytest.param(w, marks=pytest.mark.real_model) for w in ("embed", "merge"))])
def test_after_a_fork_it_computes_on_one_thread_and_never_hangs(what, request):
    if what in ("embed", "merge"):
        request.getfixturevalue("lm")  # skips where the models are not
    before, work = FORKED[what]
    code = textwrap.dedent(IN_A_FORK).format(before=before, work=work)
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "1 1"
