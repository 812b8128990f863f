"""The guards of training: skipped steps, roll-backs, whole checkpoints, interruptions."""

import json
import os
import signal
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from transformers import TrainingArguments  # noqa: E402

from unskew.reward import NumericError  # noqa: E402
from unskew.reward.guard import (  # noqa: E402
    MARKER,
    Guarded,
    checkpoints,
    fault,
    newest,
    refuse_non_finite,
    set_aside,
)

ROWS = 64


class Line(torch.nn.Module):
    """y = w x + b; a row whose x is nan poisons its batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x, y):
        z = self.layer(torch.nn.functional.dropout(x, 0.1, self.training))[:, 0]
        return {"loss": (z - y).square().mean()}


def rows(poisoned=()):
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, 3, generator=chance)
    y = x.sum(1)
    for row in poisoned:
        x[row] = float("nan")
    return [{"x": a, "y": b} for a, b in zip(x, y, strict=True)]


def trainer(directory, data=None, model=None, **options):
    defaults = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "save_steps": 5,
        "logging_steps": 1,
        "learning_rate": 0.01,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "logging_nan_inf_filter": False,
        "seed": 3,
    }
    arguments = TrainingArguments(str(directory), **{**defaults, **options})
    return Guarded(model or Line(), arguments, train_dataset=data or rows())


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_poisoned_step_is_skipped_counted_and_named(tmp_path, caplog):
    run = trainer(tmp_path, rows(poisoned=[7]), num_train_epochs=1)
    run.train()
    assert (run.skipped, run.rollbacks) == (1, 0)
    assert torch.isfinite(parameters(run.model)).all()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    assert all(loss == loss for loss in losses)
    assert run.state.log_history[-1]["skipped_steps"] == 1
    assert "has a loss of nan" in caplog.text


def test_skipped_step_leaves_parameters_and_momentum_alone(tmp_path):
    seen = []

    class Spy(Guarded):
        def before_step(self, model):
            super().before_step(model)
            seen.append((self.skipped, parameters(model).clone(), len(self.optimizer.state)))

    arguments = trainer(tmp_path).args
    arguments.max_steps, arguments.weight_decay = 2, 0.1
    bad = [{"x": row["x"] * float("inf"), "y": row["y"]} for row in rows()]
    model = Line()
    before = parameters(model).clone()
    Spy(model, arguments, train_dataset=bad).train()
    assert [count for count, _, _ in seen] == [1, 2]
    assert torch.equal(parameters(model), before)


def test_huge_learning_rate_ends_with_an_error_and_finite_parameters(tmp_path):
    run = trainer(tmp_path, learning_rate=1e20, num_train_epochs=20, save_steps=2)
    with pytest.raises(NumericError, match=r"not finite.*Lower learning_rate \(it began at 1e\+20\)"):
        run.train()
    assert NumericError.exit_code == 7
    assert run.rollbacks == 3
    assert torch.isfinite(parameters(run.model)).all()
    from safetensors.torch import load_file

    for directory in checkpoints(tmp_path):
        assert all(torch.isfinite(t).all() for t in load_file(directory / "model.safetensors").values())


def test_roll_back_goes_to_the_newest_whole_checkpoint(tmp_path):
    data = rows()
    run = trainer(tmp_path, data, num_train_epochs=1, save_steps=4)
    run.train()
    kept = newest(tmp_path)
    with torch.no_grad():
        run.model.layer.weight.fill_(5)
    rate = run.optimizer.param_groups[0]["lr"]
    run.roll_back()
    from safetensors.torch import load_file

    assert torch.equal(run.model.layer.weight, load_file(kept / "model.safetensors")["layer.weight"])
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(rate / 10)
    assert not run.optimizer.state


def test_non_finite_parameter_is_never_written(tmp_path):
    run = trainer(tmp_path)
    with torch.no_grad():
        run.model.layer.bias.fill_(float("inf"))
    with pytest.raises(NumericError, match=r"parameter layer\.bias holds a number that is not finite"):
        run.save_model(str(tmp_path / "model"))
    assert not (tmp_path / "model" / "model.safetensors").exists()
    refuse_non_finite({"count": torch.tensor([1])})


def test_resumed_run_repeats_the_undisturbed_one(tmp_path):
    whole = trainer(tmp_path / "whole")
    whole.train()
    part = trainer(tmp_path / "part")

    def stop(*_):
        if part.state.global_step == 13:
            raise KeyboardInterrupt

    part.before_step = stop
    with pytest.raises(KeyboardInterrupt):
        part.train()
    again = trainer(tmp_path / "part")
    again.train(resume_from_checkpoint=True)
    assert torch.equal(parameters(whole.model), parameters(again.model))


@pytest.mark.parametrize("harm", ["truncated", "changed", "missing", "unmarked", "bad marker"])
def test_damaged_newest_checkpoint_is_set_aside_and_the_one_before_used(tmp_path, harm, caplog):
    trainer(tmp_path).train()
    last, before, *_ = checkpoints(tmp_path)
    assert fault(last) is None
    assert set(json.loads((last / MARKER).read_text())) == {
        str(p.relative_to(last)) for p in last.rglob("*") if p.name != MARKER
    }
    for name in json.loads((last / MARKER).read_text()):
        content = (last / name).read_bytes()
        if harm == "truncated":
            (last / name).write_bytes(content[:-1])
        elif harm == "changed":
            (last / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        elif harm == "missing":
            (last / name).unlink()
        elif harm == "unmarked":
            (last / MARKER).unlink(missing_ok=True)
        else:
            (last / MARKER).write_text("{")
        assert fault(last) is not None, name
        assert newest(tmp_path) == before
        (last / name).write_bytes(content)
    if harm in ("truncated", "changed", "missing"):
        (last / "trainer_state.json").unlink()
    moved = set_aside(tmp_path)
    assert [path.name for path in moved] == [f"incomplete-{last.name}"]
    assert "cannot be resumed from" in caplog.text
    again = trainer(tmp_path)
    again.train(resume_from_checkpoint=True)
    assert fault(tmp_path / last.name) is None


def test_old_checkpoints_go_only_when_a_new_one_is_whole(tmp_path):
    run = trainer(tmp_path, save_total_limit=1)
    seen = []
    run.save_state = lambda directory: seen.append([p.name for p in checkpoints(tmp_path)])
    run.train()
    assert seen[1] == ["checkpoint-10", "checkpoint-5"]
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-32"]


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_guard import *
{before}
run = trainer({directory!r}, num_train_epochs=4, save_steps={steps}, save_total_limit=2,
              logging_steps=1000)
{more}
run.train(resume_from_checkpoint=newest({directory!r}) is not None)
print("done", run.interrupted, run.state.global_step, parameters(run.model).tolist(), flush=True)
"""


