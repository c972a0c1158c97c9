"""Tensors and options that are followed through a computation: what is made of them bears their names."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

Names = dict[str, None]
"""Names in the order in which they were met."""


class Followed(TorchDispatchMode):
    """Follows tensors while it is entered: what is made of a named one bears its name as well."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Any = WeakTensorKeyDictionary()

    def name(self, value: Any, *names: str) -> None:
        """Names all tensors in a value."""
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor):
                self.names[leaf] = dict.fromkeys(names)

    def of(self, value: Any) -> Names:
        """The names of all tensors in a value."""
        found = Names()
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor):
                found |= self.names.get(leaf, {})
        return found

    def add(self, value: Any, names: Iterable[str]) -> None:
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor):
                self.names[leaf] = self.names.get(leaf, {}) | dict.fromkeys(names)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if names := self.of((args, kwargs)):
            self.add(result, names)
        return result


class Option(float):
    """The value of an option that scales a loss; what is computed of it still knows which it was."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, value: float, names: tuple[str, ...]) -> "Option":
        option = cls(value)
        option.names = names
        return option


def _kept(operator: str) -> Callable[[Option, Any], Any]:
    plain = getattr(float, operator)

    def computed(self: Option, *others: Any) -> Any:
        result = plain(self, *others)
        names = [name for each in (self, *others) for name in getattr(each, "names", ())]
        return result if result is NotImplemented else Option.of(result, tuple(names))

    return computed


for _name in (
    "neg",
    *(side + name for name in ("add", "sub", "mul", "truediv") for side in ("", "r")),
):
    setattr(Option, f"__{_name}__", _kept(f"__{_name}__"))


class Weighed(TorchFunctionMode):
    """Hands the name of an option to what is computed of it and tensors."""

    def __init__(self, followed: Followed):
        super().__init__()
        self.followed = followed

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Option):
                self.followed.add(result, leaf.names)
        return result
