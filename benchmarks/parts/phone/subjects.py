"""Lists the networks and prunings whose instructions are counted on the emulated phone."""

import dataclasses

import keras

import kprune

PATTERNS = {  # of the matrix [input, output] of a Keras kernel
    "unstructured": "unstructured",
    "4x1": kprune.patterns.Block((1, 4)),  # four outputs, as XNNPACK's 1x1 convolutions read them
    "1x4": kprune.patterns.Block((4, 1)),  # four inputs, as TFLite's FULLY_CONNECTED reads them
    "1x16": kprune.patterns.Block((16, 1)),  # the same in dynamic range
}
NATIVE = ("1x4", "1x16")
QUANTIZATIONS = {"float32": None, "dynamic": "dynamic"}
APPLICATIONS = ["MobileNet", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0"]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network, and how it is pruned and written, before its instructions are counted.

    Args:
        network: a name in `keras.applications`, or "fully connected N".
        padding: "symmetric" or "as it comes"; "" where there is none.
        pattern: a key of `PATTERNS`.
        batch: examples in one run.
        precision: a key of `QUANTIZATIONS`.
    """

    network: str
    padding: str
    pattern: str
    batch: int = 1
    precision: str = "float32"

    def build(self) -> keras.Model:
        """Returns the network with random weights."""
        keras.utils.set_random_seed(0)
        if self.network.startswith("fully"):
            width = int(self.network.split()[-1])
            return keras.Sequential([keras.Input((width,)), keras.layers.Dense(width)])
        model = getattr(keras.applications, self.network)(weights=None)
        return kprune.export.symmetric_padding(model) if self.padding == "symmetric" else model


def _connected(width: int, pattern: str, batch: int, precision: str = "float32") -> Subject:
    return Subject(f"fully connected {width}", "", pattern, batch, precision)


STUDIES: dict[str, list[Subject]] = {
    "mobilenet": [
        Subject("MobileNetV2", "symmetric", "unstructured"),
        Subject("MobileNetV2", "symmetric", "4x1"),
        Subject("MobileNetV2", "as it comes", "unstructured"),
    ],
    "fully_connected": [
        *(_connected(1024, "1x4", batch) for batch in (1, 2, 4, 8, 16)),
        *(_connected(width, "1x4", batch) for width in (512, 2048) for batch in (1, 16)),
        *(_connected(1024, "unstructured", batch) for batch in (1, 16)),
        *(_connected(1024, "1x16", batch, "dynamic") for batch in (1, 16)),
        *(_connected(2048, "1x16", batch, "dynamic") for batch in (1, 16)),
    ],
    "applications": [Subject(name, "symmetric", "unstructured") for name in APPLICATIONS],
}
