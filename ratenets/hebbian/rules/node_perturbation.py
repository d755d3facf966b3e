"""Node perturbation: a unit finds out what its drive should be by changing it a little."""

from __future__ import annotations

from collections.abc import Sequence

from ratenets.hebbian.network import Activity, Network
from ratenets.hebbian.rules.perturbed import loss_changes, normal
from ratenets.hebbian.rules.rule import Batch, LayerGradient, Rule, outer


class NodePerturbation(Rule):
    """In a second pass all units have noise nu ~ N(0, sigma^2) on their pre-activations, each example its own,

        dW = - eta mean_b( (L~ - L) nu x^T ) / sigma^2 ,      db = - eta mean_b( (L~ - L) nu ) / sigma^2

    with L and L~ an example's loss without and with noise, x the input without (Le Cun, Galland & Hinton 1988; Widrow &
    Lehr 1990). Its mean over nu is the gradient, up to terms in sigma^2; its variance grows with the number
    of units. At a rate of 0.01 hidden weights on MNIST go for a random walk; at 1e-3 all activations learn.
    """

    learning_rates = (1e-3, 0.01)
    noise = True

    def gradients(self, network: Network, batch: Batch, activities: Sequence[Activity]) -> list[LayerGradient]:
        sigma = self.config.sigma
        nu = [normal(activity.a.shape, sigma, batch) for activity in activities]
        changes = loss_changes(network, batch, activities, lambda number, x: nu[number])[:, None] / sigma**2
        layers = zip(network.linear(), nu, activities, strict=True)
        return [outer(layer, changes * noise, activity.x) for layer, noise, activity in layers]
