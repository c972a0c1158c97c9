"""Batch norm folded into the convolution before it, in networks that only predict."""

from collections import Counter
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cohobate.core import Batch, Losses, Method, Progress
from cohobate.modules import Frozen


def fold(method: Method, batch: Batch) -> int:
    """Folds the batch norms of a method's frozen networks, in place; returns how many.

    Which norm follows which convolution is seen in one pass over `batch`. It is first done to a
    copy: nothing is folded where that changes a loss by more than rounding.
    """
    twin = deepcopy(method).eval()
    if not any(_norms(part) for part in _frozen(twin)):
        return 0
    before, pairs = _watched(twin, batch)
    for names in pairs:
        _join(twin, *names)
    after = _losses(twin, batch)
    if any(not torch.allclose(before[k], after[k], rtol=1e-3, atol=1e-5) for k in before):
        return 0
    for names in pairs:
        _join(method, *names)
    return len(pairs)


def _frozen(method: nn.Module) -> list[nn.Module]:
    return [part for part in method.modules() if isinstance(part, Frozen)]


def _norms(part: nn.Module) -> list[nn.Module]:
    return [norm for norm in part.modules() if isinstance(norm, nn.BatchNorm2d)]


@torch.no_grad()
def _losses(method: Method, batch: Batch) -> Losses:
    with torch.random.fork_rng(
        range(torch.cuda.device_count())
    ):  # what is sampled is the same each time
        torch.manual_seed(0)
        return method(batch, Progress(10**6 - 1, 10**6, 10**6 - 1, 10**6))  # after any warm-up


def _watched(method: Method, batch: Batch) -> tuple[Losses, list[tuple[str, str]]]:
    """The losses, and the names of each convolution and of the norm that alone takes its output."""
    names = {part: name for name, part in method.named_modules()}
    made: list[tuple[Tensor, nn.Module]] = []  # the outputs are kept, so that none is another's
    met, calls = Counter[tuple[nn.Module, nn.Module]](), Counter[nn.Module]()

    def after(conv: nn.Module, _: Any, output: Tensor) -> None:
        made.append((output, conv))
        calls[conv] += 1

    def before(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        met.update((conv, norm) for output, conv in made if output is given[0])

    hooks = []
    for frozen in _frozen(method):
        hooks += [norm.register_forward_pre_hook(before) for norm in _norms(frozen)]
        convs = [part for part in frozen.modules() if isinstance(part, nn.Conv2d)]
        hooks += [conv.register_forward_hook(after) for conv in convs]
    losses = _losses(method, batch)
    for hook in hooks:
        hook.remove()
    pairs = [pair for pair, count in met.items() if calls[pair[0]] == calls[pair[1]] == count]
    return losses, [(names[conv], names[norm]) for conv, norm in pairs]


def _join(method: nn.Module, conv: str, norm: str) -> None:
    """The convolution with the norm's scale and shift; what else a norm of timm's does stays."""
    old = method.get_submodule(norm)
    fused = fuse_conv_bn_eval(method.get_submodule(conv), old)  # pyright: ignore[reportArgumentType]
    rest = [part for part in (getattr(old, name, None) for name in ("drop", "act")) if part]
    method.set_submodule(conv, fused)
    method.set_submodule(norm, nn.Sequential(*rest))
