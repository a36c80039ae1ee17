"""The two losses of LaMo: the action's squared error, and next-word prediction with the same trunk."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from lamo.trunk import Trunk


def action_loss(
    proposed: Tensor,  # [batch, timesteps, action_dim]
    actions: Tensor,  # [batch, timesteps, action_dim], as recorded
    attention_mask: Tensor,  # [batch, timesteps] bool
    timesteps: Tensor | None = None,  # []
) -> Tensor:  # []
    """Squared error averaged over the real timesteps and the action's dimensions.

    Args:
        timesteps: what the sum is divided by where these rows are a part of a batch; None for their own number.
    """
    errors = (proposed - actions).square().mean(dim=-1)  # [batch, timesteps]
    return (errors * attention_mask).sum() / (attention_mask.sum() if timesteps is None else timesteps)


def language_loss(
    trunk: Trunk,
    token_ids: Tensor,  # [blocks, tokens] int64
    wte: Tensor,  # [vocab_size, n_embd]
    wpe: Tensor | None,  # [n_positions, n_embd]
    words: int | None = None,
) -> Tensor:  # []
    """Cross-entropy of each next token, in nats per token, through the language model's own tied embedding.

    Args:
        trunk: with the updates that the policy trains; they are what the loss moves.
        wpe: added to the tokens as GPT-2 was pretrained; None as in the reference code of the paper.
        words: what the sum is divided by where these blocks are a part of a batch; None for the tokens predicted.
    """
    tokens = functional.embedding(token_ids[:, :-1], wte)  # [blocks, tokens - 1, n_embd]
    if wpe is not None:
        tokens = tokens + wpe[: tokens.shape[1]]
    logits = functional.linear(trunk(tokens), wte)  # [blocks, tokens - 1, vocab_size]
    following = token_ids[:, 1:].flatten()
    total = functional.cross_entropy(logits.flatten(0, 1), following, reduction="sum")
    return total / (following.numel() if words is None else words)
