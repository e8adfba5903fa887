"""Reports the form and size of each tensor in a compressed file."""

import dataclasses
from typing import Any

from kprune._support import tables


@dataclasses.dataclass(frozen=True)
class CompressedTensor:
    """Describes how one tensor is stored in a compressed file.

    Args:
        name: the path of the Keras variable, as `kprune.report` shows it; where a layer stores
            something else, the name that Keras stores it under.
        shape: the tensor's shape.
        kept: how many values are not zero.
        distinct: how many different values these have; `None` where they are more than 4,096.
        form: "raw", "codes", "sparse" or "sparse codes".
        bytes: what it takes in the file.
        dense_bytes: what its values take uncompressed.
        fixed_bytes: what the form would take with codes of one length in place of Huffman's.
    """

    name: str
    shape: tuple[int, ...]
    kept: int
    distinct: int | None
    form: str
    bytes: int
    dense_bytes: int
    fixed_bytes: int

    @property
    def bits(self) -> float:
        """Bits in the file for each value that is not zero."""
        return 8 * self.bytes / max(1, self.kept)


@dataclasses.dataclass(frozen=True)
class CompressedReport:
    """Describes what `save_compressed` wrote.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        path: the file.
        bytes: the size of the whole file, with the model's config.
        dense_bytes: what all tensors take uncompressed.
        tensors: one entry for each tensor.
    """

    path: str
    bytes: int
    dense_bytes: int
    tensors: tuple[CompressedTensor, ...]

    @property
    def ratio(self) -> float:
        """How many times smaller than its tensors the file is."""
        return self.dense_bytes / self.bytes

    def render(self) -> str:
        """Returns the report as a table."""
        rows = [
            [
                tensor.name,
                " x ".join(map(str, tensor.shape)) or "-",
                f"{tensor.kept:,}",
                "-" if tensor.distinct is None else f"{tensor.distinct:,}",
                tensor.form,
                f"{tensor.bits:.2f}",
                f"{tensor.bytes:,}",
            ]
            for tensor in self.tensors
        ]
        return tables.render(
            self.path,
            ["tensor", "shape", "kept", "values", "form", "bits", "bytes"],
            rows,
            f"bits: for each value kept. {self.bytes:,} bytes in all, {self.ratio:.2f}x smaller "
            f"than {self.dense_bytes:,} bytes of tensors",
        )

    __str__ = render

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON takes them."""
        return dataclasses.asdict(self)