def start(directory, steps=3, before="", more=""):
    """The run of this file in a process of its own; `before` and `more` are statements."""
    tests = os.path.dirname(__file__)
    text = SCRIPT.format(tests=tests, directory=str(directory), steps=steps, before=before, more=more)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_interrupt_ends_with_a_whole_checkpoint(tmp_path):
    child = start(
        tmp_path,
        steps=1000,
        more="import time; run.save_state = lambda d: None\n"
        "step = run.training_step\n"
        "run.training_step = lambda *a: (time.sleep(.05), print('step', flush=True), step(*a))[2]",
    )
    for _ in range(3):
        assert child.stdout.readline() == "step\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    last = next(line for line in out.splitlines() if line.startswith("done")).split()
    assert int(last[1]) == signal.SIGINT
    assert newest(tmp_path) == tmp_path / f"checkpoint-{last[2]}"


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_run_that_fails_gives_the_signals_back(tmp_path):
    before = handlers()
    run = trainer(tmp_path, rows(poisoned=range(ROWS)))
    with pytest.raises(NumericError):
        run.train()
    assert handlers() == before


def test_signal_ends_a_process_that_a_run_forked(tmp_path):
    """As it would have without the run: a pool waits for the workers that it ends so."""
    run, found = trainer(tmp_path, max_steps=1), []

    def fork(_):
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        found.append(os.WTERMSIG(os.waitpid(child, 0)[1]))

    run.before_step = fork
    run.train()
    assert found == [signal.SIGTERM]
    assert run.interrupted is None


KILLED = """
import os, signal, time
torch.set_num_threads(1)
for attempt in range(20):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        run = trainer({directory!r}, num_train_epochs=4, save_steps=1, save_total_limit=2, logging_steps=1000)
        def slow(directory):
            directory.joinpath("more").write_text("x")
            os.write(writing, b"s")
            time.sleep(.1)
        run.save_state = slow
        run.train(resume_from_checkpoint=newest({directory!r}) is not None)
        os._exit(1)
    os.read(reading, 1), os.read(reading, 1)  # one save is whole, the next is cut
    time.sleep(0.006 * attempt)
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
"""


def test_run_killed_inside_the_save_twenty_times_ends_as_if_undisturbed(tmp_path):
    """Killed at 20 instants between the files of a checkpoint, its marker and the steps around them."""
    found = []
    for directory, before in (("whole", ""), ("part", KILLED.format(directory=str(tmp_path / "part")))):
        child = start(tmp_path / directory, before=before)
        out, err = child.communicate(timeout=240)
        assert child.returncode == 0, err
        found.append(out.splitlines()[-1])
    assert found[0].startswith("done None 64")
    assert found[0] == found[1]
    assert len(list((tmp_path / "part").glob("incomplete-*"))) >= 10
