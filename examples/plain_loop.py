"""MixSKD in a plain PyTorch loop: no engine, no run file, no folder.

python examples/plain_loop.py

A small ResNet learns handwritten digits for two epochs, teaching itself, and is saved as a plain
timm checkpoint.
"""

from pathlib import Path

import timm
import torch
from torch.utils.data import DataLoader, TensorDataset

from cohobate import Batch, Classifier, Progress
from cohobate.data import classification
from cohobate.methods.mixskd import MixSKD

torch.manual_seed(0)
data = classification.load("digits", per_class=80)
assert data.test is not None
images = torch.as_tensor(data.train.images).float() / 255  # (N, 3, 32, 32) in [0, 1]
rows = TensorDataset(images, data.train.targets, torch.arange(len(images)))
loader = DataLoader(rows, batch_size=32, shuffle=True, drop_last=True)
EPOCHS = 2

model = Classifier("cifar_resnet8", num_classes=10, mean=data.mean, std=data.std)
method = MixSKD(model)
optimizer = torch.optim.AdamW(method.parameters(), lr=0.003)
for epoch in range(EPOCHS):
    for step, (images, targets, ids) in enumerate(loader):
        batch = method.mixed(Batch(images, targets, ids))  # draws the mixture that MixSKD wants
        losses = method(batch, Progress(epoch, EPOCHS, step, EPOCHS * len(loader)))
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    terms = "  ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
    print(f"epoch {epoch + 1}/{EPOCHS}  {terms}")

test_images = torch.as_tensor(data.test.images).float() / 255
with torch.no_grad():
    right = (model.eval()(test_images).argmax(1) == data.test.targets).float().mean()
print(f"test top-1 {100 * right:.2f} %")

Path("out").mkdir(exist_ok=True)
torch.save(model.net.state_dict(), "out/plain_loop.pt")
timm.create_model("cifar_resnet8", num_classes=10).load_state_dict(torch.load("out/plain_loop.pt"))
print("out/plain_loop.pt is a checkpoint of timm's own keys")
