"""A method from outside the package: the confidence penalty.

python examples/own_method.py

trains it in a plain PyTorch loop. The engine takes it by the name of its module and class:

PYTHONPATH=examples cohobate train runs/smoke/classification.toml \
    method.name=own_method:ConfidencePenalty method.weight=0.2
"""

from math import log

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from cohobate import Batch, Classifier, Losses, Method, Progress
from cohobate.core import Weight
from cohobate.data import classification


class ConfidencePenalty(Method[Classifier]):
    """A price on being sure.

    Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions",
    ICLR workshop 2017, https://arxiv.org/abs/1701.06548. L = CE + weight (log C - H(p)); log C,
    the largest entropy there is, only keeps the term above zero.

    weight: of the penalty, beta.
    """

    def __init__(self, model: Classifier, *, weight: Weight = 0.1):
        super().__init__(model)
        self.weight = weight

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        logits = self.model(batch.inputs)
        log_p = F.log_softmax(logits, dim=1)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        return {
            "ce": F.cross_entropy(logits, batch.labels(self.model.num_classes)),
            "confidence": self.weight * (log(self.model.num_classes) - entropy),
        }


def main() -> None:
    torch.manual_seed(0)
    data = classification.load("digits", per_class=50)
    images = torch.as_tensor(data.train.images).float() / 255
    rows = TensorDataset(images, data.train.targets, torch.arange(len(images)))
    loader = DataLoader(rows, batch_size=25, shuffle=True)
    method = ConfidencePenalty(
        Classifier("cifar_resnet8", num_classes=10, mean=data.mean, std=data.std)
    )
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    for step, batch in enumerate(loader):
        losses = method(Batch(*batch), Progress(0, 1, step, len(loader)))
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 5 == 4:
            terms = "  ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
            print(f"step {step + 1}/{len(loader)}  {terms}")


if __name__ == "__main__":
    main()
