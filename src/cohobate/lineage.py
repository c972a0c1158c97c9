"""What the losses of a method are made of, found out by following the tensors of one step."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_type_hints

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from cohobate.core import Method, Progress, Weight
from cohobate.cost import ghost_of
from cohobate.followed import Followed, Names, Option, Weighed
from cohobate.models import Classifier
from cohobate.modules import Memory


class Term(NamedTuple):
    """A loss of a method, by the names of what it has to do with.

    weights: the options that scale it, or a part of it. sources: the taps, labels, memories and
    schedules that its value is made of. enters: the taps of networks that learn, or else the layers of
    the network that is deployed, at which its gradient enters them; it reaches whatever lies below.
    teaches: the parts whose parameters it reaches.
    """

    weights: list[str]
    sources: list[str]
    enters: list[str]
    teaches: list[str]


class Part(NamedTuple):
    """What a method adds to its network: a module or a parameter, by its name, that learns.

    sources, takes, gives: the taps that it is called with, the shapes of that, and of its result,
    without the batch; nothing where it is never called.
    """

    name: str
    parameters: int
    sources: list[str]
    takes: list[tuple[int, ...]]
    gives: list[tuple[int, ...]]


def lineage(method: Method, size: int) -> tuple[dict[str, Term], list[Part]]:
    """The losses of a method and its parts that learn, by a step on the meta device."""
    ghost, batch = ghost_of(method, size)
    followed = Followed()
    entries = dict[Any, str]()
    for path, network in networks(ghost):
        _follow(network, path, followed, entries)
    for path, module in ghost.named_modules():
        if isinstance(module, Memory):
            followed.name(module.rows, path)
    calls = _Calls(ghost, followed)
    now = torch.zeros((), device="meta")
    followed.name(now, "progress")
    followed.name(batch.targets, "labels")
    options = _weigh(ghost)
    with followed, Weighed(followed):
        losses = ghost.train()(batch, Progress(now, 1, now, 1))
    owners = {id(p): part for part, own in trained_parts(ghost).items() for p in own}
    inner = {id(p): path for path, p in ghost.model.net.named_parameters()}
    terms = {}
    for name, loss in losses.items():
        enters, direct, reached = _reached(loss, entries)
        enters += dict.fromkeys(inner[id(p)].partition(".")[0] for p in direct if id(p) in inner)
        teaches = [owners[id(p)] for p in reached if id(p) in owners]
        made = followed.of(loss)
        terms[name] = Term(
            [option for option in options if f"method.{option}" in made],
            [source for source in made if not source.startswith("method.")],
            enters,
            list(dict.fromkeys(teaches)),
        )
    return terms, list(calls.parts())


def trained_parts(method: Method) -> dict[str, list[nn.Parameter]]:
    """The parameters of a method that are trained, by the child that holds them, or their own name."""
    children = [(name, [*part.parameters()]) for name, part in method.named_children()]
    own = [(name, [p]) for name, p in method.named_parameters(recurse=False)]
    found, seen = dict[str, list[nn.Parameter]](), set[nn.Parameter]()
    for name, held in (*children, *own):
        if learning := [p for p in held if p.requires_grad and p not in seen]:
            found[name] = learning
            seen.update(learning)
    return found


def networks(method: Method) -> Iterator[tuple[str, Classifier]]:
    """The networks in a method, by what people call them; the one that is trained has no name."""
    for path, module in method.named_modules():
        if isinstance(module, Classifier):
            words = [word for word in path.split(".") if word not in ("net", "model", "backbone")]
            yield ".".join(words), module


def _weigh(ghost: Method) -> list[str]:
    """Marks the options of a method that are weights; returns their names."""
    hints = get_type_hints(type(ghost).__init__, include_extras=True)
    names = [name for name, hint in hints.items() if Weight in (hint, *get_args(hint))]
    for name in names:
        value = getattr(ghost, name, None)
        if isinstance(value, int | float):
            setattr(ghost, name, Option.of(value, (f"method.{name}",)))
    return names


def _follow(network: Classifier, path: str, followed: Followed, entries: dict[Any, str]) -> None:
    """Names what a network gives: its stages' maps, its embedding, and its logits."""

    def name(tensor: Any, tap: str) -> None:
        for leaf in tree_leaves(tensor):
            if isinstance(leaf, Tensor):
                called = f"{path} {tap}".strip()
                followed.name(leaf, called)
                if leaf.grad_fn is not None:
                    entries[leaf.grad_fn] = called

    def traced(images: Tensor) -> Any:
        trace = plain(images)
        for stage, maps in zip(network.stages, trace.stages):
            name(maps, stage.module)
        name(trace.embedding, "embedding")
        name(trace.logits, "logits")
        return trace

    def read(images: Tensor, indices: list[int], **options: Any) -> Any:
        result = inner(images, indices, **options)
        maps = result[1] if isinstance(result, tuple) else result
        for stage, each in zip(network.stages, maps if len(maps) == len(network.stages) else ()):
            name(each, stage.module)
        return result

    plain: Any = network.trace
    inner: Any = getattr(network.net, "forward_intermediates", None)
    network.trace = traced
    if inner is not None:
        network.net.forward_intermediates = read
    network.register_forward_hook(lambda _, __, logits: name(logits, "logits"))
    modules = dict(network.net.named_modules())
    for stage in network.stages:
        if module := modules.get(stage.module):
            module.register_forward_hook(lambda _, __, maps, tap=stage.module: name(maps, tap))


