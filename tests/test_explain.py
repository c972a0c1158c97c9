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
    assert found["discriminators"] == ["263,688", "trained"]
    assert found["multiply-adds of an image, forward (M)"] == ["555.47", "2,756.04", "4.96"]


def test_who_learns_from_which_loss(cohobate):
    """The self-teacher's predictions teach the network, and are not taught by it."""
    found = rows(cohobate("explain", ROOT / "runs/cifar100/resnet18/mixskd.toml").out)
    assert found["feature"] == ["network, exits", "self_teacher, discriminators"]
    assert found["self_teacher"] == ["network", "exits, self_teacher, discriminators"]


def test_shapes_of_a_teacher_and_what_joins_them(cohobate, monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = cohobate("explain", "runs/cifar100/resnet8x4/fitnet.toml")
    assert ran.code == 0, ran.err
    assert "teacher's stage" in ran.out
    assert rows(ran.out)["connector"][0].count("→") == 1


def test_baseline_costs_what_it_costs(cohobate):
    ran = cohobate("explain", SMOKE)
    assert ran.code == 0, ran.err
    costs = [cells for name, cells in rows(ran.out).items() if cells[-1:] == ["1.00"]]
    assert len(costs) == 4
    assert "added by the method" not in ran.out


def test_teacher_of_a_run_file_need_not_be_trained(cohobate, monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = cohobate("explain", "runs/cifar100/hsakd/wrn40_2_wrn16_2.toml")
    assert ran.code == 0, ran.err
    assert rows(ran.out)["teacher"] == ["2,255,156", "frozen"]


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
