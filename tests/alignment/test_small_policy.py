"""The small policy: every text of the desk comes out of its tokenizer as it went in, what ships is what was made, and it is neither good nor hopeless."""

import json
from random import Random
from statistics import mean

import pytest
import torch

from llmsuite_lab.alignment import small_policy
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.small_policy import END, PAD, UNKNOWN, Settings
from llmsuite_lab.core import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.lm.text import encode
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import generate
from llmsuite_lab.transformer.sampling import Sampling
from llmsuite_lab.world.preferences import AGENTS, SPLITS, cases, judge, pairs, reply
from llmsuite_lab.world.preferences_values import wordings

LEAST = Settings(d_model=8, n_layers=1, n_heads=1, d_ff=8, max_length=128, pretraining_steps=3, tuning_steps=2, batch_size=4)


@pytest.fixture(scope="module")
def words():
    return small_policy.desk_tokenizer()


@pytest.fixture(scope="module")
def policy():
    return small_policy.load()[0]


# the vocabulary


@pytest.mark.parametrize("split", SPLITS)
def test_every_text_of_the_desk_comes_out_as_it_went_in(words, split):
    texts = [text for case in cases(400, split) for text in (case.prompt, *(reply(case, agent, Random(case.id)) for agent in AGENTS))]
    ids = encode(words, texts)
    assert [words.decode(row) for row in ids] == texts
    assert not any(words.unk_token_id in row for row in ids)
    assert not any(words.eos_token_id in row or words.pad_token_id in row for row in ids)


def test_every_name_there_can_be_is_known_by_its_syllables(words):
    names = [a + b for a in wordings()["beginnings"] for b in wordings()["endings"]]
    ids = encode(words, [f"Dear {name}." for name in names])
    assert [words.decode(row) for row in ids] == [f"Dear {name}." for name in names]
    assert {len(row) for row in ids} == {4}


def test_prompts_and_replies_are_short(words):
    prompts = [len(row) for row in encode(words, [case.prompt for case in cases(500, "test")])]
    said = [len(row) for row in encode(words, [reply(case, agent, Random(case.id)) for case in cases(500, "test") for agent in AGENTS])]
    assert 20 < mean(prompts) < 40
    assert 12 < mean(said) < 25
    assert max(prompts) + small_policy.MOST_NEW_TOKENS < Settings().max_length


@pytest.mark.parametrize("text", ["<end>", f"Hello {END} Mi", f"{PAD}{UNKNOWN}", "<end>.", "ende <end", "日本語", "x" * 500, "\u2581<end>", "Hello\nyou"])
def test_text_from_outside_never_becomes_a_control_token(words, text):
    (ids,) = encode(words, [text])
    assert words.eos_token_id not in ids
    assert words.pad_token_id not in ids


def test_a_word_from_outside_is_one_unknown_token(words):
    (ids,) = encode(words, ["Hello dear xylophones."])
    assert ids.count(words.unk_token_id) == 2
    assert words.decode(ids) == f"Hello {UNKNOWN} {UNKNOWN}".replace(f" {UNKNOWN}", UNKNOWN)


# the training


def test_two_trainings_are_one_and_another_seed_is_another():
    one, history, settings = small_policy.train(1, LEAST)
    two, _, _ = small_policy.train(1, LEAST)
    other, _, _ = small_policy.train(2, LEAST)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.embedding.token.weight, other.embedding.token.weight)
    assert history.steps == history.planned_steps == 5
    assert len(history.tokens) == 5
    assert settings["weights"] == sum(p.numel() for p in one.parameters())


def test_it_reads_training_cases_alone():
    trained = [text for part in (small_policy.pretraining_texts, small_policy.tuning_texts) for text in part(Settings(pretraining_steps=40), 0)]
    asked = {case.prompt for split in ("test", "validation") for case in cases(2000, split)}
    assert not asked & {prompt for prompt, _ in trained}
    brands = {case.record["product"].split()[0] for split in ("test", "validation") for case in cases(2000, split)}
    assert not any(brand in prompt for prompt, _ in trained[:300] for brand in brands)


