"""`cohobate explain`: what a run is, before its data is there."""

import pytest

from places import ROOT, SMOKE


def rows(out: str) -> dict[str, list[str]]:
    """The lines of the tables by their first column."""
    parts = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()
    ]
    return {cells[0]: cells[1:] for cells in parts if len(cells) > 1}


def test_mixskd(cohobate):
    ran = cohobate("explain", ROOT / "runs/cifar100/resnet18/mixskd.toml")
    assert ran.code == 0, ran.err
    assert "cifar_resnet18: 11,220,132 parameters, 555,468,800 multiply-adds at 32" in ran.out
    assert "mixskd: alpha=0.4, temperature=3.0, " in ran.out
    found = rows(ran.out)
    assert found["layer3"] == ["256", "8 × 8"]
    assert found["discriminators.3"] == ["layer4 512 → 2", "65,922", "trained"]
    assert found["multiply-adds of an image, forward (M)"] == ["555.47", "2,756.04", "4.96"]
    assert found["multiply-adds of a step, there and back, of an image (M)"][2] == "4.96"


def test_who_learns_from_which_loss(cohobate):
    """The self-teacher's predictions teach the network, and are not taught by it."""
    out = cohobate("explain", ROOT / "runs/cifar100/resnet18/mixskd.toml").out
    found = rows(out)
    assert found["feature"][:2] == ["feature=1.0", "layer1 … layer4, exits"]
    assert found["self_teacher"] == [
        "mutual=1.0",
        "logits",
        "layer1 … layer4",
        "exits, self_teacher,",
    ]
    assert found["exits.parts.2"][0] == "layer3 256 × 8 × 8 → 100, 512, 512 × 4 × 4"
    assert "mixing: Mixup(alpha=0.4, " in out
    assert max(map(len, out.splitlines())) <= 100


def test_shapes_of_a_teacher_and_what_joins_them(cohobate, monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = cohobate("explain", "runs/cifar100/resnet8x4/fitnet.toml")
    assert ran.code == 0, ran.err
    assert "teacher's stage" in ran.out
    found = rows(ran.out)
    assert found["regressor"][0] == "layer2 128 × 16 × 16 → 128 × 16 × 16"
    assert found["hint"] == ["beta=100.0", "layer2, regressor", "teacher layer2"]
    assert found["ce"] == ["gamma=1.0", "logits", "labels", "regressor"]


def test_teacher_of_timm_is_not_downloaded(cohobate, monkeypatch):
    """The hub is out of reach here: whoever asked for weights would be told so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = ["model.arch=test_vit", "data.name=imagenet", "data.size=160", "method.name=fitnet"]
    ran = cohobate("explain", SMOKE, *settings, "method.teacher=timm:test_vit2", "method.stage=1")
    assert ran.code == 0, ran.err
    assert "teacher's stage" in ran.out


def test_mixing_of_a_run_file_is_told_in_full(cohobate):
    ran = cohobate("explain", SMOKE, "mix.name=cutmix", "mix.share=0.5")
    assert "mixing: cutmix: alpha=1.0, share=0.5, per=batch" in ran.out, ran.err


def test_baseline_costs_what_it_costs(cohobate):
    ran = cohobate("explain", SMOKE)
    assert ran.code == 0, ran.err
    costs = [cells for name, cells in rows(ran.out).items() if cells[-1:] == ["1.00"]]
    assert len(costs) == 5
    assert "added by the method" not in ran.out


def test_teacher_of_a_run_file_need_not_be_trained(cohobate, monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = cohobate("explain", "runs/cifar100/hsakd/wrn40_2_wrn16_2.toml")
    assert ran.code == 0, ran.err
    found = rows(ran.out)
    assert found["teacher"] == ["2,255,156", "frozen"]
    assert found["joint"] == ["1", "layer1 … layer3, heads", "teacher layer1 … layer3"]


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (["method.name=frskd", "model.arch=test_vit"], "this method needs a pyramid"),
        (["method.name=kd"], "method.teacher=RUN_FOLDER"),
        (["data.name=folder"], "data.name=folder needs data.root"),
        (["method.alpha=1"], "unknown option of [method] 'alpha'"),
    ],
)
def test_what_cannot_be_run_is_refused(cohobate, settings, sentence):
    ran = cohobate("explain", SMOKE, *settings)
    assert ran.code == 2
    assert sentence in ran.err
