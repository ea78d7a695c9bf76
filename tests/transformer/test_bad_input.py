"""Whatever is put in the place of an argument, the transformer section answers with a sentence (see tests/bad_input.py)."""

import torch
from torch import nn

from llmsuite_lab.transformer import bpe_training, head_scores, layers, multi_head, optimizer, positions
from llmsuite_lab.transformer.block import Block, InputEmbedding, Stack
from llmsuite_lab.transformer.cache import KVCache, LayerCache
from llmsuite_lab.transformer.cached_engine import CachedEngine
from llmsuite_lab.transformer.config import bert_config, gpt2_config, llama_config, original_config, t5_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.encoder import Encoder, MaskedLanguageModel
from llmsuite_lab.transformer.encoder_decoder import EncoderDecoder
from llmsuite_lab.transformer.fast_decoder import FastDecoder
from llmsuite_lab.transformer.feed_forward import FeedForward
from llmsuite_lab.transformer.normalization import LayerNorm, RMSNorm
from llmsuite_lab.transformer.packed_engine import PackedEngine
from llmsuite_lab.transformer.packing import Modules, Packed, Part
from llmsuite_lab.transformer.row_engine import RowEngine
from llmsuite_lab.transformer.sampling import Sampling

NONSENSE_LEFT_OUT = {
    "transformer.layers.Linear": "torch's own constructor",
    "transformer.layers.Embedding": "torch's own constructor",
    "transformer.experiments": "trains models: test_experiments.py",
    "transformer.q4_engine": "needs a GGUF file and a compiler: tests/lm/test_q4.py",
    "transformer.q4_weights": "as q4_engine",
    "transformer.step_engine": "computes with a compiled step: tests/lm/test_q4.py",
}
LEFT_OUT = NONSENSE_LEFT_OUT | {
    "transformer.figures.pretraining_curve": "draws what an experiment returns: test_figures.py",
    "transformer.figures.reach_over_distance": "as pretraining_curve",
    "transformer.figures.speed_over_length": "as pretraining_curve",
    "transformer.weights.load": "loads the real model: test_weights.py",
    "transformer.weights.load_encoder": "as load",
}
ENDLESS = {("transformer.training_loop.train", "steps")}  # 10³⁰ steps are what was asked for: `fit` has the limit, the taught loop has none


def squared(model, batch):
    return model(batch).square().sum(), len(batch)


def trained():
    """An optimizer whose parameters have gradients."""
    model = nn.Linear(4, 3)
    model(torch.ones(2, 4)).sum().backward()
    return optimizer.AdamW(optimizer.decay_groups(model.parameters(), 0.0))


