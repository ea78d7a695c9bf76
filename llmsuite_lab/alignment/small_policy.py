"""A small policy for live work: our own decoder, 250,000 weights, that answers at the desk of `world.preferences`, at times well.

    notes, expert's answers  →  pre-training  →  answers of all agents  →  tuning on replies alone  →  data/policies/desk_policy/

It is pre-trained on records copied out in another order (so it learns to copy names and numbers that it never saw, syllable by syllable) and on
experts' answers, then tuned on replies by a mixture of agents, careless and grumpy ones among them: so there is something to align, and a reply of
nearly every kind to sample. Its vocabulary is closed: what is not of the desk is one <unk> a word, and no text becomes a control token (`lm.text`).

    folder/   config.json, model.safetensors, provenance.json (how it was made, and the SHA-256 of the other two)

`llmsuite train desk_policy --seed 1` makes another seed in the cache folder. In production: `transformers.AutoModelForCausalLM.from_pretrained`.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from random import Random
from statistics import mean, pstdev
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from llmsuite_lab.core.errors import LabError, whole, within
from llmsuite_lab.core.fetch import sha256
from llmsuite_lab.core.files import check_folder, load_tensors, whole_folder, write_json
from llmsuite_lab.core.history import History
from llmsuite_lab.core.paths import cache_dir, data_dir
from llmsuite_lab.core.provenance import commit_now, provenance
from llmsuite_lab.core.runs import Outcome, Run
from llmsuite_lab.core.seeding import seeded, torch_state_kept
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.supervised import supervised_loss
from llmsuite_lab.lm.text import encode, listed
from llmsuite_lab.lm.training import fit
from llmsuite_lab.transformer.config import TransformerConfig, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.transformer.generation import GeneratedRow, generate
from llmsuite_lab.transformer.sampling import Sampling
from llmsuite_lab.world.preferences import Case, Judgement, cases, judge, reply, word_pieces
from llmsuite_lab.world.preferences_values import wordings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NAME, KIND = "desk_policy", "a policy"
PAD, END, UNKNOWN = "<pad>", "<end>", "<unk>"
WEIGHTS, CONFIG, PROVENANCE = "model.safetensors", "config.json", "provenance.json"
MOST_NEW_TOKENS = 64  # the end token among them; of the agents' replies fewer than one in a thousand is longer
_SPACE = "▁"
_MIXTURE = {"expert": 0.2, "careless": 0.25, "grumpy": 0.25, "evasive": 0.2, "wordy": 0.1}


@dataclass(frozen=True)
class Settings:
    """Sizes of the model, steps of both trainings, replies a step, peak rates, and the share of copied records in what it is pre-trained on."""

    d_model: int = 96
    n_layers: int = 2
    n_heads: int = 4
    d_ff: int = 256
    max_length: int = 256
    pretraining_steps: int = 1600
    tuning_steps: int = 600
    batch_size: int = 32
    pretraining_lr: float = 3e-3
    tuning_lr: float = 1e-3
    copies: float = 0.4

    def __post_init__(self) -> None:
        for name in ("pretraining_steps", "tuning_steps", "batch_size"):
            whole(name, getattr(self, name), 1, 100_000)
        within("copies", self.copies, 0, 1)


SHIPPED = Settings()


def desk_tokenizer() -> "PreTrainedTokenizerFast":
    """The closed vocabulary as a tokenizer: 3 control tokens, pieces that begin a word ("▁Mi", "▁lamp", "▁#"), pieces that go on ("ra", "4", ".").

    WordPiece without a mark for what goes on: a space is part of the piece behind it. decode(encode(x)) == x for every text of the desk.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_engine()), pad_token=PAD, eos_token=END, unk_token=UNKNOWN, padding_side="left",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


@cache
def _engine() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    first, following = word_pieces()
    vocabulary = [PAD, END, UNKNOWN, *(_SPACE + piece for piece in first), *following]
    pieces = {piece: i for i, piece in enumerate(vocabulary)}
    engine = Tokenizer(models.WordPiece(pieces, unk_token=UNKNOWN, continuing_subword_prefix="", max_input_chars_per_word=100))
    engine.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    engine.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    return engine.to_str()


