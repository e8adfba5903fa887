"""Reports what a model costs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kprune import calibration
from kprune._keras import backend, models, walk
from kprune._masking import locations
from kprune._support import signatures, tables, validation
from kprune.budgets import _files, _operations
from kprune.budgets._files import FileCost
from kprune.export._inputs import inspection

__all__ = ["Costs", "FileCost", "LayerCost", "costs"]

PRECISIONS = ("float32", "float16", "dynamic", "int8")


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Args:
        path: the names of the layers around it, and its own.
        kind: its class.
        parameters: the values of its own variables.
        non_zeros: how many of them are not zero.
        macs: multiplications and additions for one sample.
        non_zero_macs: those with weights that are not zero.
    """

    path: str
    kind: str
    parameters: int
    non_zeros: int
    macs: int
    non_zero_macs: int


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a model costs; sums of its layers, and what was measured.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        model: the model's name.
        layers: what each layer with variables or products costs.
        activation_bytes: the most that one layer reads and writes, for one sample: the least memory
            that any runtime needs beside the weights.
        uncounted: paths of layers with matrices, or attention, whose own operations no rule counts.
        files: what TFLite files cost, by their precision; empty where none was asked for.
    """

    model: str
    layers: tuple[LayerCost, ...]
    activation_bytes: int
    uncounted: tuple[str, ...]
    files: dict[str, FileCost]

    @property
    def parameters(self) -> int:
        """The values of all variables."""
        return sum(each.parameters for each in self.layers)

    @property
    def non_zeros(self) -> int:
        """How many of them are not zero."""
        return sum(each.non_zeros for each in self.layers)

    @property
    def macs(self) -> int:
        """Multiplications and additions for one sample."""
        return sum(each.macs for each in self.layers)

    @property
    def non_zero_macs(self) -> int:
        """Those with weights that are not zero."""
        return sum(each.non_zero_macs for each in self.layers)

    def render(self) -> str:
        """Returns the costs as a table."""
        rows = [
            [
                each.path,
                f"{each.parameters:,}",
                f"{each.non_zeros:,}",
                f"{each.macs:,}",
                f"{each.non_zero_macs:,}",
            ]
            for each in (*self.layers, self._total())
        ]
        lines = [f"activations: {self.activation_bytes:,} bytes at least, for one sample"]
        lines += [f"{name}: {file.describe()}" for name, file in self.files.items()]
        if self.uncounted:
            lines.append(
                f"not counted: the operations of {', '.join(self.uncounted)}; to count them write "
                "kprune.budgets.COUNTERS[TheirClass] = counter"
            )
        columns = ["layer", "parameters", "non-zero", "MACs", "non-zero MACs"]
        return tables.render(f"costs of {self.model}", columns, rows, "\n".join(lines))

    def __str__(self) -> str:
        return self.render()

    def to_dict(self) -> dict[str, Any]:
        """Returns the costs as plain dictionaries, lists, strings and numbers."""
        sums = ("parameters", "non_zeros", "macs", "non_zero_macs")
        return {**{name: getattr(self, name) for name in sums}, **dataclasses.asdict(self)}

    def _total(self) -> LayerCost:
        sums = self.parameters, self.non_zeros, self.macs, self.non_zero_macs
        return LayerCost("all layers", "", *sums)


@signatures.explained
def costs(
    model: keras.Model,
    precisions: str | Sequence[str] = (),
    data: calibration.Data | None = None,
    *,
    batch_size: int = 1,
    threads: int = 1,
    seconds: float = 0.5,
    input_signature: Any = None,
) -> Costs:
    """Counts what a model costs: parameters, operations, memory, and TFLite files where asked.

    Use it before a budget is chosen, and after pruning, to see what was gained and where. It
    changes nothing. Operations are those of one sample, from one call of the model in inference
    mode; `kprune.budgets.COUNTERS` has the rule of each class of layers, and takes one for yours.
    Of `y = x W` and of a convolution that is

    `MACs = (outputs) x (inputs that each output sums)`,

    and products with a weight that is zero are left out of `non_zero_macs`. Biases, activations,
    normalisations and products that are not layers (`keras.ops.matmul`) are not counted. Axes of
    free length count as 32: write `input_signature` for another. It takes a pass over the weights
    and one call of the model; each file takes as long as `kprune.export.to_tflite`.

    Args:
        model: a built model, wrapped or not.
        precisions: "float32", "float16", "dynamic", "int8", or several: TFLite files whose bytes
            and milliseconds are measured. Default: none.
        data: what "int8" measures the range of activations on; as `representative_data` of
            `kprune.export.to_tflite`.
        batch_size: samples in a call that is timed. Default: 1.
        threads: of the interpreter that is timed. Default: 1.
        seconds: how long each file is timed; 0 for not at all.
        input_signature: a list with a nest of `keras.InputSpec` for each argument of the model's
            call, to fix axes of free length. Default: found from the model.

    Returns:
        The costs, layer by layer.

    Raises:
        TypeError: the model is not of Keras 3.
        ValueError: the model is not built, a precision is unknown, or "int8" has no data.
        ExportError: a file cannot be written.

    Example:
        >>> print(kprune.costs(model, ["float32", "dynamic"]))
    """
    call = "kprune.costs(model)"
    models.require_model(model, call)
    models.require_built(model, call)
    is_several = isinstance(precisions, Sequence) and not isinstance(precisions, str)
    names: list[Any] = list(precisions) if is_several else [precisions]
    for name in names:
        validation.require_choice(name, "precisions", PRECISIONS)
    validation.require_whole(batch_size, "batch_size", write=1)
    validation.require_whole(threads, "threads", write=1)
    validation.require_number(seconds, "seconds", write=0.5)
    if names:
        backend.require_tensorflow("kprune.costs with precisions of TFLite files")
    if "int8" in names and data is None:
        raise ValueError(
            'precisions has "int8" without data; expected what the model sees in use, to measure '
            'the range of activations. Write kprune.costs(model, ["int8"], x_train[:256]).'
        )
    signature = inspection.find_signature(model, input_signature)
    samples = _batch_size(model) or signature.batch_size or 1
    drawn = signature.draw(np.random.default_rng(0), samples)
    counts = _operations.count(
        model, signature.pack([keras.ops.convert_to_tensor(a) for a in drawn])
    )
    files = {
        name: _files.measure(model, name, data, batch_size, threads, seconds, input_signature)
        for name in names
    }
    places = {id(owners[-1]): locations.join_names(owners) for owners in walk.with_owners(model)}
    return Costs(
        model.name,
        tuple(_describe(model, counts, samples)),
        counts.activations // samples,
        tuple(places[id(each)] for each in counts.uncounted),
        files,
    )


def _batch_size(model: keras.Model) -> int | None:
    """Returns the number of samples that a model is made for, as a stateful one is."""
    specs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    return specs[0].shape[0] if specs else None


def _describe(model: keras.Model, counts: _operations.Counts, samples: int) -> list[LayerCost]:
    """Sums up the variables of each layer, each once, in the order of the layers.

    Args:
        model: the model.
        counts: of a call of it.
        samples: how many the call had.
    """
    found: list[LayerCost] = []
    seen: set[int] = set()
    for owners in walk.with_owners(model):
        layer = owners[-1]
        variables = [each for each in walk.variables(layer) if id(each) not in seen]
        seen.update(map(id, variables))
        arrays = [backend.read(each) for each in variables]
        macs = [counts.macs.get(id(each), 0) // samples for each in variables]
        non_zeros = [int(np.count_nonzero(each)) for each in arrays]
        kept = [
            round(count * there / max(1, each.size))
            for count, there, each in zip(macs, non_zeros, arrays, strict=True)
        ]
        products = counts.products.get(id(layer), 0) // samples
        if variables or products:
            found.append(
                LayerCost(
                    locations.join_names(owners),
                    type(layer).__name__,
                    sum(each.size for each in arrays),
                    sum(non_zeros),
                    sum(macs) + products,
                    sum(kept) + products,
                )
            )
    return found
