"""The recurrent network that attention replaced, with the same interface as our decoder, for comparison at equal size.

    i, f, o = σ(W_{i,f,o} [x_t; h_{t−1}]),   c_t = f ⊙ c_{t−1} + i ⊙ tanh(W_c [x_t; h_{t−1}]),   h_t = o ⊙ tanh(c_t)

Step t needs h_{t−1}: a sequence of n tokens is n steps one after the other, and what happened d tokens ago has passed through d updates.
Source: Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997 (with the forget gate of Gers et al. 2000). The cell is torch's own, `torch.nn.LSTM`.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.layers import Embedding, Linear, cross_entropy


class LSTMLanguageModel(nn.Module):
    """Embedding → `n_layers` LSTM layers of width `d_model` → logits. Raises ValueError for sizes below 1."""

    def __init__(self, vocab_size: int, d_model: int, n_layers: int) -> None:
        super().__init__()
        if min(vocab_size, d_model, n_layers) < 1:
            raise ValueError(f"vocab_size={vocab_size}, d_model={d_model}, n_layers={n_layers} must all be at least 1")
        self.embedding = Embedding(vocab_size, d_model)
        self.lstm = nn.LSTM(d_model, d_model, n_layers, batch_first=True)
        self.unembedding = Linear(d_model, vocab_size)

    def hidden_states(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """The last layer's h_t for every token."""
        return self.lstm(self.embedding(ids))[0]

    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocabulary"]:
        """Scores of every vocabulary entry as the next token."""
        return self.unembedding(hidden)

    def forward(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocabulary"]:
        """Logits for the token after each position."""
        return self.logits(self.hidden_states(ids))

    def loss(self, ids: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats per token, as `Decoder.loss`."""
        return cross_entropy(self(ids), targets)


def lstm_of_size(vocab_size: int, n_layers: int, parameters: int) -> LSTMLanguageModel:
    """The LSTM language model whose parameter count is nearest to `parameters`. Raises ValueError when even width 1 is larger."""

    def size(d: int) -> int:
        return 2 * vocab_size * d + vocab_size + n_layers * (8 * d * d + 8 * d)

    if size(1) > parameters:
        raise ValueError(f"an LSTM over {vocab_size} words has at least {size(1)} parameters, more than {parameters}")
    width = 1
    while size(width + 1) <= parameters:
        width += 1
    return LSTMLanguageModel(vocab_size, min((width, width + 1), key=lambda d: abs(size(d) - parameters)), n_layers)
