"""LanguageModel against `transformers`' own generate and forward pass: tiny random models for most, the real one for a few."""

import copy
import math
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from llmsuite_lab.lm import language_model
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.supervised import head_alone, supervised_loss
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.transformer.packed_engine import PackedEngine

PROMPTS = ["one", "The river runs to the sea", "x", "Ünï¢ödé 水", "a b c d e f", "The river"]


def reference(lm, prompt: str, n: int) -> str:
    """Greedy text by `transformers.generate`, one prompt at a time."""
    ids = torch.tensor([lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    out = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, pad_token_id=256)
    return lm.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_greedy_text_is_that_of_transformers_generate_whatever_the_batch(tiny_lm, batch_size):
    out = tiny_lm.complete(PROMPTS, max_new_tokens=12, batch_size=batch_size)
    assert [c.text for c in out] == [reference(tiny_lm, prompt, 12) for prompt in PROMPTS]
    assert [c.prompt_tokens for c in out] == [len(prompt.encode()) for prompt in PROMPTS]
    assert all(c.finish_reason in {"eos", "length"} and 0 < c.wall_s < 60 for c in out)
    assert all(c.completion_tokens == 12 for c in out if c.finish_reason == "length")


def test_a_shared_prefix_changes_nothing(tiny_lm):
    prompts = ["These examples stand before every question. " + p for p in PROMPTS]
    assert [c.text for c in tiny_lm.complete(prompts, max_new_tokens=9)] == [
        c.text for p in prompts for c in tiny_lm.complete([p], max_new_tokens=9)
    ]


def test_an_empty_list_is_an_empty_list(tiny_lm):
    assert tiny_lm.complete([]) == tiny_lm.chat([]) == tiny_lm.score([], []) == []


def test_the_end_token_ends_the_text_and_is_not_counted(tiny_lm):
    ids = tiny_lm.tokenizer("x")["input_ids"]
    out = tiny_lm.model.generate(torch.tensor([ids]), max_new_tokens=8, min_new_tokens=8, do_sample=False, pad_token_id=256)[0, len(ids) :]
    third = out[2].item()
    if third in out[:2].tolist():
        pytest.skip("this random model repeats itself at once")
    tiny_lm._eos = {third}
    (completion,) = tiny_lm.complete(["x"], max_new_tokens=8)
    assert (completion.finish_reason, completion.completion_tokens) == ("eos", 2)


def test_stop_strings_end_each_row_on_its_own_and_span_tokens(tiny_lm):
    """One byte is one token here, so a stop string of three characters spans three tokens; every row gets its own."""
    free = tiny_lm.complete(PROMPTS, max_new_tokens=14)
    stops = [c.text[4:7] for c in free]
    for word, index in ((stops[0], 0), (stops[4], 4)):
        stopped = tiny_lm.complete(PROMPTS, max_new_tokens=14, stop=[word, "never to be seen"])
        for before, after in zip(free, stopped):
            if word in before.text:
                assert after.text == before.text[: before.text.index(word)]
                assert after.finish_reason == "stop"
                assert after.completion_tokens <= len(before.text[: before.text.index(word) + len(word)].encode()) + 8
            else:
                assert (after.text, after.finish_reason) == (before.text, before.finish_reason)
        assert stopped[index].finish_reason == "stop"


def test_generation_really_stops_at_the_stop_string(tiny_lm, monkeypatch):
    steps = []
    original = PackedEngine.advance
    monkeypatch.setattr(PackedEngine, "advance", lambda self, tokens: steps.append(len(tokens)) or original(self, tokens))
    (free,) = tiny_lm.complete(["one"], max_new_tokens=30)
    spent = len(steps)
    word = free.text[2:4]
    tiny_lm.complete(["one"], max_new_tokens=30, stop=word)
    assert len(steps) - spent < spent / 2


def test_finished_rows_leave_the_batch(tiny_lm, monkeypatch):
    sizes = []
    original = PackedEngine.advance
    monkeypatch.setattr(PackedEngine, "advance", lambda self, tokens: sizes.append(len(tokens)) or original(self, tokens))
    prompts = ["one", "one", "one", "The river"]
    free = tiny_lm.complete(prompts, max_new_tokens=20)
    word = next(free[0].text[i : i + 3] for i in range(15) if free[0].text[i : i + 3] not in free[3].text)
    sizes.clear()
    stopped = tiny_lm.complete(prompts, max_new_tokens=20, stop=[word])
    assert [c.finish_reason == "stop" for c in stopped] == [True] * 3 + [False]
    assert (sizes[0], sizes[-1]) == (4, 1)
    assert stopped[3].text == free[3].text


def test_a_sample_depends_on_seed_and_prompt_not_on_its_neighbours(tiny_lm):
    options = {"max_new_tokens": 10, "temperature": 1.0, "top_k": 50}
    together = [c.text for c in tiny_lm.complete(PROMPTS, seed=3, **options)]
    assert together == [c.text for c in tiny_lm.complete(PROMPTS[::-1], seed=3, batch_size=2, **options)][::-1]
    assert together == [c.text for p in PROMPTS for c in tiny_lm.complete([p], seed=3, **options)]
    assert together != [c.text for c in tiny_lm.complete(PROMPTS, seed=4, **options)]
    five = [c.text for c in tiny_lm.complete(["The river"] * 5, seed=3, **options)]
    assert five[0] == together[PROMPTS.index("The river")]
    assert len(set(five)) == 5


def test_stream_yields_the_text_of_complete(tiny_lm):
    for options in ({}, {"stop": ["e", "\x00\x01"]}, {"temperature": 1.0, "top_p": 0.9, "seed": 8}):
        for prompt in PROMPTS[:3]:
            pieces = list(tiny_lm.stream(prompt, max_new_tokens=25, **options))
            assert "".join(pieces) == tiny_lm.complete([prompt], max_new_tokens=25, **options)[0].text
            assert all(pieces)


def test_chat_applies_the_template(tiny_lm):
    conversation = [{"role": "user", "content": "hi"}]
    assert tiny_lm.chat_prompt("hi") == tiny_lm.chat_prompt(conversation) == "<s>user: hi</s><s>assistant: "
    first, second = tiny_lm.chat(["hi", conversation], max_new_tokens=5)
    assert first.text == second.text == reference(tiny_lm, "<s>user: hi</s><s>assistant: ", 5)
    assert first.prompt_tokens == tiny_lm.count_tokens(tiny_lm.chat_prompt("hi")) == 3 + len("user: hiassistant: ")


def manual_logprob(lm, prompt: str, continuation: str) -> float:
    p, c = (lm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, continuation))
    with torch.no_grad():
        logprobs = lm.model(torch.tensor([p + c])).logits[0].double().log_softmax(-1)
    return sum(logprobs[len(p) + i - 1, token].item() for i, token in enumerate(c))


