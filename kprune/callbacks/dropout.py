"""Dropout that shrinks with the layer that feeds it."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kprune._keras import compiled, graphs, hooks, state, walk
from kprune._masking import locations, masked_weights
from kprune._masking.weight import Weight

_INITIAL_RATE = "initial_rate"


class DropoutRatioAdjustment(keras.callbacks.Callback):
    """Lowers each dropout rate as the layer that feeds it loses connections.

    Use it beside `Pruning`, and after it in the list: a sparse layer has less capacity to overfit
    and needs less dropout when it is retrained.

    `D_r = D_o * sqrt(C_r / C_o)`

    with `D_o` the rate and `C_o` the connections when the model was wrapped, `C_r` the connections
    now. What feeds a dropout layer is found by following its input backwards through the model's
    graph to the nearest masked layers. A rate that changes costs one retrace of the train step.
    The rates go into the logs as `dropout/<layer>`, and stay adjusted after the fit. The `dropout`
    argument of recurrent cells is not touched.

    Args:
        feeds: names of dropout layers and, for each, a regex of the paths of the weights whose
            connections count, where the graph is not to decide.

    Raises:
        ValueError: at the begin of training, where the model is not wrapped or `feeds` names no
            dropout layer or no weight.

    Example:
        >>> adjustment = kprune.callbacks.DropoutRatioAdjustment()
        >>> model.fit(x, y, callbacks=[kprune.callbacks.Pruning(schedule), adjustment])

    Reference:
        Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015.
    """

    def __init__(self, feeds: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.feeds = dict(feeds or {})
        self._fed: list[tuple[keras.layers.Dropout, list[Weight]]] = []
        self._seen: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds what feeds each dropout layer, and adjusts to the masks that are there."""
        masked_weights.require(self.model)
        self._fed = find_feeding_weights(self.model, self.feeds)
        self._seen = None
        self._adjust()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Adjusts where the masks have changed."""
        self._adjust()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the rates into the logs."""
        if logs is not None:
            logs.update({f"dropout/{layer.name}": layer.rate for layer, _ in self._fed})

    def _adjust(self) -> None:
        if self._seen == masked_weights.count_updates(self.model):
            return
        self._seen = masked_weights.count_updates(self.model)
        changed = False
        for layer, sources in self._fed:
            before = sum(weight.kept_at_wrap for weight in sources)
            now = sum(weight.kept() for weight in sources)
            rate = _initial_rate(layer) * math.sqrt(now / max(1, before))
            changed |= not math.isclose(rate, layer.rate, rel_tol=1e-9)
            layer.rate = rate
        if changed:  # a Python number, read when the step is traced
            compiled.forget(*(layer for layer, _ in self._fed))


def find_feeding_weights(
    model: keras.Model, feeds: Mapping[str, str] | None = None
) -> list[tuple[keras.layers.Dropout, list[Weight]]]:
    """Returns each active dropout layer of a wrapped model with the weights that feed it.

    Layers that nothing masked feeds are left out. Where the model's inputs are not known (a
    subclassed model of several) the masked layer defined last before it counts.

    Args:
        model: a wrapped model.
        feeds: dropout layer names and regexes of weight paths that go before the graph.

    Raises:
        ValueError: `feeds` names no dropout layer, or none of the weights.
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
    found = []
    for layer in dropouts:
        sources = (
            traced.get(id(layer), [])
            if traced is not None
            else _find_weights_before(layers, layer, weights)
        )
        if layer.name in feeds:
            sources = [
                weight
                for weight in weights
                if locations.matches(feeds[layer.name], weight.location)
            ]
            if not sources:
                raise ValueError(
                    f"feeds[{layer.name!r}]={feeds[layer.name]!r} matches no masked weight; "
                    f"expected a regex of paths such as {weights[0].path!r}."
                )
        if sources:
            found.append((layer, sources))
    return found


def _trace_feeding_weights(
    model: keras.Model, dropouts: list[Any], weights: list[Weight]
) -> dict[int, list[Weight]] | None:
    """Follows each dropout's input back to masked layers, in a graph traced for the purpose."""
    specs = _find_input_specs(model)
    if specs is None or not dropouts:
        return None if dropouts else {}
    owners: dict[int, tuple[Any, list[Weight]]] = {}
    for weight in weights:
        # A recurrent cell runs inside a loop's own graph: its layer stands for it.
        rnn = [owner for owner in weight.location.owners if isinstance(owner, keras.layers.RNN)]
        owner = rnn[0] if rnn else weight.location.layer
        owners.setdefault(id(owner), (owner, []))[1].append(weight)
    made: dict[int, list[Weight]] = {}
    taken: dict[int, list[Any]] = {}
    alive = []  # tensors are told apart by id, so none may be freed meanwhile

    def note_outputs(owner: Any, args: Any, outputs: Any) -> None:
        for tensor in keras.tree.flatten(outputs):
            alive.append(tensor)
            made[id(tensor)] = owners[id(owner)][1]

    def note_inputs(dropout: Any, args: Any, outputs: Any) -> None:
        alive.append(args[0])
        taken.setdefault(id(dropout), []).append(args[0])

    masked = [owner for owner, _ in owners.values()]
    with hooks.observe_calls(masked, note_outputs), hooks.observe_calls(dropouts, note_inputs):
        tf.function(lambda inputs: model(inputs, training=True)).get_concrete_function(specs)
    found: dict[int, list[Weight]] = {}
    for layer, tensors in taken.items():
        queue, seen, sources = list(tensors), set(), {}
        while queue:
            tensor = queue.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if id(tensor) in made:
                sources.update({id(weight): weight for weight in made[id(tensor)]})
            else:
                queue += list(tensor.op.inputs)
        found[layer] = list(sources.values())
    return found


def _initial_rate(dropout: keras.layers.Dropout) -> float:
    """Returns the rate that a dropout layer had when it was first adjusted."""
    rate = state.get(dropout, _INITIAL_RATE)
    if rate is None:
        rate = dropout.rate
        state.put(dropout, _INITIAL_RATE, rate)
    return float(rate)


def _find_input_specs(model: keras.Model) -> Any:
    """Returns what the model is called with; `None` where it is not known."""
    arguments = graphs.call_arguments(model)
    if arguments is None or len(arguments) != 1:
        return None
    return keras.tree.map_structure(
        lambda x: tf.TensorSpec(x.shape, x.dtype, getattr(x, "name", None)), arguments[0]
    )


def _find_weights_before(layers: list[Any], layer: Any, weights: list[Weight]) -> list[Weight]:
    """The weights of the masked layer that was defined last before this one."""
    place = {id(layer): position for position, layer in enumerate(layers)}
    earlier = [w for w in weights if place[id(w.location.layer)] < place[id(layer)]]
    return [w for w in earlier if w.location.layer is earlier[-1].location.layer]
