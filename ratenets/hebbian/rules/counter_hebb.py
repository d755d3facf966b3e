"""Counter-Hebb learning: a bottom-up and a top-down network whose counterpart units share what they learn."""

from __future__ import annotations

from ratenets.hebbian.rules.kolen_pollack import KolenPollack


class CounterHebb(KolenPollack):
    """The error enters the top-down network from above, passes its weights V, and where the counterpart bottom-up
    units are silent, gates are shut. Each synapse takes the product of what entered its two ends, bu from below and td
    from above, and so do W and V alike,

        td_L = p - t ,      td_l = f'(a_l) (V_{l+1} td_{l+1}) ,      dW = - eta mean_b( td bu^T ) ,      dV = dW^T

    (Abel & Ullman 2023, arXiv 2306.02415). For ReLU, f' is the gate [bu > 0]. V starts at random, or, with the setting
    `transposed`, as W^T: then it is backprop. Without decay, W - V^T stays as it is; with decay, it is Kolen-Pollack.
    See `ratenets.butd` for whole networks of the kind, with attention.
    """

    weight_decay = 0.0