def test_a_copied_record_says_the_same_in_another_order():
    copied = [(read, said) for read, said in small_policy.pretraining_texts(Settings(pretraining_steps=10, copies=1.0), 0)]
    assert all(sorted(read.rstrip(".").split(", ")) == sorted(said.rstrip(".").split(", ")) for read, said in copied)
    assert mean(read != said for read, said in copied) > 0.9


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"copies": 1.5}, {"tuning_steps": 2.5}])
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Settings(**wrong)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None, True])
def test_a_seed_that_is_none_is_refused_before_anything_is_trained(seed):
    with pytest.raises(ValueError, match="seed=.* must be a whole number"):
        small_policy.load(seed)


# the files


@pytest.fixture
def written(tmp_path, words):
    torch.manual_seed(0)
    model = Decoder(llama_config(len(words), 8, 1, 1, 8, 64)).eval()
    return model, small_policy.save(tmp_path / "policy", model, {"seed": 5})


def test_verify_hashes_what_ships_and_names_what_is_damaged(tmp_path, words, monkeypatch):
    assert small_policy.verify() == [{"name": "desk_policy", "ok": True, "problem": None}]
    monkeypatch.setattr(small_policy, "data_dir", lambda: tmp_path)
    assert small_policy.verify() == []
    place = small_policy.save(tmp_path / "policies" / "one", Decoder(llama_config(len(words), 8, 1, 1, 8, 64)), {})
    (place / "model.safetensors").write_bytes(b"x")
    (row,) = small_policy.verify()
    assert not row["ok"]
    assert "wrong checksum" in row["problem"]


def test_what_is_read_is_what_was_written(written):
    model, place = written
    again = small_policy.read(place)
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))
    assert again.unembedding.weight is again.embedding.token.weight
    assert not again.training


@pytest.mark.parametrize("name", [small_policy.WEIGHTS, small_policy.CONFIG, small_policy.PROVENANCE])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_folder_is_refused(written, name, damage):
    file = written[1] / name
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data[:-20] if damage == "cut" else data.replace(b"5", b"6").replace(b"\x3c", b"\x3d"))
    with pytest.raises(LabError, match="cannot be used .*llmsuite train desk_policy"):
        small_policy.read(written[1])


def test_a_policy_of_another_vocabulary_is_refused(tmp_path):
    place = small_policy.save(tmp_path / "policy", Decoder(llama_config(11, 8, 1, 1, 8, 64)), {})
    with pytest.raises(LabError, match="knows 11 tokens"):
        small_policy.read(place)


def test_weights_that_are_not_finite_are_not_kept(written, tmp_path):
    model, _ = written
    with torch.no_grad():
        model.embedding.token.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        small_policy.save(tmp_path / "broken", model, {})
    assert not (tmp_path / "broken").exists()


def test_a_folder_of_somebody_elses_stays(written, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    with pytest.raises(LabError, match="chapter.txt"):
        small_policy.save(tmp_path / "thesis", written[0], {})
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "mine"


def test_another_seed_comes_from_the_cache_and_is_made_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path))
    monkeypatch.setattr(small_policy, "SHIPPED", LEAST)
    one, _ = small_policy.load(7)
    assert "is trained now" in capsys.readouterr().out
    two, _ = small_policy.load(7)
    assert capsys.readouterr().out == ""
    assert torch.equal(one.embedding.token.weight, two.embedding.token.weight)
    made = json.loads((small_policy.folder(7) / small_policy.PROVENANCE).read_text())
    assert made["seed"] == 7
    assert small_policy.folder(7).is_relative_to(tmp_path)


# the policy that ships


