"""Lowers dropout rates during `fit` as the layers before them are pruned."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

from kprune._keras import dataflow, dropout_rates, fits, state, walk
from kprune._masking import filter_validation, filters, masked_weights
from kprune._masking.weight import Weight
from kprune._support import signatures, validation

__all__ = ["DropoutRatioAdjustment"]

_INITIAL_RATE = "initial_rate"


class DropoutRatioAdjustment(keras.callbacks.Callback):
    """Lowers each dropout rate as the layer that feeds it loses connections.

    Use it beside `Pruning`, and after it in the list: a sparse layer has less capacity to overfit
    and needs less dropout when it is retrained.

    `D_r = D_o * sqrt(C_r / C_o)`

    with `D_o` the rate and `C_o` the connections when the model was wrapped, `C_r` the connections
    now. The layers that feed a dropout layer are found by following its input backwards through the
    model's graph to the nearest masked layers. The train step reads the rates from variables, so a
    change costs no retrace; those of subclasses of `Dropout` with a `call` of their own do.
    The rates are logged as `dropout/<layer>`, and stay adjusted after the fit. The `dropout`
    argument of recurrent cells is not changed.

    Args:
        feeds: for the name of a dropout layer, a regex of the paths of the weights whose
            connections count. Default: those that the graph shows.

    Raises:
        TypeError: `feeds` is no mapping.
        ValueError: at the start of training, if the model is not wrapped, or `feeds` names no
            dropout layer or matches no weight.

    Example:
        >>> adjustment = kprune.callbacks.DropoutRatioAdjustment()
        >>> model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule), adjustment])

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    resumed: tuple[str, ...] = ()  # all follows from the masks and weights

    @signatures.explained
    def __init__(self, feeds: Mapping[str, str] | None = None) -> None:
        super().__init__()
        _validate_feeds(feeds)
        self.feeds = dict(feeds or {})
        self._sources: list[tuple[keras.layers.Dropout, list[Weight]]] = []
        self._loan = fits.Loan()
        self._set_rate: Callable[[keras.layers.Dropout, float], None] = _set_rate
        self._update: int | None = None  # the mask update that the rates are adjusted to

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds the weights that feed each dropout layer, and adjusts to their present masks."""
        masked_weights.require(self.model)
        self._loan.close()
        self._sources = find_feeding_weights(self.model, self.feeds)
        self._update = None
        rates = dropout_rates.read_from_variables([layer for layer, _ in self._sources])
        self._set_rate = self._loan.enter(self.model, rates)
        self._adjust()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adjusts the rates, to masks too that another callback has restored."""
        self._update = None
        self._adjust()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Adjusts the rates if the masks have changed."""
        self._adjust()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves the rates as they are, and the layers to Keras."""
        self._loan.close()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the rates."""
        if logs is not None:
            logs.update({f"dropout/{layer.name}": layer.rate for layer, _ in self._sources})

    def _adjust(self) -> None:
        if self._update == masked_weights.count_updates(self.model):
            return
        self._update = masked_weights.count_updates(self.model)
        for layer, weights in self._sources:
            initial = sum(weight.kept_at_wrap for weight in weights)
            present = sum(weight.kept() for weight in weights)
            rate = _get_initial_rate(layer) * math.sqrt(present / max(1, initial))
            self._set_rate(layer, rate)


def _set_rate(layer: keras.layers.Dropout, rate: float) -> None:
    layer.rate = rate


def _validate_feeds(feeds: object) -> None:
    """Raises TypeError or ValueError if `feeds` is no mapping from layer to regex."""
    if feeds is None:
        return
    if not isinstance(feeds, Mapping):
        raise TypeError(
            f"feeds={validation.describe_kind(feeds)}; expected a mapping from the name of a "
            'dropout layer to a regex of weights. Write feeds={"dropout": "dense"}.'
        )
    for name, regex in feeds.items():
        filter_validation.validate_regex(regex, f"feeds[{name!r}]")


def find_feeding_weights(
    model: keras.Model, feeds: Mapping[str, str] | None = None
) -> list[tuple[keras.layers.Dropout, list[Weight]]]:
    """Returns each active dropout layer of a wrapped model with the weights that feed it.

    Layers that are not fed by masked weights are left out. If the inputs of the model are not known
    (a subclassed model with several), the masked layer that was defined last before it is taken.

    Args:
        model: a wrapped model.
        feeds: for the name of a dropout layer, a regex of weight paths, used in place of the graph.

    Raises:
        ValueError: `feeds` names no dropout layer, or a regex matches no weight.
    """
    layers = walk.layers(model)
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
    weights, feeds = masked_weights.require(model), feeds or {}
    names = [layer.name for layer in dropouts]
    for name in feeds:
        if name not in names:
            raise ValueError(
                f"feeds names {name!r}; expected dropout layers among {names}. "
                f"Write feeds={{{(names or ['dropout'])[0]!r}: {weights[0].path!r}}}."
            )
    traced = _trace_feeding_weights(model, dropouts, weights)
    result = []
    for layer in dropouts:
        sources = (
            traced.get(id(layer), [])
            if traced is not None
            else _find_weights_before(layers, layer, weights)
        )
        if layer.name in feeds:
            sources = [
                weight for weight in weights if filters.matches(feeds[layer.name], weight.location)
            ]
            if not sources:
                raise ValueError(
                    f"feeds[{layer.name!r}]={feeds[layer.name]!r} matches no masked weight; "
                    f"expected a regex of paths such as {weights[0].path!r}. "
                    f"Write feeds={{{layer.name!r}: {weights[0].path!r}}}."
                )
        if sources:
            result.append((layer, sources))
    return result


def _trace_feeding_weights(
    model: keras.Model, dropouts: list[Any], weights: list[Weight]
) -> dict[int, list[Weight]] | None:
    """Follows the input of each dropout layer back to masked layers."""
    owners: dict[int, tuple[Any, list[Weight]]] = {}
    for weight in weights:
        # A recurrent cell runs inside the loop of its layer, so its layer is taken.
        rnn = [owner for owner in weight.location.owners if isinstance(owner, keras.layers.RNN)]
        owner = rnn[0] if rnn else weight.location.layer
        owners.setdefault(id(owner), (owner, []))[1].append(weight)
    if not dropouts:
        return {}
    masked = [owner for owner, _ in owners.values()]
    feeding = dataflow.find_feeding(model, masked, dropouts)
    if feeding is None:
        return None
    return {
        dropout: [weight for source in sources for weight in owners[source][1]]
        for dropout, sources in feeding.items()
    }


def _get_initial_rate(dropout: keras.layers.Dropout) -> float:
    """Returns the rate that a dropout layer had when it was first adjusted."""
    rate = state.get(dropout, _INITIAL_RATE)
    if rate is None:
        rate = dropout.rate
        state.put(dropout, _INITIAL_RATE, rate)
    return float(rate)


def _find_weights_before(layers: list[Any], layer: Any, weights: list[Weight]) -> list[Weight]:
    """Returns the weights of the masked layer that was defined last before this one."""
    place = {id(layer): position for position, layer in enumerate(layers)}
    earlier = [w for w in weights if place[id(w.location.layer)] < place[id(layer)]]
    return [w for w in earlier if w.location.layer is earlier[-1].location.layer]
