"""Keeps masked kernels sparse where LoRA adds a product of two matrices to them.

Keras computes with `kernel + s A B`, and saves that sum. `A B` is dense, so a pruned layer would be
dense again in what it computes and in its files. While a layer is wrapped, the sum is put on the
mask: `where(mask, kernel + s A B, 0)`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from kprune._keras import backend, borrowing, compiled
from kprune._masking.weight import Weight

BORROWED = "call", "save_own_variables"  # what uses the sum


def follow(weight: Weight) -> contextlib.ExitStack:
    """Keeps the sum of a masked kernel on its mask, from now on or from `enable_lora` on.

    Returns:
        A stack that ends it when it is closed; empty for layers without LoRA.
    """
    layer, stack = weight.location.layer, contextlib.ExitStack()
    if not hasattr(layer, "enable_lora") or _find_attribute(weight) is None:
        return stack

    def put_on_mask() -> None:
        for name in BORROWED:
            change = functools.partial(_on_mask, weight)
            stack.enter_context(borrowing.patched(layer, name, change))

    def replace(enable: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(enable)
        def enable_lora(*args: Any, **kwargs: Any) -> None:
            enable(*args, **kwargs)
            put_on_mask()
            compiled.forget(layer)

        return enable_lora

    if getattr(layer, "lora_enabled", False):
        put_on_mask()
    else:
        stack.enter_context(borrowing.patched(layer, "enable_lora", replace))
    return stack


def fold(weights: Sequence[Weight]) -> None:
    """Adds the product to each masked kernel, on its mask, and sets the second matrix to zero.

    What the layers compute stays what it was.
    """
    for weight in weights:
        product = _product(weight)
        if product is not None:
            values = backend.read(weight.variable) + backend.to_numpy(product)
            weight.write(values=values)
            second = _matrices(weight)[1]
            second.assign(ops.zeros_like(second))


@contextlib.contextmanager
def folded(weights: Sequence[Weight]) -> Iterator[None]:
    """Folds the products into the kernels for the duration of a block."""
    adapted = [weight for weight in weights if _product(weight) is not None]
    changed = [each for weight in adapted for each in (weight.variable, _matrices(weight)[1])]
    before = [(variable, backend.copy(variable)) for variable in changed]
    fold(adapted)
    try:
        yield
    finally:
        for variable, values in before:
            variable.assign(values)


def _on_mask(weight: Weight, method: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method during which the layer's kernel makes the sum lie on the mask."""
    layer, name = weight.location.layer, _find_attribute(weight)

    @functools.wraps(method)
    def masked(*args: Any, **kwargs: Any) -> Any:
        product = _product(weight)
        if product is None:
            return method(*args, **kwargs)
        # Keras adds the product to this: the kernel where the mask is true, and 0 elsewhere.
        mask, kernel = weight.mask.value, ops.convert_to_tensor(weight.variable)
        cancelling = ops.where(mask, kernel, -ops.cast(product, kernel.dtype))
        with borrowing.patched(layer, str(name), lambda _: cancelling):
            return method(*args, **kwargs)

    return masked


def _find_attribute(weight: Weight) -> str | None:
    """Returns the attribute of its layer under which a variable is, such as `_kernel`."""
    held = vars(weight.location.layer)
    return next((name for name, value in held.items() if value is weight.variable), None)


def _matrices(weight: Weight) -> tuple[keras.Variable, keras.Variable]:
    layer, name = weight.location.layer, weight.variable.name
    return getattr(layer, f"lora_{name}_a"), getattr(layer, f"lora_{name}_b")


def _product(weight: Weight) -> Any:
    """Returns `s A B`, or `None` where LoRA is not enabled."""
    layer = weight.location.layer
    if not getattr(layer, "lora_enabled", False):
        return None
    first, second = _matrices(weight)
    return layer.lora_alpha / layer.lora_rank * ops.matmul(first, second)
