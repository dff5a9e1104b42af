"""Public functions of jax-bitempered-loss, called: its gradient rules are audited where they are used."""

import jax
from common import normal, tried
from jax_bitempered_loss import loss

logits, labels = normal(5, 3), jax.nn.softmax(normal(5, 3, seed=1))
tried(
    lambda: loss.bi_tempered_logistic_loss(logits, labels, 0.8, 1.3),
    lambda: loss.bi_tempered_logistic_loss(logits, labels, 0.8, 0.7),
    lambda: loss.bi_tempered_binary_logistic_loss(logits[:, 0], labels[:, 0], 0.8, 1.3),
)
