"""Exact match after the course's strict normalisation, as a metric that `evaluate.load` reads from this folder."""

import datasets
import evaluate

from llmsuite_lab.core import metrics

_DESCRIPTION = """True where prediction and reference are the same answer: numbers by value, yes and no strictly, never a substring."""


class ExactMatch(evaluate.Metric):
    """Exact match, one list entry per pair."""

    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description=_DESCRIPTION, citation="", inputs_description=_DESCRIPTION, features=features)

    def _compute(self, predictions, references):
        return {"exact_match": [metrics.exact_match(p, r) for p, r in zip(predictions, references)]}
