"""ROUGE-1, -2 and -L per pair of texts, as a metric that `evaluate.load` reads from this folder: no hub, no network.

One import per line: evaluate looks for a module's needs with a regular expression that stops at the first name of a line.
"""

import datasets
import evaluate
from nltk.stem import porter
from rouge_score import rouge_scorer

from llmsuite_lab.core import text

_CITATION = (
    """Chin-Yew Lin. 2004. ROUGE: A Package for Automatic Evaluation of Summaries. In Text Summarization Branches Out, pages 74-81."""
)
_DESCRIPTION = (
    """F1 of shared unigrams (rouge1), bigrams (rouge2) and of the longest common subsequence (rougeL), with rouge-score underneath."""
)
_INPUTS = """predictions: list of texts; references: list of texts of the same length; use_stemmer: Porter stems before comparing."""
KINDS = ["rouge1", "rouge2", "rougeL"]


class Words:
    """The words of a text in any script, those of English as rouge-score's own tokenizer cuts and stems them."""

    def __init__(self, use_stemmer):
        self.stemmer = porter.PorterStemmer() if use_stemmer else None

    def tokenize(self, written):
        found = text.words(written)
        return [self.stemmer.stem(word) if len(word) > 3 and word.isascii() else word for word in found] if self.stemmer else found


class Rouge(evaluate.Metric):
    """ROUGE F1 scores, one list entry per pair."""

    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description=_DESCRIPTION, citation=_CITATION, inputs_description=_INPUTS, features=features)

    def _compute(self, predictions, references, use_stemmer=False):
        scorer = rouge_scorer.RougeScorer(KINDS, tokenizer=Words(use_stemmer))
        scores = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, references)]
        return {kind: [float(score[kind].fmeasure) for score in scores] for kind in KINDS}
