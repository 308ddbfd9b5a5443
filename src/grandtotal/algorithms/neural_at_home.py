"""What a retailer makes of shared weights at home: its own parameters, and perhaps its own network.

The parameters that stay at a retailer are found again from its rows with the shared ones as they
are, so that new customers or series need no other way. A network that goes on learning at home is
kept only where it was better on what came after the validation cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from grandtotal.algorithms.networks import Network
from grandtotal.algorithms.neural_local import Loaded, LocalTraining, Trainer, built
from grandtotal.consortium.query import Rows
from grandtotal.privacy.fixedpoint import Arrays, over, under


@dataclass(frozen=True)
class _Keeping:
    """A network of which some shared parameters, `local`, are now the retailer's own."""

    network: Network
    local: tuple[str, ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


@dataclass(frozen=True)
class AtHome:
    """local: settings of `LocalTraining`. seed: of parameters and orders.

    slower: by what the rate is multiplied where shared weights go on learning.
    """

    local: Mapping[str, Any] = field(default_factory=dict)
    slower: float = 0.3
    seed: int = 7

    def fitted(
        self, network: Network, weights: Arrays, rows: Rows, split: str, whole: bool = False
    ) -> Any:
        """Returns the module with these weights and the retailer's own parameters.

        whole: whether the shared weights go on learning too.
        """
        local = LocalTraining(**self.local)
        if whole:
            local = replace(local, rate=local.rate * self.slower)
        examples = network.examples(rows, split, False)
        module = built(network, examples.sizes, self.seed)
        trainer = Trainer(network, module, local, frozen=not whole)
        trainer.put(weights)
        if whole or trainer.keeps:
            trainer.train(Loaded.of(examples), None, self.seed)
        return module

    def with_own_items(
        self, network: Network, weights: Arrays, rows: Rows, split: str, own: tuple[str, ...]
    ) -> Arrays:
        """Returns these parameters after they alone went on learning, the others as they are."""
        keeping = cast(Network, _Keeping(network, own))
        examples = network.examples(rows, split, False)
        module = built(keeping, examples.sizes, self.seed)
        trainer = Trainer(keeping, module, LocalTraining(**self.local), frozen=True)
        trainer.put({name: array for name, array in weights.items() if name not in own})
        trainer.restore(over("own ", {name: weights[name] for name in own}))
        trainer.train(Loaded.of(examples), None, self.seed)
        return under("own ", trainer.kept())

    def better_whole(self, network: Network, weights: Arrays, rows: Rows, split: str) -> bool:
        """Returns whether a network of the retailer's own had less loss after the split's cut."""
        scored = Loaded.of(network.examples(rows, split, True))
        own, shared = (
            Trainer(network, self.fitted(network, weights, rows, split, whole), LocalTraining())
            for whole in (True, False)
        )
        return bool(own.losses(scored).sum() < shared.losses(scored).sum())
