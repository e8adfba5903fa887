"""What `save_compressed` tells of a file: each tensor's form and size."""

import dataclasses
from typing import Any

from kprune._support import tables


@dataclasses.dataclass(frozen=True)
class CompressedTensor:
    """How one tensor lies in a compressed file.

    Args:
        name: the path of the Keras variable; else where Keras stores it, such as
            "layers/dense/vars/0".
        shape: of the tensor.
        kept: how many values are not zero.
        distinct: how many different values these have; `None` where they are more than 4,096.
        form: "raw", "codes", "sparse" or "sparse codes".
        bytes: in the file.
        dense_bytes: of the tensor itself.
        fixed_bytes: what the form would take with codes of fixed lengths in place of Huffman's.
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
    """What `save_compressed` wrote.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        path: the file.
        bytes: of the whole file, with the model's config.
        dense_bytes: of all tensors as they are.
        tensors: one entry for each.
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
                each.name,
                " x ".join(map(str, each.shape)) or "-",
                f"{each.kept:,}",
                "-" if each.distinct is None else f"{each.distinct:,}",
                each.form,
                f"{each.bits:.2f}",
                f"{each.bytes:,}",
            ]
            for each in self.tensors
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