def test_scores_are_sums_of_log_probabilities(tiny_lm):
    pairs = [(p, c) for p in PROMPTS for c in (" yes", "no, not at all")]
    scores = tiny_lm.score(*zip(*pairs), batch_size=5)
    for (prompt, continuation), score in zip(pairs, scores):
        assert score.tokens == len(continuation.encode())
        assert score.logprob == pytest.approx(manual_logprob(tiny_lm, prompt, continuation), rel=1e-5)  # float32 logits
        assert score.perplexity == pytest.approx(math.exp(-score.logprob / score.tokens))


@pytest.mark.parametrize(
    ("family", "sizes", "alone"),
    [
        ("BertConfig", {"is_decoder": True}, False),  # a transform before the output matrix
        ("ElectraConfig", {"is_decoder": True, "embedding_size": 12}, False),  # one to another width
        ("Llama4TextConfig", {"head_dim": 6, "num_key_value_heads": 2, "num_local_experts": 2, "intermediate_size_mlp": 40}, False),  # no body of its own
        ("Gemma2Config", {"head_dim": 6, "num_key_value_heads": 2, "final_logit_softcapping": 0.3}, False),
        ("Qwen2Config", {"num_key_value_heads": 2}, True),
        ("GPTNeoXConfig", {}, True),
    ],
)
def test_scores_and_losses_of_any_family_are_those_of_its_own_logits(family, sizes, alone, tiny_tokenizer):
    import transformers

    torch.manual_seed(5)
    usual = {"vocab_size": 259, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40, "max_position_embeddings": 64}
    config = getattr(transformers, family)(**usual | {"bos_token_id": 257, "eos_token_id": 258, "pad_token_id": 256, "initializer_range": 0.4} | sizes)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    assert head_alone(model) == alone
    assert model.training
    one = LanguageModel(model, tiny_tokenizer, family)
    (score,) = one.score(["The river"], [" is"])
    with evaluating(model):
        assert score.logprob == pytest.approx(manual_logprob(one, "The river", " is"), rel=1e-4)
        batch = collate([Example([5, 6, 7], [8, 9]), Example([1, 2], [3, 4, 5, 6])])
        loss, count = supervised_loss(model, batch)
        logits = model(input_ids=batch.ids, attention_mask=batch.attention_mask).logits[batch.mask]
    assert float(loss.detach()) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum").detach()), rel=1e-4)
    assert count == 6


