"""Ends what a callback has borrowed when its `fit` ends, by an exception too.

Keras calls no callback when a `fit` ends by an error or Ctrl-C. So each borrowing knows the frame
of its `fit`, and the functions by which every model that shares a layer begins to train, evaluate
or predict first end what belongs to a `fit` that runs no more.
"""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

import keras

from kprune._keras import borrowing, optimizers, state, walk

T = TypeVar("T")

_LOANS = "loans"


@dataclasses.dataclass(eq=False)
class Loan:
    """Contexts that a callback has entered for one `fit`.

    Example:
        >>> loan = Loan()
        >>> loan.enter(model, kprune.training.regularized(model, "l2"))  # in on_train_begin
        >>> loan.close()  # in on_train_end
    """

    _stack: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    _frame: FrameType | None = None

    def enter(self, model: keras.Model, context: contextlib.AbstractContextManager[T]) -> T:
        """Enters a context until `close`, or until the running `fit` is seen to have ended.

        Args:
            model: the model that is fitted.
            context: what to enter.

        Returns:
            What the context gives.
        """
        self._frame = _running_fit()
        try:
            return self._enter(model, context)
        except BaseException:
            self.close()
            raise

    def _enter(self, model: keras.Model, context: contextlib.AbstractContextManager[T]) -> T:
        for holder in walk.models_sharing([model]):
            state.put(holder, _LOANS, [*state.get(holder, _LOANS, ()), self])
            self._stack.callback(_remove, holder, self)
            for name in ("train", "test", "predict"):
                self._stack.enter_context(_ending_first(model, holder, f"make_{name}_function"))
        if getattr(model, "optimizer", None) is not None:
            inner = optimizers.innermost(model.optimizer)
            self._stack.enter_context(_ending_first(model, inner, "apply"))
        return self._stack.enter_context(context)

    def close(self) -> None:
        """Leaves what was entered, the last first."""
        self._frame = None
        self._stack.close()

    @property
    def is_over(self) -> bool:
        """Whether the `fit` has ended unnoticed, by an error."""
        return self._frame is not None and not _is_running(self._frame)


def end_dead(model: keras.layers.Layer) -> bool:
    """Ends what belongs to a `fit` of a model, or of one in it, that runs no more.

    Returns:
        Whether there was such a thing.
    """
    over = [
        loan
        for layer in walk.layers(model)
        for loan in state.get(layer, _LOANS, ())
        if loan.is_over
    ]
    for loan in over:
        loan.close()
    return bool(over)


def _ending_first(
    model: keras.Model, owner: Any, name: str
) -> contextlib.AbstractContextManager[None]:
    """Lets a method of an object first end what belongs to a `fit` of the model that is over."""

    def replace(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            if end_dead(model):
                return getattr(owner, name)(*args, **kwargs)  # without what has just ended
            return method(*args, **kwargs)

        return call

    return borrowing.patched(owner, name, replace)


def running_callbacks() -> list[keras.callbacks.Callback]:
    """Returns the callbacks of the `fit` around this call, in their order."""
    found = running_variable("callbacks")
    return list(getattr(found, "callbacks", None) or [])


def running_variable(name: str) -> Any:
    """Returns a local variable of the `fit` around this call, or `None`."""
    frame = _running_fit()
    return None if frame is None else frame.f_locals.get(name)


def _remove(model: keras.Model, loan: Loan) -> None:
    left = [each for each in state.get(model, _LOANS, ()) if each is not loan]
    if left:
        state.put(model, _LOANS, left)
    else:
        state.forget(model, _LOANS)


def _running_fit() -> FrameType | None:
    """Returns the frame of Keras's `fit` around this call, or `None` where another loop is."""
    for frame in _frames(sys._getframe()):
        if frame.f_code.co_name == "fit" and isinstance(frame.f_locals.get("self"), keras.Model):
            return frame
    return None


def _is_running(wanted: FrameType) -> bool:
    return any(frame is wanted for top in sys._current_frames().values() for frame in _frames(top))


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
