"""What the machine decides: processes and threads, on one machine and on several."""

import pytest

from cohobate import config
from cohobate import machine as machines
from cohobate.machine import BESIDE, Machine, code, environment
from cohobate.rundir import RunDir
from places import SMOKE
from test_layers import PACKAGE, imported, parts


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Decides for a new run, with the processor's cores and the environment given."""

    def decide(devices: int = 1, cores: int = 8, **variables: int) -> Machine:
        monkeypatch.setattr("cohobate.machine.cores", lambda: cores)
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        return Machine.of(RunDir(tmp_path), config.load(SMOKE), devices)

    return decide


@pytest.fixture
def asked(monkeypatch):
    """What Fabric is asked for."""
    found = {}

    class Fabric:
        def __init__(self, **options):
            found.update(options)

        def launch(self): ...

    monkeypatch.setattr("cohobate.machine.Fabric", Fabric)
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    return found


@pytest.mark.parametrize(
    "variables, devices, nodes, threads",
    [
        ({}, 2, 1, 4),
        ({"OMP_NUM_THREADS": 3}, 2, 1, 3),
        ({"OMP_NUM_THREADS": 9}, 2, 1, 4),
        ({"WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 4, "OMP_NUM_THREADS": 1}, 4, 1, 2),  # torchrun's own
        ({"WORLD_SIZE": 2}, 2, 1, 4),  # as Fabric leaves it for the processes that it starts
        ({"WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 4}, 4, 1, 2),
        ({"WORLD_SIZE": 12, "LOCAL_WORLD_SIZE": 4}, 4, 3, 2),
        ({"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1}, 1, 2, 8),
    ],
)
def test_processes_are_counted_on_each_machine(machine, asked, variables, devices, nodes, threads):
    decided = machine(2, **variables)
    assert (decided.devices, decided.nodes, decided.threads) == (devices, nodes, threads)
    decided.launch()
    assert (asked["devices"], asked["num_nodes"], asked["strategy"]) == (devices, nodes, "ddp")
    assert environment(decided)["devices"] == devices * nodes


def test_one_process_needs_no_others(machine, asked):
    machine(1).launch()
    assert (asked["devices"], asked["num_nodes"], asked["strategy"]) == (1, 1, "auto")


def test_the_fingerprint_of_the_code_is_of_what_trains(monkeypatch, tmp_path):
    def written(**files: str) -> str:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('_', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        code.cache_clear()
        return code()

    monkeypatch.setattr(machines, "PACKAGE", tmp_path)
    first = written(engine="a = 1", methods_kd="b = 2", cli_app="c = 3")
    assert written(cli_app="c = 4", analysis_tables="d = 5", study="e = 6") == first
    assert written(methods_kd="b = 3") != first
    assert written(methods_kd="b = 2") == first
    code.cache_clear()


def test_training_runs_through_nothing_that_the_fingerprint_leaves_out():
    files = parts(PACKAGE)
    reached, to_do = set[str](), {"train"}
    while to_do:
        part = to_do.pop()
        reached.add(part)
        found = {o for file, own in files.items() if own == part for o in imported(file)}
        to_do |= found - reached
    assert "losses" in reached
    assert reached.isdisjoint(BESIDE), reached & {*BESIDE}
    left = {*files.values()} - reached
    assert {*BESIDE} == left, {*BESIDE} ^ left