def load(seed: int = 0) -> "tuple[Decoder, PreTrainedTokenizerFast]":
    """(policy, tokenizer), float32, in evaluation mode: a fresh copy at each call. Seed 0 ships; another comes from the cache folder, or is made now.

    Raises ValueError for a seed that is none, LabError for a damaged folder.
    """
    whole("seed", seed, 0, 2**31)
    place = folder(seed)
    if not (place / CONFIG).is_file():
        print(f"{NAME} with seed {seed} does not ship and is not in the cache: it is trained now, once, in a few minutes")
        began = time.perf_counter()
        model, _, settings = train(seed, SHIPPED)
        save(place, model, provenance(f"small_policy.load({seed})", seed, time.perf_counter() - began, commit_now()) | {"settings": settings})
    return read(place), desk_tokenizer()


def folder(seed: int = 0, out: Path | None = None) -> Path:
    """Where the policy of a seed lies: the shipped one in data/, the others in the cache; below `out` where a run was told so."""
    if out is not None:
        return out / f"{NAME}_seed{seed}"
    return data_dir() / "policies" / NAME if seed == 0 else cache_dir() / "policies" / f"{NAME}_seed{seed}"


def verify() -> list[dict[str, Any]]:
    """Hash the files of every policy that ships: rows {name, ok, problem}."""
    rows = []
    for place in sorted(path for path in (data_dir() / "policies").glob("*") if path.is_dir()):
        try:
            read(place)
        except LabError as error:
            rows.append({"name": place.name, "ok": False, "problem": str(error)})
        else:
            rows.append({"name": place.name, "ok": True, "problem": None})
    return rows


def read(place: Path) -> Decoder:
    """The policy in a folder, after a checksum. Raises LabError for a folder that is damaged, incomplete, or of another vocabulary."""
    remedy = f"get it again with git, or make it again with `llmsuite train {NAME}`"
    try:
        told = json.loads((place / PROVENANCE).read_text(encoding="utf-8"))["sha256"]
        if wrong := [name for name in (WEIGHTS, CONFIG) if sha256(place / name) != told[name]]:
            raise ValueError(f"{wrong[0]} has a wrong checksum")
        with torch_state_kept():  # the weights drawn here are replaced
            model = Decoder(TransformerConfig(**json.loads((place / CONFIG).read_text(encoding="utf-8"))))
        model.load_state_dict(load_tensors(place / WEIGHTS) | {"unembedding.weight": model.unembedding.weight.detach()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise LabError(f"the policy in {place} cannot be used ({(str(error).splitlines() or ['no reason given'])[0]}): {remedy}") from error
    if model.config.vocab_size != len(desk_tokenizer()):
        raise LabError(f"the policy in {place} knows {model.config.vocab_size} tokens and the desk has {len(desk_tokenizer())}: {remedy}")
    return model.eval()


def save(place: Path, model: Decoder, made: dict[str, Any]) -> Path:
    """Write a policy whole or not at all, with `made` (how) and the checksums. Returns the folder.

    Raises ValueError for weights that are not finite, LabError for a folder that holds what the course did not make.
    """
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "unembedding.weight"}  # the token embedding, once more
    if broken := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise ValueError(f"{len(broken)} of {len(state)} weights are not finite (first: {broken[0]}): nothing was written")
    with whole_folder(place, KIND) as new:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, new / WEIGHTS, metadata={"format": "pt"})
        (new / WEIGHTS).chmod(0o644)
        write_json(new / CONFIG, asdict(model.config))
        write_json(new / PROVENANCE, made | {"sha256": {name: sha256(new / name) for name in (WEIGHTS, CONFIG)}})
    return place


