"""Whatever is put in the place of an argument, alignment answers with a sentence (see tests/bad_input.py)."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import torch

from llmsuite_lab.alignment import ppo, small_policy
from llmsuite_lab.alignment.actions import action_mask
from llmsuite_lab.alignment.own_methods import LastGood
from llmsuite_lab.alignment.own_pairs import OwnPair
from llmsuite_lab.alignment.pairs import Pair, collate_pairs
from llmsuite_lab.alignment.q_learning import Logged, QHeads
from llmsuite_lab.alignment.rest import Ledger, Weighted
from llmsuite_lab.alignment.rest import Settings as RestSettings
from llmsuite_lab.alignment.reward_model import RewardModel, save
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, Rollouts
from llmsuite_lab.alignment.run_log import RunLog
from llmsuite_lab.alignment.settings import Progress, Settings
from llmsuite_lab.alignment.watch import Watch
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import GeneratedRow
from llmsuite_lab.world.preferences import cases, judge
from llmsuite_lab.world.preferences_files import PairsFile, Preference

_conftest = importlib.util.spec_from_file_location("tiny_policies", Path(__file__).with_name("conftest.py"))
models = importlib.util.module_from_spec(_conftest)
_conftest.loader.exec_module(models)

LEFT_OUT = {
    "alignment.figures.live": "draws the progress that ppo.train returns, while it runs: test_records.py",
    "alignment.records": "reads the records of runs that are made in the background; what it refuses is in test_records.py",
    "alignment.arms": "the inside of the recipes: tunes by the methods that are fed here; what it refuses itself is in test_comparing.py",
    "alignment.benches": "the inside of the recipes: its parts are fed here; what it refuses itself is in test_comparing.py",
    "alignment.comparing": "the inside of the recipes: judges by the parts that are fed here; what it refuses itself is in test_comparing.py",
    "alignment.controls": "the inside of the recipes: rewards and labels that know nothing: test_comparing.py",
    "alignment.at_scale": "the inside of a recipe, made of comparing's parts: test_at_scale.py",
    "alignment.align": "trains a model; its file, folder and options are checked before anything runs: test_align.py",
    "alignment.align_card": "the last step of align, which makes what it is given: test_align.py",
    "alignment.own_reward": "trains and judges a reward model; its parts are fed by their own names: test_align.py",
    "alignment.own_methods.run_dpo": "a method under align, which checks its settings before: test_align.py",
    "alignment.own_methods.run_ppo": "a method under align, which checks its settings before: test_align.py",
    "alignment.own_methods.run_rest": "a method under align, which checks its settings before: test_align.py",
    "alignment.own_methods.Work": "what align gives a method",
    "alignment.measuring.make_reward_model": "trains; what it is made of is fed by its own names",
    "alignment.measuring.labelled_pairs": "needs the desk's words and a policy of them: test_measuring.py",
    "alignment.measuring.verdict": "needs the desk's words and a policy of them: test_measuring.py",
    "alignment.small_policy.measure": "the recipe: train, save, read and evaluate, each fed by itself",
    "alignment.small_policy.load": "trains a policy for any seed that is none yet; what it refuses is in test_small_policy.py",
    "alignment.update": "the inside of an iteration of ppo.train, which checks settings, prompts and reward before",
}
METRICS = {"score_sd": 1.0, "score": 0.0, "empty": 0.0, "kl": 1.0, "return_variance": 1.0, "value_loss": 1.0}


def valid(folder, call, tokenizer):
    """Valid calls, where the signature does not say enough."""

    def fresh():
        return models.make()

    def fresh_lora():
        return add_lora(models.make(), ["W_Q"], rank=2)

    def fresh_critic():
        return ActorCritic(models.make())

    def reward(replies):
        return torch.tensor([float(len(reply.completion_ids)) for reply in replies])

    def fresh_rollouts():
        return Rollouts(replies, torch.tensor([True, False]), torch.zeros(2), mask, *(torch.zeros(2, 2) for _ in range(4)))

    def fresh_heads():
        return QHeads(models.make())

    def fresh_reward_model():
        return RewardModel(models.make())

    def fresh_policy():
        return Decoder(llama_config(len(desk), 16, 1, 2, 24, 128))

    preferred = Preference("a", "b", "c", where="pairs.jsonl, line 1")
    desk, case, least = small_policy.desk_tokenizer(), cases(1, "test")[0], small_policy.Settings(8, 1, 1, 8, 128, 1, 1, 2)
    pairs, saved = [Pair([5, 6], [7, models.END], [8, 9, models.END])], folder / "reward model"
    save(fresh_reward_model(), saved)
    prompts, few = [[5, 6], [8]], Settings(iterations=1, prompts=2, max_new_tokens=2, minibatches=1, epochs=1)
    reference = Reference.frozen(models.make())
    trained = call(fresh_critic, reference, reward, prompts, few, end_id=1)
    replies = [Example([5, 6], [7, models.END]), Example([8], [9])]
    log, once = [Logged(replies[0], 1.0)], RestSettings(prompts=2, replies=2, max_new_tokens=2)
    mask, grid = action_mask([2, 1]), torch.zeros(2, 2)
    return {
        "alignment.a2c.train": trained,
        "alignment.advantages.gae": call(grid, grid, mask),
        "alignment.advantages.grpo": call(torch.zeros(2, 2)),
        "alignment.advantages.rloo": call(torch.zeros(2, 2)),
        "alignment.advantages.token_rewards": call(torch.zeros(2), grid, mask),
        "alignment.advantages.whiten": call(grid, mask),
        "alignment.actions.reply_logprobs": call(fresh, replies),
        "alignment.actions.check_replies": call(replies),
        "alignment.dpo.accuracy": call(fresh, reference, pairs),
        "alignment.dpo.dpo_loss": call(*(torch.zeros(2) for _ in range(4))),
        "alignment.dpo.Referenced": call(pairs[0], -1.0, -2.0),
        "alignment.dpo.ReferencedBatch": call(replies, torch.zeros(1), torch.zeros(2, 1)),
        "alignment.dpo.each": call(fresh, reference, pairs),
        "alignment.dpo.implicit_rewards": call(fresh, reference, replies),
        "alignment.dpo.measure": call(fresh, reference, pairs),
        "alignment.dpo.referenced": call(reference, pairs),
        "alignment.dpo.train": call(fresh, reference, pairs, progress=False),
        "alignment.measuring.distinct": call(["a b"]),
        "alignment.measuring.gold": call(cases(1, "test"), replies[:1], small_policy.desk_tokenizer()),
        "alignment.measuring.kl_and_entropy": call(fresh, reference, replies),
        "alignment.measuring.prompts": call(cases(1, "test"), tokenizer),
        "alignment.measuring.text_ids": call(replies[0], 1),
        "alignment.own_methods.LastGood": call(fresh_lora),
        "alignment.own_methods.LastGood.put_back": call(on=lambda: LastGood(fresh_lora())),
        "alignment.own_methods.LastGood.updated": call(on=lambda: LastGood(fresh_lora())),
        "alignment.own_methods.micro": call(pairs),
        "alignment.own_pairs.OwnPair": call(preferred, pairs[0], False),
        "alignment.own_pairs.overlaps": call([OwnPair(preferred, pairs[0], False)], [OwnPair(preferred, pairs[0], False)]),
        "alignment.own_pairs.prompts": call([OwnPair(preferred, pairs[0], False)], 4),
        "alignment.own_pairs.ready": call(PairsFile([preferred], [], ""), tokenizer, 40),
        "alignment.run_log.RunLog": call(folder / "log", "dpo", print),
        "alignment.run_log.RunLog.before": call(on=lambda: RunLog(folder / "log", "dpo", print)),
        "alignment.run_log.RunLog.table": call(on=lambda: RunLog(folder / "log", "dpo", print)),
        "alignment.run_log.RunLog.update": call([{"loss": 0.5}], 2, on=lambda: RunLog(folder / "log", "dpo", lambda text: None)),
        "alignment.run_log.RunLog.write": call(folder / "written", on=lambda: RunLog(folder / "log", "dpo", print)),
        "alignment.run_log.picture": call([{"loss": 0.5}], "dpo"),
        "alignment.pairs.Pair": call([5], [6, 1], [7, 1]),
        "alignment.pairs.PairBatch": call(replies, torch.zeros(1)),
        "alignment.pairs.PairBatch.halves": call(torch.zeros(4), on=lambda: collate_pairs(pairs)),
        "alignment.pairs.check_pairs": call(pairs, fresh),
        "alignment.pairs.collate_pairs": call(pairs),
        "alignment.pairs.encode": call([SimpleNamespace(prompt="a", chosen="b", rejected="c", margin=None)], tokenizer),
        "alignment.reward_model.RewardModel": call(fresh),
        "alignment.reward_model.RewardModel.of": call(fresh),
        "alignment.reward_model.RewardModel.forward": call(replies, on=fresh_reward_model),
        "alignment.reward_model.RewardModel.normalise": call(replies, on=fresh_reward_model),
        "alignment.reward_model.RewardModel.rewards": call(replies, on=fresh_reward_model),
        "alignment.reward_model.accuracy": call(fresh_reward_model, pairs),
        "alignment.reward_model.bradley_terry": call(torch.zeros(2), torch.zeros(2)),
        "alignment.reward_model.calibration": call(fresh_reward_model, pairs, 1),
        "alignment.reward_model.load": call(fresh_reward_model, saved),
        "alignment.reward_model.margins": call(fresh_reward_model, pairs),
        "alignment.reward_model.pair_loss": call(fresh_reward_model, collate_pairs(pairs)),
        "alignment.reward_model.save": call(fresh_reward_model, folder / "saved"),
        "alignment.reward_model.train": call(fresh_reward_model, pairs, progress=False),
        "alignment.best_of_n.best": call(torch.zeros(2, 3)),
        "alignment.best_of_n.choose": call(fresh, reward, prompts, 2, end_id=1, max_new_tokens=2),
        "alignment.best_of_n.curve": call(torch.zeros(2, 3), torch.zeros(2, 3), [1, 2]),
        "alignment.best_of_n.kl_bound": call(4),
        "alignment.q_learning.guided": call(fresh_heads),
        "alignment.q_learning.Logged": call(replies[0], 1.0),
        "alignment.q_learning.QHeads": call(fresh),
        "alignment.q_learning.Twins": call(torch.nn.Linear(24, 5), torch.nn.Linear(24, 5)),
        "alignment.q_learning.Twins.forward": call(torch.zeros(2, 24), on=lambda: QHeads(fresh(), twins=True).q),
        "alignment.q_learning.Twins.each": call(torch.zeros(2, 24), on=lambda: QHeads(fresh(), twins=True).q),
        "alignment.q_learning.QHeads.slow_q": call(torch.zeros(2, 24), on=fresh_heads),
        "alignment.q_learning.QHeads.follow": call(on=fresh_heads),
        "alignment.q_learning.expectile_loss": call(torch.zeros(2), 0.7),
        "alignment.q_learning.losses": call(fresh_heads, log),
        "alignment.q_learning.values": call(fresh_heads, replies),
        "alignment.q_learning.train": call(fresh_heads, log, progress=False),
        "alignment.rest.Ledger.as_dict": call(on=Ledger),
        "alignment.rest.Ledger.from_dict": call(Ledger().as_dict()),
        "alignment.rest.Weighted": call(replies[0], 1.0),
        "alignment.rest.keep": call(torch.arange(3.0), 0.5),
        "alignment.rest.train": call(fresh, reward, prompts, once, end_id=1, progress=False),
        "alignment.rest.weighted_loss": call(fresh, [Weighted(replies[0], 1.0)]),
        "alignment.rest.weights": call(torch.arange(3.0), 0.5),
        "alignment.rollouts.Reference.logprobs": call(replies, on=lambda: reference),
        "alignment.rollouts.width_of": call(fresh),
        "alignment.divergence.estimate": call(grid, grid, "k1"),
        "alignment.divergence.exact": call(grid, grid),
        "alignment.objectives.a2c_loss": call(grid, grid, mask),
        "alignment.objectives.clipped_loss": call(grid, grid, grid, mask),
        "alignment.objectives.clipped_value_loss": call(grid, grid, grid, mask),
        "alignment.objectives.entropy_bonus": call(grid, mask),
        "alignment.objectives.grpo_loss": call(grid, grid, grid, torch.zeros(2), mask),
        "alignment.objectives.rloo_loss": call(grid, grid, torch.zeros(2), mask),
        "alignment.parity.Compared": call("kl", grid, grid),
        "alignment.parity.compared": call("lam 1", "kl"),
        "alignment.ppo.adapted": call(1.0, 2.0, 1.0, 10, 100),
        "alignment.ppo.drawn": call(prompts, 1, 0, 0),
        "alignment.ppo.exact_divergence": call(fresh_critic, reference, fresh_rollouts),
        "alignment.ppo.train": trained,
        "alignment.rollouts.ActorCritic": call(fresh),
        "alignment.rollouts.ActorCritic.values": call(ppo.score(models.make(), replies), on=fresh_critic),
        "alignment.rollouts.Reference": call(models.make(), False),
        "alignment.rollouts.Reference.frozen": call(fresh),
        "alignment.rollouts.Reference.without_adapters": call(fresh_lora),
        "alignment.rollouts.Reference.score": call(replies, on=lambda: reference),
        "alignment.rollouts.Rollouts": call(replies, torch.tensor([True, False]), torch.zeros(2), mask, grid, grid, grid, grid),
        "alignment.rollouts.Rollouts.rows": call([1, 0], on=fresh_rollouts),
        "alignment.rollouts.collect": call(fresh_critic, reference, reward, prompts, end_id=1, max_new_tokens=2),
        "alignment.rollouts.scored_once": call(reward, replies),
        "alignment.rollouts.write": call(fresh, prompts, end_id=1, max_new_tokens=2),
        "alignment.settings.Progress.column": call("kl", on=Progress),
        "alignment.settings.Progress.total": call("tokens", on=Progress),
        "alignment.settings.Progress.from_dict": call(Progress().as_dict()),
        "alignment.small_policy.answer": call(fresh_policy, desk, [case.prompt]),
        "alignment.small_policy.copying": call(fresh_policy, desk, [case]),
        "alignment.small_policy.evaluate": call(fresh_policy, desk, 8),
        "alignment.small_policy.judged": call(desk, [case], [GeneratedRow([5, 6], "length")]),
        "alignment.small_policy.pretraining_texts": call(least, 0),
        "alignment.small_policy.read": call(small_policy.save(folder / "policy", fresh_policy(), {})),
        "alignment.small_policy.save": call(folder / "another policy", fresh_policy, {}),
        "alignment.small_policy.summary": call([judge(case, "It is sent.")]),
        "alignment.small_policy.train": call(0, least),
        "alignment.small_policy.tuning_texts": call(least, 0),
        "alignment.watch.Watch.trouble": call(METRICS, on=Watch),
        "alignment.actions.Actions": call(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2, 3), mask),
        "alignment.actions.entropies": call(torch.zeros(2, 3).log_softmax(-1)),
        "alignment.actions.score": call(fresh, replies),
        "alignment.actions.action_mask": call([2, 1]),
        "alignment.actions.grid": call(torch.zeros(3), mask),
        "alignment.actions.masked_mean": call(torch.zeros(2, 2), mask),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tiny_tokenizer, tmp_path, monkeypatch):
    bad_input.check("llmsuite_lab.alignment", tmp_path, monkeypatch, valid=valid(tmp_path, bad_input.call, tiny_tokenizer), left_out=LEFT_OUT)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.alignment", tmp_path, monkeypatch, left_out=LEFT_OUT)