def valid(folder, call, theirs, their_tokenizer):
    """Valid calls, where the signature does not say enough. `theirs`: a tiny random transformers Llama."""
    their_tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 24, generator=generator)
    ids, mask = torch.randint(0, 31, (2, 5), generator=generator), torch.ones(2, 5, dtype=torch.bool)
    Q, K, V = (torch.randn(2, 3, n, 4, generator=generator) for n in (5, 7, 7))
    sizes = (31, 24, 2, 6, 40)
    config, bert, t5 = llama_config(*sizes, 32, n_kv_heads=2), bert_config(*sizes, 32), t5_config(*sizes)
    ours, encoder, masked, both = Decoder(config).eval(), Encoder(bert).eval(), MaskedLanguageModel(bert).eval(), EncoderDecoder(t5).eval()
    embedding, linear = InputEmbedding(gpt2_config(*sizes, 32)), layers.Linear(24, 7)
    prompts, logits = [[1, 2, 3], [4]], torch.randn(2, 9, generator=generator)
    sampling = Sampling(1.0, top_k=4)
    fast = FastDecoder(ours, torch.float32, "plain")
    maps = head_scores.attention_maps(ours, torch.cat([ids[:1, :4], ids[:1, :4]], 1))
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]
    tokenizer = bpe_training.train_bpe(["low lower lowest slow"], 270)
    tokenizer.save(folder / "tokenizer")
    angles = positions.rotary_angles(torch.arange(5), 4)
    tensors = lambda: [torch.ones(3, 2)]  # noqa: E731
    norm = ours.stack.final_norm
    state = theirs.state_dict()
    heads = head_scores.name_heads(ours, ids[:1], n=6)

    def fresh_model():
        return nn.Linear(4, 3)

    def fresh_parameters():
        return list(nn.Linear(4, 3).parameters())

    def fresh_optimizer():
        return trained()

    def fresh_tensors():
        return tensors()

    def cached():
        made = KVCache(2)
        ours(ids, cache=made)
        return made

    def layer_cache():
        made = LayerCache()
        made.append(K, V)
        return made

    small = nn.Linear(4, 3)
    moves = optimizer.AdamW(optimizer.decay_groups(small.parameters(), 0.0))
    batches, clip = [torch.ones(2, 4)], {"lr": 0.1, "clip": 1.0}
    return {
        "transformer.attention.attention_weights": call(Q, K),
        "transformer.attention.scaled_dot_product_attention": call(Q, K, V),
        "transformer.attention.attend": call(Q, K, V),
        "transformer.attention.padding_mask": call(mask),
        "transformer.block.make_norm": call(config),
        "transformer.block.make_dropout": call(config),
        "transformer.block.Block": call(config, True),
        "transformer.block.Block.forward": call(x, rotary=positions.rotary_angles(torch.arange(5)[None], 4), on=lambda: Block(config, True)),
        "transformer.block.Stack": call(config, 1, True),
        "transformer.block.Stack.forward": call(x, torch.arange(5)[None], on=lambda: Stack(config, 1, True)),
        "transformer.block.InputEmbedding": call(config),
        "transformer.block.InputEmbedding.place": call(torch.randn(1, 5, 24), torch.arange(5)[None], on=lambda: embedding),
        "transformer.block.InputEmbedding.forward": call(ids, torch.arange(5)[None], on=lambda: embedding),
        "transformer.block.check_sequence": call(ids, config),
        "transformer.block.token_positions": call(ids, mask),
        "transformer.block.initialise": call(fresh_model, config),
        "transformer.bpe_training.train_bpe": call(["low lower"], 260),
        "transformer.bpe_training.learn_merges_naively": call("low lower", 2),
        "transformer.bpe_training.join_pair": call(["a", "b"], ("a", "b")),
        "transformer.cache.LayerCache.append": call(K, V, on=LayerCache),
        "transformer.cache.LayerCache.select": call(torch.tensor([1]), on=layer_cache),
        "transformer.cache.KVCache.select": call(torch.tensor([1]), on=cached),
        "transformer.cached_engine.CachedEngine": call(ours, prompts, 2),
        "transformer.cached_engine.CachedEngine.advance": call(torch.tensor([3, 4]), on=lambda: CachedEngine(ours, prompts, 2)),
        "transformer.cached_engine.CachedEngine.select": call([1], on=lambda: CachedEngine(ours, prompts, 2)),
        "transformer.decoder.Decoder": call(config),
        "transformer.decoder.Decoder.hidden_states": call(ids, on=lambda: ours),
        "transformer.decoder.Decoder.logits": call(x, on=lambda: ours),
        "transformer.decoder.Decoder.forward": call(ids, on=lambda: ours),
        "transformer.decoder.Decoder.loss": call(ids, ids, on=lambda: ours),
        "transformer.encoder.Encoder": call(bert),
        "transformer.encoder.Encoder.forward": call(ids, on=lambda: encoder),
        "transformer.encoder.MaskedLanguageModel": call(bert),
        "transformer.encoder.MaskedLanguageModel.forward": call(ids, on=lambda: masked),
        "transformer.encoder.mean_pool": call(x, mask),
        "transformer.encoder.l2_normalise": call(x),
        "transformer.encoder.sentence_embeddings": call(encoder, ids, mask),
        "transformer.encoder_decoder.EncoderDecoder": call(t5),
        "transformer.encoder_decoder.EncoderDecoder.encode": call(ids, on=lambda: both),
        "transformer.encoder_decoder.EncoderDecoder.decode": call(ids, x, on=lambda: both),
        "transformer.encoder_decoder.EncoderDecoder.hidden_states": call(ids, None, ids, on=lambda: both),
        "transformer.encoder_decoder.EncoderDecoder.logits": call(x, on=lambda: both),
        "transformer.encoder_decoder.EncoderDecoder.forward": call(ids, ids, on=lambda: both),
        "transformer.encoder_decoder.EncoderDecoder.loss": call(ids, ids, ids, on=lambda: both),
        "transformer.encoder_decoder.EncoderDecoder.greedy": call(ids, start_id=0, eos_id=1, max_new_tokens=2, on=lambda: both),
        "transformer.encoder_decoder.parameter_table": call(original_config(31, 24, 2, 6, 40, 32)),
        "transformer.evaluating.evaluating": call(ours),
        "transformer.evaluating.training": call(ours),
        "transformer.explorer.head_grid": call(maps, words),
        "transformer.explorer.explore": call(maps, words, static=True),
        "transformer.fast_decoder.FastDecoder": call(ours, torch.float32, "plain"),
        "transformer.fast_decoder.FastDecoder.new_cache": call(2, 8, on=lambda: fast),
        "transformer.fast_decoder.FastDecoder.forward": call(ids, torch.arange(5)[None].expand(2, 5), fast.new_cache(2, 8), 0, None, on=lambda: fast),
        "transformer.feed_forward.relu": call(x),
        "transformer.feed_forward.gelu": call(x),
        "transformer.feed_forward.gelu_tanh": call(x),
        "transformer.feed_forward.silu": call(x),
        "transformer.feed_forward.activation": call("relu", x),
        "transformer.feed_forward.FeedForward.forward": call(x, on=lambda: FeedForward(24, 40)),
        "transformer.figures.attention_panels": call([maps[0, 0]], words, ["a title"]),
        "transformer.figures.named_head_maps": call(list(heads.values()), [maps] * len(heads), [words] * len(heads)),
        "transformer.figures.score_table": call(head_scores.first_token_scores(maps), "first token"),
        "transformer.part_figures.temperatures": call(logits[0], str),
        "transformer.part_figures.losses_without": call({"nothing": [1.0, 2.0]}),
        "transformer.part_figures.recall_curves": call({8: {"LSTM": [(720, [0.2, 0.3])]}}, 0.25),
        "transformer.part_figures.damage": call({"nothing": [1.0, 2.0], "a": [2.0, 2.0]}, "a"),
        "transformer.part_figures.as_rows": call({"nothing": [1.0, 2.0], "a": [2.0, 2.0]}),
        "transformer.generation.engine_for": call(ours),
        "transformer.generation.generate": call(ours, prompts, 2),
        "transformer.generation.steps": call(ours, prompts, 2),
        "transformer.head_scores.attention_maps": call(ours, ids[:1]),
        "transformer.head_scores.previous_token_scores": call(maps),
        "transformer.head_scores.first_token_scores": call(maps),
        "transformer.head_scores.induction_scores": call(maps, 4),
        "transformer.head_scores.repeated_sequence": call(31, 4),
        "transformer.head_scores.name_heads": call(ours, ids[:1], 6),
        "transformer.head_scores.strongest": call("induction", maps[..., 0, 0]),
        "transformer.layers.linear": call(x, linear.weight),
        "transformer.layers.embedding": call(ids, torch.ones(31, 4)),
        "transformer.layers.check_ids": call(ids, 31),
        "transformer.layers.softmax": call(x),
        "transformer.layers.cross_entropy": call(logits, torch.tensor([1, 2])),
        "transformer.layers.residual": call(x, nn.Identity(), nn.Identity(), True),
        "transformer.layout.check_rows": call([1], 2),
        "transformer.layout.lay_out": call(prompts),
        "transformer.layout.check_prompts": call(prompts, 2, 31, 32),
        "transformer.multi_head.split_heads": call(x, 6),
        "transformer.multi_head.join_heads": call(Q),
        "transformer.multi_head.MultiHeadAttention": call(24, 6),
        "transformer.multi_head.MultiHeadAttention.forward": call(x, on=lambda: multi_head.MultiHeadAttention(24, 6)),
        "transformer.multi_head.record_attention": call(ours),
        "transformer.normalization.layer_norm": call(x, torch.ones(24), torch.zeros(24)),
        "transformer.normalization.rms_norm": call(x, torch.ones(24)),
        "transformer.normalization.LayerNorm.forward": call(x, on=lambda: LayerNorm(24)),
        "transformer.normalization.RMSNorm.forward": call(x, on=lambda: RMSNorm(24)),
        "transformer.optimizer.adamw_update": call(fresh_tensors, fresh_tensors, fresh_tensors, fresh_tensors, 1, 0.1),
        "transformer.optimizer.AdamW": call(fresh_parameters),
        "transformer.optimizer.AdamW.set_lr": call(0.1, on=trained),
        "transformer.optimizer.AdamW.normalise": call(2, 1.0, on=trained),
        "transformer.optimizer.AdamW.load_state_dict": call(trained().state_dict(), on=trained),
        "transformer.optimizer.decay_groups": call(fresh_parameters, 0.1),
        "transformer.optimizer.clip_gradients": call(fresh_parameters, 1.0),
        "transformer.packed_engine.PackedEngine": call(fast, prompts, 2),
        "transformer.packed_engine.PackedEngine.advance": call(torch.tensor([3, 4]), on=lambda: PackedEngine(fast, prompts, 2)),
        "transformer.packed_engine.PackedEngine.select": call([1], on=lambda: PackedEngine(fast, prompts, 2)),
        "transformer.packed_weights.packed": call(ours),
        "transformer.packing.Packed": call(linear.weight.detach(), None, "plain"),
        "transformer.packing.Packed.__call__": call(x[0], on=lambda: Packed(linear.weight.detach(), None, "plain")),
        "transformer.packing.Packed.add": call(x[0], torch.ones(5, 7), on=lambda: Packed(linear.weight.detach(), None, "plain")),
        "transformer.packing.Part": call(layers.Linear(24, 21), 1, 3),
        "transformer.packing.Part.forward": call(x, on=lambda: Part(layers.Linear(24, 21), 1, 3)),
        "transformer.packing.Modules": call([linear]),
        "transformer.packing.Modules.__call__": call(x[0], on=lambda: Modules([linear])),
        "transformer.packing.Modules.add": call(x[0], torch.ones(5, 7), on=lambda: Modules([linear])),
        "transformer.packing.is_plain": call(linear),
        "transformer.packing.hooked": call(linear),
        "transformer.packing.pack": call([linear], "plain", torch.float32),
        "transformer.packing.choose_layout": call(torch.float32, torch.device("cpu")),
        "transformer.positions.rotary_angles": call(torch.arange(5), 4),
        "transformer.positions.rotate": call(Q, *angles),
        "transformer.positions.relative_bucket": call(torch.arange(-5, 6)),
        "transformer.positions.RelativeBias.forward": call(torch.arange(5)[None], torch.arange(7)[None], on=lambda: positions.RelativeBias(3)),
        "transformer.published.published_config": call(theirs.config.to_dict()),
        "transformer.row_engine.RowEngine": call(theirs, prompts, 2),
        "transformer.row_engine.RowEngine.advance": call(torch.tensor([3, 4]), on=lambda: RowEngine(theirs, prompts, 2)),
        "transformer.row_engine.RowEngine.select": call([1], on=lambda: RowEngine(theirs, prompts, 2)),
        "transformer.row_engine.longest_context": call(theirs.config),
        "transformer.row_engine.needs_rows_of_its_own": call(theirs),
        "transformer.sampling.tempered": call(logits, 0.5),
        "transformer.sampling.top_k": call(logits, 3),
        "transformer.sampling.nucleus": call(logits.softmax(-1).sort(descending=True)[0], 0.9),
        "transformer.sampling.Sampling.streams": call(["a", "b"], on=lambda: sampling),
        "transformer.sampling.Sampling.pick": call(logits, sampling.streams(["a", "b"]), on=lambda: sampling),
        "transformer.sampling.Sampling.pick_scored": call(logits, sampling.streams(["a", "b"]), on=lambda: sampling),
        "transformer.sampling.Sampling.probabilities": call(logits, on=lambda: sampling),
        "transformer.settings.settings": call(norm),
        "transformer.settings.buffers": call(theirs.model.rotary_emb, 99),
        "transformer.settings.as_built": call(norm, RMSNorm(24, config.norm_eps), config),
        "transformer.tokenizer.BPETokenizer": call({b"a": 0, b"b": 1, b"ab": 2}, [(b"a", b"b")], drop_missing_bytes=True),
        "transformer.tokenizer.BPETokenizer.encode": call("low", on=lambda: tokenizer),
        "transformer.tokenizer.BPETokenizer.encode_iterable": call(["low"], on=lambda: tokenizer),
        "transformer.tokenizer.BPETokenizer.decode": call([97, 98], on=lambda: tokenizer),
        "transformer.tokenizer.BPETokenizer.token": call(97, on=lambda: tokenizer),
        "transformer.tokenizer.BPETokenizer.save": call(folder / "saved", on=lambda: tokenizer),
        "transformer.tokenizer.BPETokenizer.load": call(folder / "tokenizer"),
        "transformer.tokenizer.BPETokenizer.load_tokenizer_json": call(folder / "tokenizer.json"),
        "transformer.tokenizer.merge_word": call([97, 98], {(97, 98): (0, 256)}),
        "transformer.training_loop.backward": call(fresh_model, batches, fresh_optimizer, squared),
        "transformer.training_loop.gradient": call(small, batches, moves, squared, **clip),
        "transformer.training_loop.training_step": call(small, batches, moves, squared, **clip),
        "transformer.training_loop.train": call(fresh_model, lambda step: batches, squared, steps=1, lr=0.1),
        "transformer.views.decoder_view": call(ours),
        "transformer.weights.from_transformers": call(theirs),
        "transformer.weights.from_state": call(theirs.config.to_dict(), state),
        "transformer.weights.rename": call("llama", state),
        "transformer.weights.count_parameters": call(ours),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch, tiny_model, tiny_tokenizer):
    table = valid(tmp_path, bad_input.call, tiny_model, tiny_tokenizer)
    bad_input.check("llmsuite_lab.transformer", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT, keep=ENDLESS)


def test_every_function_answers_nonsense_with_a_sentence(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.transformer", tmp_path, monkeypatch, left_out=NONSENSE_LEFT_OUT)