def train(seed: int, settings: Settings, *, progress: bool = False) -> tuple[Decoder, History, dict[str, Any]]:
    """(policy, history of both trainings in order, settings as plain data). Deterministic on one machine. Raises LabError when it is stopped."""
    whole("seed", seed, 0, 2**31)
    words = desk_tokenizer()
    sizes = (settings.d_model, settings.n_layers, settings.n_heads, settings.d_ff, settings.max_length)
    with seeded(seed):
        model = Decoder(llama_config(len(words), *sizes, scale_embedding=True))  # else the blocks drown the token at first, and copying is not learnt for long
    once = {"batch_size": settings.batch_size, "seed": seed, "warmup": 0.03, "progress": progress}
    histories = []
    for texts, steps, lr in (
        (pretraining_texts(settings, seed), settings.pretraining_steps, settings.pretraining_lr),
        (tuning_texts(settings, seed), settings.tuning_steps, settings.tuning_lr),
    ):
        histories.append(fit(model, _examples(words, texts), steps=steps, lr=lr, **once))
        if histories[-1].interrupted:
            raise LabError(f"stopped after {histories[-1].steps} of {steps} steps: nothing was written, the same call begins again")
    return model.eval(), _joined(histories), asdict(settings) | {"mixture": _MIXTURE, "weights": sum(p.numel() for p in model.parameters())}


def pretraining_texts(settings: Settings, seed: int) -> list[tuple[str, str]]:
    """(what is read, what is learnt): a record and the same in another order, or a prompt and the expert's answer."""
    rng, texts = Random(f"pre-training {seed}"), []
    for case in cases(settings.pretraining_steps * settings.batch_size, "train", seed):
        texts.append(_copied(case, rng) if rng.random() < settings.copies else (case.prompt, reply(case, "expert", rng)))
    return texts


def tuning_texts(settings: Settings, seed: int) -> list[tuple[str, str]]:
    """(prompt, reply) by agents in the proportions of the mixture, about other training cases."""
    rng = Random(f"tuning {seed}")
    return [(case.prompt, _drawn_reply(case, rng)) for case in cases(settings.tuning_steps * settings.batch_size, "train", seed + 1_000_000)]


def _copied(case: Case, rng: Random) -> tuple[str, str]:
    told = case.prompt.split(". ", 1)[0]
    fields = told.split(", ")
    return f"{told}.", f"{', '.join(rng.sample(fields, len(fields)))}."


def _drawn_reply(case: Case, rng: Random) -> str:
    return reply(case, rng.choices(list(_MIXTURE), list(_MIXTURE.values()))[0], rng)


def _examples(words: Any, texts: Sequence[tuple[str, str]]) -> list[Example]:
    prompts, replies = (encode(words, side) for side in zip(*texts, strict=True))
    return [Example(prompt, [*said, words.eos_token_id]) for prompt, said in zip(prompts, replies, strict=True)]


def _joined(histories: Sequence[History]) -> History:
    whole_run = History(sum(h.planned_steps for h in histories))
    for name in ("losses", "lrs", "grad_norms", "tokens", "supervised", "seconds"):
        getattr(whole_run, name).extend(value for h in histories for value in getattr(h, name))
    return whole_run


def answer(
    model: nn.Module, words: Any, prompts: Sequence[str], *, temperature: float = 0.0, seed: int = 0, max_new_tokens: int = MOST_NEW_TOKENS
) -> list[GeneratedRow]:
    """What the policy writes behind each prompt, 256 prompts at once: greedily, or sampled; `words.decode(row.ids)` is its text.

    Raises TypeError for a bare string, ValueError for an empty prompt, one too long, or settings that `transformer.sampling` refuses.
    """
    ids, sampling = encode(words, listed(prompts, "answer")), Sampling(temperature=temperature, seed=seed)
    rows = []
    for start in range(0, len(ids), 256):
        rows += generate(model, ids[start : start + 256], max_new_tokens, eos_ids=words.eos_token_id, sampling=sampling)
    return rows