def test_it_ships_small_with_how_it_was_made():
    place = small_policy.folder()
    assert sum(file.stat().st_size for file in place.iterdir()) < 2_000_000
    made = json.loads((place / small_policy.PROVENANCE).read_text())
    assert made["command"] == records.command(small_policy.NAME, 0)
    record = records.read(small_policy.NAME)
    assert record.settings == made["settings"]
    assert record.tokens == made["tokens"]


def test_it_is_a_quarter_of_a_million_weights(policy):
    assert 200_000 < sum(p.numel() for p in policy.parameters()) < 1_000_000
    assert {p.dtype for p in policy.parameters()} == {torch.float32}


def test_it_is_worse_than_the_expert_better_than_garbage_and_not_always_the_same(policy, words):
    asked = cases(240, "test", seed=5)
    prompts = [case.prompt for case in asked]
    draws = [small_policy.judged(words, asked, small_policy.answer(policy, words, prompts, temperature=1.0, seed=n)) for n in range(3)]
    gold = mean(one.gold for several in draws for one in several)
    garbage = mean(judge(case, " ".join(words.decode([Random(case.id + str(n)).randrange(3, len(words))]) for n in range(15))).gold for case in asked)
    assert garbage + 0.5 < gold < mean(judge(case, reply(case, "expert", Random(0))).gold for case in asked) - 0.5
    assert mean(max(one.gold for one in several) for several in zip(*draws)) > gold + 0.5
    assert mean(one.rude > 0 for one in draws[0]) > 0.03  # there is something to detoxify
    assert mean(one.honest == 0 for one in draws[0]) > 0.1  # and to make honest


def test_its_replies_end_and_come_out_of_the_vocabulary(policy, words):
    rows = small_policy.answer(policy, words, [case.prompt for case in cases(100, "test", seed=6)], temperature=1.0)
    assert mean(row.end_id == words.eos_token_id for row in rows) > 0.9
    texts = [words.decode(row.ids) for row in rows]
    assert mean(encode(words, [text])[0] == row.ids for text, row in zip(texts, rows)) > 0.95  # a rare row writes an ending where a name begins


def test_it_copies_names_and_numbers_that_it_never_saw(policy, words):
    asked = cases(150, "test", seed=7)
    shares = small_policy.copying(policy, words, asked)
    recorded = records.read(small_policy.NAME).results["copying"]
    for field in ("customer", "product", "order", "day", "sum"):
        assert shares[field] > 0.7, shares  # at random: below 0.01
        assert abs(shares[field] - recorded[field]) < 0.25


def test_sampling_is_the_same_for_the_same_seed(policy, words):
    prompts = [case.prompt for case in cases(20, "test")]
    one, two, other = (small_policy.answer(policy, words, prompts, temperature=1.0, seed=seed) for seed in (3, 3, 4))
    assert [row.ids for row in one] == [row.ids for row in two]
    assert [row.ids for row in one] != [row.ids for row in other]
    with pytest.raises(TypeError, match="takes a list"):
        small_policy.answer(policy, words, prompts[0])


def test_what_it_recorded_while_sampling_is_what_scoring_gives(policy, words):
    prompts = encode(words, [case.prompt for case in cases(12, "test")])
    rows = generate(policy, prompts, 64, eos_ids=words.eos_token_id, sampling=Sampling(temperature=1.0), logprobs=True)
    scored = score(policy, [Example(prompt, row.actions) for prompt, row in zip(prompts, rows)])
    recorded = torch.tensor([value for row in rows for value in row.model_logprobs])
    torch.testing.assert_close(scored.logprobs[scored.mask].detach(), recorded, rtol=1e-4, atol=1e-4)  # float32, other batches


def test_preferences_fit_its_context(words):
    for pair in pairs(300):
        prompt, chosen, rejected = encode(words, [pair.prompt, pair.chosen, pair.rejected])
        assert len(prompt) + max(len(chosen), len(rejected)) < Settings().max_length


def test_nothing_to_judge_has_no_mean():
    with pytest.raises(ValueError, match="empty"):
        small_policy.summary([])