def test_a_model_in_training_writes_without_dropout_and_goes_on_training(tiny_lm):
    expected = tiny_lm.complete(["one"])[0].text
    tiny_lm.model.train()
    for module in tiny_lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    assert tiny_lm.complete(["one"])[0].text == expected
    assert tiny_lm.model.training
    assert all(p.requires_grad for p in tiny_lm.model.parameters())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda lm: lm.complete("one"), TypeError, r"complete\(\) takes a list: write complete\(\[…\]\)\[0\]"),
        (lambda lm: lm.complete(["one", None]), TypeError, "entry 1 is NoneType"),
        (lambda lm: lm.complete(["one", ""]), ValueError, r"prompts\[1\] is empty"),
        (lambda lm: lm.complete(["a" * 90], max_new_tokens=7), ValueError, "has 90 tokens and max_new_tokens = 7 makes 97, .* holds 96"),
        (lambda lm: lm.complete(["one"], max_new_tokens=0), ValueError, "max_new_tokens=0 must be at least 1"),
        (lambda lm: lm.complete(["one"], batch_size=0), ValueError, "batch_size=0 must be at least 1"),
        (lambda lm: lm.complete(["one"], stop=[""]), ValueError, "empty string"),
        (lambda lm: lm.chat("hello"), TypeError, r"chat\(\) takes a list"),
        (lambda lm: lm.chat([{"role": "user", "content": "x"}]), TypeError, "entry 0 is dict"),
        (lambda lm: lm.chat([[{"role": "user"}]]), ValueError, "a message must be"),
        (lambda lm: lm.chat([[]]), ValueError, "at least one message"),
        (lambda lm: lm.score(["a"], ["b", "c"]), ValueError, "1 prompts and 2 continuations"),
        (lambda lm: lm.score("a", "b"), TypeError, "takes a list"),
        (lambda lm: lm.score(["a"], [""]), ValueError, r"continuations\[0\] is empty"),
        (lambda lm: lm.score(["a" * 90], ["b" * 7]), ValueError, "90 tokens and a continuation of 7 makes 97"),
        (lambda lm: lm.stream(["one"]), TypeError, "one string, got list"),
        (lambda lm: lm.stream(""), ValueError, "is empty"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(tiny_lm, call, error, message):
    with pytest.raises(error, match=message):
        call(tiny_lm)


def test_the_whole_context_may_be_used(tiny_lm):
    tiny_lm._eos = set()
    (completion,) = tiny_lm.complete(["a" * 90], max_new_tokens=6)
    assert completion.completion_tokens == 6


def test_load_merges_an_adapter_and_refuses_anothers(monkeypatch, tmp_path, tiny_model, tiny_tokenizer):
    from peft import LoraConfig, get_peft_model

    from llmsuite_lab.core import zoo
    from llmsuite_lab.lm import adapters

    tuned = get_peft_model(tiny_model, LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
            parameter.data = parameter.data.bfloat16().float()  # what the file holds
        elif "lora_A" in name:
            parameter.data = parameter.data.bfloat16().float()
    folder = adapters.write_adapter(tmp_path / "pal", tuned, {"seed": 0}, base="smollm2-135m-instruct")
    ids = torch.tensor([[5, 90, 33, 7]])
    with torch.no_grad():
        expected = tuned.eval()(ids).logits
    base = tuned.unload()
    monkeypatch.setattr(zoo, "load_model", lambda *args, **kwargs: base)
    monkeypatch.setattr(zoo, "load_tokenizer", lambda *args, **kwargs: tiny_tokenizer)
    trimmed = []
    monkeypatch.setattr(language_model, "return_freed_memory", lambda: trimmed.append("before the model"))
    lm = LanguageModel.load(adapter=folder, dtype=torch.float32, device="cpu")
    assert trimmed == ["before the model"]
    assert (lm.name, lm.adapter) == ("smollm2-135m-instruct", str(folder))
    assert type(lm.model).__name__ == "LlamaForCausalLM"
    with torch.no_grad():
        torch.testing.assert_close(lm.model(ids).logits, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="was made for smollm2-135m-instruct, not for smollm2-360m-instruct"):
        LanguageModel.load("smollm2-360m-instruct", adapter=folder)
    with pytest.raises(ValueError, match="no causal language model"):
        LanguageModel.load("all-minilm-l6-v2")
    for given in ({"name": ""}, {"name": " "}, {"adapter": ""}):
        with pytest.raises(ValueError, match="is empty: give a name, or leave it out"):
            LanguageModel.load(**given)


@pytest.mark.parametrize("family", ["BloomConfig", "MptConfig", "MambaConfig"])
def test_a_folder_of_ones_own_of_any_family_is_loaded_and_speaks(family, tmp_path, tiny_tokenizer):
    import transformers

    special = {"vocab_size": 259, "bos_token_id": 257, "eos_token_id": 258, "pad_token_id": 256, "initializer_range": 0.4}
    sizes = {
        "BloomConfig": {"hidden_size": 40, "n_layer": 2, "n_head": 5},
        "MptConfig": {"d_model": 40, "n_layers": 2, "n_heads": 5, "max_seq_len": 96},
        "MambaConfig": {"hidden_size": 40, "num_hidden_layers": 2, "state_size": 6},
    }[family]
    torch.manual_seed(5)
    made = transformers.AutoModelForCausalLM.from_config(getattr(transformers, family)(**sizes, **special), dtype=torch.float32).eval()
    made.save_pretrained(tmp_path / "own")
    tiny_tokenizer.save_pretrained(tmp_path / "own")
    lm = LanguageModel.load(tmp_path / "own", dtype=torch.float32, device="cpu")
    done = lm.complete(PROMPTS, max_new_tokens=9)
    assert [c.text for c in done] == [reference(lm, prompt, 9) for prompt in PROMPTS]
    assert "".join(lm.stream(PROMPTS[1], max_new_tokens=9)) == done[1].text
    prompt, more = (tiny_tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("The river", " runs"))
    with torch.no_grad():
        told = made(input_ids=torch.tensor([prompt + more])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    scores = lm.score(["The river", "x"], [" runs", " and more of it"])
    assert scores[0].logprob == pytest.approx(float(told.gather(1, torch.tensor(more)[:, None]).sum()), rel=1e-4)
    with pytest.raises(ValueError, match="is for the zoo's models"):
        LanguageModel.load(tmp_path / "own", source="hub")


REAL_PROMPTS = [
    "Question: What is the capital of France?\nAnswer:",
    "The three primary colours are",
    "Once upon a time, in a village by the sea, there lived an old fisherman who every morning",
    "def add(a, b):\n    return",
]


@pytest.mark.real_model
def test_the_real_model_answers_and_batches_equal_singles(lm):
    batch = lm.complete(REAL_PROMPTS, max_new_tokens=8)
    assert [c.text for c in batch] == [reference(lm, p, 8) for p in REAL_PROMPTS]
    (answer,) = lm.chat(["What is the capital of France?"], max_new_tokens=9)
    assert "Paris" in answer.text
    assert answer.finish_reason == "eos"


@pytest.mark.real_model
def test_the_real_models_stop_string_spans_tokens_and_scores_do_not_feel_padding(lm):
    (free,) = lm.complete(REAL_PROMPTS[2:3], max_new_tokens=12)
    middle = len(free.text) // 2
    word = free.text[middle - 3 : middle + 3]
    (stopped,) = lm.complete(REAL_PROMPTS[2:3], max_new_tokens=12, stop=[word])
    assert stopped.text == free.text[: free.text.index(word)]
    assert stopped.finish_reason == "stop"
    continuations = [" Paris", " red, yellow and blue", " went", " a + b"]
    together = lm.score(REAL_PROMPTS, continuations)
    (alone,) = lm.score(REAL_PROMPTS[1:2], continuations[1:2])
    assert together[1].logprob == pytest.approx(alone.logprob, rel=1e-4)  # float32, other summation order
    wrong = lm.score(REAL_PROMPTS[:1], [" Madrid"])[0]
    assert together[0].logprob > wrong.logprob
    assert lm.context_length == 8192
    assert language_model.profile().name in {"cpu", "t4", "gpu"}


def test_several_threads_share_models_from_their_first_use_on(tiny_lm):
    """complete, stream and score at once, of two models: each answer is that of a model asked alone, and dropout stays off until the last is done."""
    made = [LanguageModel(copy.deepcopy(tiny_lm.model), tiny_lm.tokenizer, "twin") for _ in range(2)]
    for lm in made:
        lm.model.train()
        for module in lm.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5
    options = {"max_new_tokens": 8, "temperature": 1.0, "seed": 2}
    asks = [
        lambda lm: [c.text for c in lm.complete(PROMPTS, max_new_tokens=8)],
        lambda lm: [c.text for c in lm.complete(PROMPTS, **options)],
        lambda lm: "".join(lm.stream(PROMPTS[1], **options)),
        lambda lm: [round(s.logprob, 2) for s in lm.score(PROMPTS, [" yes"] * len(PROMPTS))],
    ]
    wanted = [ask(tiny_lm) for ask in asks]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda job: job[1](job[0]), [(lm, ask) for lm in made for ask in asks] * 3, timeout=120))
    assert got == wanted * 6
    assert all(module.training for lm in made for module in lm.model.modules())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_it_writes_the_same_and_never_hangs(tmp_path, tiny_model, tiny_tokenizer):
    """In a process of its own: the parent uses torch's threads and holds every lock from another thread while it forks."""
    code = textwrap.dedent(
        """
        import os, signal, sys, threading, time, warnings
        import torch
        sys.path.insert(0, sys.argv[1])
        from conftest import make_tiny
        from transformers import PreTrainedTokenizerFast
        from llmsuite_lab.lm import language_model, text
        from llmsuite_lab.lm.language_model import LanguageModel
        from llmsuite_lab.transformer import evaluating, packed_weights
        lm = LanguageModel(make_tiny("llama"), PreTrainedTokenizerFast.from_pretrained(sys.argv[2]), "tiny")
        if sys.argv[3] == "used":
            lm.complete(["one"], max_new_tokens=9)
        held = threading.Event()
        def hold():
            for lock in (language_model._loading, text._lock, evaluating._lock, packed_weights._lock):
                lock.__enter__()
            held.set()
            time.sleep(60)
        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        language_model.profile()
        torch.set_num_threads(2)
        torch.randn(600, 600) @ torch.randn(600, 600)
        child = os.fork()
        if not child:
            signal.alarm(60)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                written = lm.complete(["one", "The river runs"] * 9, max_new_tokens=9)
                score = lm.score(["one"], [" two"])
                torch.randn(600, 600) @ torch.randn(600, 600)
            print(repr(written[0].text), round(score[0].logprob, 3), torch.get_num_threads(), len(said), flush=True)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(status if status >= 0 else 9)
        """
    )
    tokenizer = tmp_path / "tokenizer"
    tiny_tokenizer.save_pretrained(tokenizer)
    alone = LanguageModel(tiny_model, tiny_tokenizer, "tiny")
    text, score = alone.complete(["one"], max_new_tokens=9)[0].text, alone.score(["one"], [" two"])[0].logprob
    folder = str(Path(__file__).parent.parent)
    for before in ("used", "unused"):
        done = subprocess.run([sys.executable, "-c", code, folder, str(tokenizer), before], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.splitlines()[-1] == f"{text!r} {round(score, 3)} 1 1"