def judged(words: Any, asked: Sequence[Case], rows: Sequence[GeneratedRow]) -> list[Judgement]:
    """The gold judge's view of each row."""
    return [judge(case, words.decode(row.ids)) for case, row in zip(asked, rows, strict=True)]


def summary(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Means of gold and its parts. Raises ValueError for none."""
    if not judgements:
        raise ValueError("there is nothing to take a mean of: the list of judgements is empty")
    names = ("gold", "helpful", "honest", "harmless", "invented", "rude", "waste", "extra", "polite")
    return {name: mean(getattr(one, name) for one in judgements) for name in names}


def copying(model: nn.Module, words: Any, asked: Sequence[Case]) -> dict[str, float]:
    """The share of records whose value is copied without a fault once the sentence is begun ("You paid" → "$35."), greedily, by field.

    Fields that none of the cases knows are left out.
    """
    begun = {field: wording.split("{")[0].strip() for field, wording in _BEGUN.items()}
    shares = {}
    for field, beginning in begun.items():
        known = [case for case in asked if case.record.get(field)]
        rows = answer(model, words, [f"{case.prompt} {beginning}" for case in known], max_new_tokens=8)
        said = [words.decode(row.ids) for row in rows]
        if known:
            shares[field] = mean(text.startswith(f"{case.record[field]}.") for case, text in zip(known, said, strict=True))
    return shares


_BEGUN = {
    "customer": wordings()["manners"]["greeting"][0], "product": wordings()["answers"]["product"][0], "order": wordings()["answers"]["order"][0],
    "status": wordings()["answers"]["status"][1], "day": wordings()["answers"]["day"][0], "sum": wordings()["answers"]["sum"][0],
}  # fmt: skip


def evaluate(model: nn.Module, words: Any, count: int = 2000, seed: int = 0) -> dict[str, Any]:
    """What a policy is worth on `count` test cases, as plain data.

    held_out_loss (nats a token, on the mixture's replies), greedy and sampled (at temperature 1): `summary`, and "ended", the share that ends with the
    end token; spread: of 4 samples a prompt (an eighth of the cases), the mean standard deviation of gold and the mean best; copying: `copying`.
    """
    whole("count", count, 8, 100_000)
    asked, rng = cases(count, "test"), Random(f"held out {seed}")
    found: dict[str, Any] = {"cases": count, "held_out_loss": _loss(model, _examples(words, [(case.prompt, _drawn_reply(case, rng)) for case in asked]))}
    prompts = [case.prompt for case in asked]
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        rows = answer(model, words, prompts, temperature=temperature, seed=seed)
        found[name] = summary(judged(words, asked, rows)) | {"ended": mean(row.end_id is not None for row in rows)}
    few = asked[: count // 8]
    draws = [judged(words, few, answer(model, words, prompts[: len(few)], temperature=1.0, seed=seed + 1 + n)) for n in range(4)]
    golds = [[one.gold for one in several] for several in zip(*draws, strict=True)]
    found["spread"] = {"sd": mean(map(pstdev, golds)), "best": mean(map(max, golds)), "mean": mean(map(mean, golds))}
    return found | {"copying": copying(model, words, asked)}


@torch.no_grad()
def _loss(model: nn.Module, examples: Sequence[Example]) -> float:
    total = count = 0.0
    with evaluating(model):
        for start in range(0, len(examples), 64):
            loss, n = supervised_loss(model, collate(examples[start : start + 64]))
            total, count = total + float(loss), count + n
    return total / count


def measure(run: Run, settings: Settings = SHIPPED) -> Outcome:
    """The recipe: train, score as it will be loaded, write it. Raises as `train` and `save`."""
    place = folder(run.seed, run.out)
    check_folder(place, KIND)
    model, history, made = train(run.seed, settings, progress=True)
    save(place, model, run.provenance(history.wall_s) | {"settings": made, "tokens": sum(history.tokens)})
    return Outcome(made, evaluate(read(place), desk_tokenizer(), seed=run.seed), history)