class _Calls:
    """What each module of a method, but for its networks, is called with and gives."""

    def __init__(self, ghost: Method, followed: Followed):
        self.ghost, self.followed = ghost, followed
        self.inner = {id(each) for _, network in networks(ghost) for each in network.modules()}
        self.seen = dict[int, tuple[Names, Any, Any]]()
        for module in ghost.modules():
            if module is not ghost and id(module) not in self.inner:
                self._watch(module)

    def _watch(self, module: Any) -> None:
        def call(_: Any, given: Any, result: Any) -> None:
            before, takes, gives = self.seen.get(id(module), ({}, _shapes(given), _shapes(result)))
            self.seen[id(module)] = (before | self.followed.of(given), takes, gives)

        module.register_forward_hook(call)
        if plain := getattr(module, "trace", None):

            def traced(*given: Any) -> Any:
                result = plain(*given)
                call(module, given[:1], result)
                return result

            module.trace = traced

    def parts(self) -> Iterator[Part]:
        for name in trained_parts(self.ghost):
            if name != "model":
                yield from self._of(name, getattr(self.ghost, name))

    def _of(self, name: str, part: Any) -> Iterator[Part]:
        """A part that is called with a map or two; else its own parts, as far as they are called."""
        if isinstance(part, nn.Parameter):
            yield Part(name, part.numel(), [], [], [tuple(part.shape)])
            return
        count = sum(p.numel() for p in part.parameters() if p.requires_grad)
        sources, takes, gives = self.seen.get(id(part), ({}, [], []))
        inner = [*part.named_children(), *part.named_parameters(recurse=False)]
        if count and (isinstance(part, LISTS) or (len(takes) > 2 and self._tells(inner))):
            for child, each in inner:
                yield from self._of(f"{name}.{child}", each)
        elif count:
            yield Part(name, count, [s for s in sources if s not in LATER], takes, gives)

    def _tells(self, inner: list[tuple[str, Any]]) -> bool:
        """Whether the parts of a part are called themselves, all that learn."""
        return all(
            isinstance(each, LISTS) or id(each) in self.seen or not _learns(each)
            for _, each in inner
        )


LISTS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList)
LATER = ("labels", "progress")
"""What is no tap."""


def _learns(part: Any) -> bool:
    return isinstance(part, nn.Parameter) or any(p.requires_grad for p in part.parameters())


def _shapes(value: Any) -> list[tuple[int, ...]]:
    """The shapes of all tensors in a value, each once and without the batch."""
    leaves = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return list(dict.fromkeys(tuple(leaf.shape[1:]) for leaf in leaves))


def _reached(loss: Tensor, entries: dict[Any, str]) -> tuple[list[str], list[Any], list[Any]]:
    """Where a loss's gradient enters networks by a tap, the parameters before, and all it reaches."""
    direct = _walk([loss.grad_fn], entries)
    entered = [node for node in direct if node in entries]
    below = _walk([after for node in entered for after, _ in node.next_functions], {})
    met = {entries[node] for node in entered}
    taps = [tap for tap in dict.fromkeys(entries.values()) if tap in met]
    before, every = (
        [n.variable for n in nodes if hasattr(n, "variable")] for nodes in (direct, direct | below)
    )
    return taps, before, every


def _walk(starts: list[Any], ends: dict[Any, str]) -> dict[Any, None]:
    """The nodes of a graph that lead from `starts`, no further than `ends`."""
    seen, waiting = dict[Any, None](), starts
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen[node] = None
            waiting += [] if node in ends else [after for after, _ in node.next_functions]
    return seen
