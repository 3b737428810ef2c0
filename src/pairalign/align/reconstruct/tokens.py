"""Text: predict which tokens a caption holds, in any order.

Source: the bag-of-words loss of Zhao et al. 2017 (arXiv:1703.10960): a latent that can say the words holds
the content; their order would take a language model, and would teach the latent grammar.

Note:
    Every caption begins and ends alike and most say "a"; what the corpus frequency of tokens already explains is
    therefore taken off, and the score is the share of the remaining information that is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairalign.align.reconstruct.decoder import Decoder, mlp, relative

_BUCKETS = 8192
_SMOOTH = 0.01


def token_bags(ids: Tensor, vocabulary: int) -> Tensor:
    """Return the share of each token in each row of `ids` (B, L), as (B, vocabulary); id 0 is padding."""
    counts = torch.zeros(len(ids), vocabulary, device=ids.device)
    counts.scatter_add_(1, ids % vocabulary, (ids != 0).float())
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def token_error(logits: Tensor, bags: Tensor, spread: Tensor | None = None) -> Tensor:
    """Return the mean KL divergence of the predicted from the real bags over `spread`, a scalar.

    Args:
        logits: (B, V).
        bags: (B, V), rows that sum to 1, see `token_bags`; an all-zero row (an empty caption) scores 0.
        spread: the same divergence for the token frequencies of the corpus, in nats; default: those of this
            batch.
    """
    spread = _divergence(_frequencies(bags.mean(0)).log().expand_as(bags), bags) if spread is None else spread
    return relative(_divergence(logits.log_softmax(-1), bags), spread)


class TokenDecoder(Decoder):
    """Decodes (B, latent) to logits (B, V) over the tokens of a text signal (B, L), not to an ordered text.

    V is the vocabulary, at most 8,192: larger ones are folded by id modulo 8,192, which is enough to tell
    captions apart and keeps the last layer small.
    """

    kind = "tokens"

    def __init__(self, vocabulary: int, latent: int, hidden: int = 256) -> None:
        self.buckets = min(vocabulary, _BUCKETS)
        super().__init__((self.buckets,))
        self.net = mlp(latent, hidden, self.buckets)

    def deviation(self, latent: Tensor) -> Tensor:
        """Return (B, V), relative to the log frequencies."""
        return self.net(latent)

    def predict(self, latent: Tensor, spread: Tensor) -> Tensor:
        """Return logits (B, V)."""
        return _frequencies(self.mean).log() + self.deviation(latent)

    def score(self, predicted: Tensor, target: Tensor, spread: Tensor) -> Tensor:
        """See `token_error`."""
        return token_error(predicted, target, spread)

    def target(self, signal: Tensor) -> Tensor:
        """Return the bags (B, V) of token ids (B, L)."""
        return token_bags(signal, self.buckets)

    def batch_spread(self, target: Tensor) -> Tensor:
        """Return the divergence of the running frequencies from the bags, in nats."""
        known = torch.where(self.batches > 0, self.mean, target.mean(0))
        return self.share(_divergence(_frequencies(known).log().expand_as(target), target))

    def stand_in(self, target: Tensor) -> Tensor:
        """Return the divergence of equal frequencies."""
        return _divergence(_frequencies(torch.zeros_like(self.mean)).log().expand_as(target), target)


def _frequencies(mean: Tensor) -> Tensor:
    """Return positive frequencies (V,): a token not seen yet keeps a finite logarithm."""
    return (1 - _SMOOTH) * mean + _SMOOTH / len(mean)


def _divergence(log_probabilities: Tensor, bags: Tensor) -> Tensor:
    surprise = torch.xlogy(bags, bags) - bags * log_probabilities
    return surprise.sum(1).mean()
