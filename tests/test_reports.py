"""The page of a run, TensorBoard's files, and running a run again."""

import json
import re

import numpy as np
import pytest
from runs import iris, points, train

from mlp_jax.commands.report import write_report
from mlp_jax.commands.reproduce import reproduce
from mlp_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("usual_promotion")


def page_of(run):
    write_report(run, run / "report.html")
    return (run / "report.html").read_text()


def test_the_page_of_a_classification(tmp_path):
    summary = train(iris(training__watch=True), tmp_path / "run")
    page = page_of(tmp_path / "run")
    for heading in ("Results", "Curves", "Classes of the test part", "Layers", "Record", "Configuration"):
        assert f"<h2>{heading}</h2>" in page
    assert f"{summary['results']['test']['accuracy']:.5g}" in page
    assert page.count("<svg") == 3
    assert not re.findall(r"""(?:src|href)=["']http""", page)  # nothing is fetched
    assert "<script" not in page


def test_the_page_of_a_regression_with_names_that_look_like_formulas(tmp_path):
    (tmp_path / "data.csv").write_text("a,price $x^{,<b>\n" + "".join(f"{k},{k % 7},{-k}\n" for k in range(40)))
    source = {"source": "csv", "path": tmp_path / "data.csv", "target": ("price $x^{", "<b>")}
    train(iris(data=source, network={"widths": (1, 4, 2)}), tmp_path / "run")
    assert "Predictions for the test part" in page_of(tmp_path / "run")


def test_the_page_of_several_seeds_of_which_a_metric_is_not_finite(tmp_path):
    train(iris(seeds=(0, 1)), tmp_path / "run")
    file = tmp_path / "run" / "summary.json"
    summary = json.loads(file.read_text())
    summary["results"]["test"]["loss"] |= {"mean": None, "sd": None}
    file.write_text(json.dumps(summary))
    page = page_of(tmp_path / "run")
    assert "mean ± standard deviation over 2 seeds" in page
    assert "not finite ± not finite" in page


def test_the_page_of_a_run_that_was_killed(tmp_path):
    train(iris(), tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"status": "running", "epochs": 0}))
    assert "run: killed after 4 epochs" in page_of(tmp_path / "run")


def test_tensorboard_has_every_number_of_the_records(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    train(iris(training__tensorboard=True, training__watch=True, training__epochs=2), tmp_path / "run")
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    content, found = file.read_bytes(), set()
    while content:  # records: length, checksum, event, checksum
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found |= {(event.step, value.tag) for value in event.summary.value}
        content = content[16 + length :]
    tags = {tag for _, tag in found}
    assert {"loss", "validation/accuracy", "training/loss", "layers/dead/0"} <= tags
    assert found == {(epoch, tag) for epoch in (1, 2) for tag in tags}


def test_a_run_is_reproduced_bit_for_bit(tmp_path):
    train(iris(), tmp_path / "run")
    assert reproduce(tmp_path / "run") == (True, "equal bit for bit: weights, names, records and results")
    train(iris(seeds=(0, 1)), tmp_path / "seeds")
    assert reproduce(tmp_path / "seeds")[0]


def test_a_run_that_comes_out_differently_says_from_where(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 2))
    train(points(tmp_path, x, x[:, :1]), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    record = json.loads(lines[2])
    lines[2] = json.dumps(record | {"loss": record["loss"] * 1.5})
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    same, finding = reproduce(tmp_path / "run")
    assert not same
    assert finding == (
        "differs: metrics.jsonl, epoch 3, loss by 3.3e-01 of its largest entry; "
        "the records differ from epoch 3 on (steps 7 to 9); device, versions and flags are the same"
    )


def test_the_worst_of_several_seeds_is_what_is_said(tmp_path):
    train(iris(seeds=(0, 1)), tmp_path / "run")
    for seed, factor in ((0, 1 + 1e-6), (1, 1.5)):  # as by rounding; as by another program
        file = tmp_path / "run" / f"seed-{seed}" / "metrics.jsonl"
        record, *others = file.read_text().splitlines()
        changed = json.loads(record)
        changed["loss"] *= factor
        file.write_text("\n".join([json.dumps(changed), *others]) + "\n")
    same, finding = reproduce(tmp_path / "run")
    assert not same
    assert finding.startswith("differs: seed-1/metrics.jsonl, epoch 1, loss by 3.3e-01 of its largest entry, seed-0/")


def test_only_a_finished_run_is_reproduced(tmp_path):
    train(iris(), tmp_path / "run")
    file = tmp_path / "run" / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "interrupted"}))
    with pytest.raises(InputError, match="is interrupted, so there is no result: finish it with --resume first"):
        reproduce(tmp_path / "run")
