"""What the directory of a run survives."""

def test_training_goes_on_where_it_ended(tmp_path):
    train(iris(training__epochs=6), tmp_path / "whole")
    train(iris(training__epochs=2), tmp_path / "parts")
    train(iris(training__epochs=6), tmp_path / "parts", resume=True)
    for file in ("weights.safetensors", "checkpoint.safetensors", "metrics.jsonl", "config.yaml"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


class StopAfter(Reporter):
    """Presses Ctrl-C when training is under way."""

    def advanced(self, done, records):
        if done >= 1:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_keeps_what_was_done(tmp_path):
    with pytest.raises(TrainingInterrupted, match="stopped after 1 of 4 epochs"):
        train(iris(), tmp_path / "run", reporter=StopAfter)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert len(read_metrics(tmp_path / "run")) == 1
    train(iris(), tmp_path / "whole")
    train(iris(), tmp_path / "run", resume=True)
    weights = "weights.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    train(iris(), tmp_path / "run")
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    train(iris(), tmp_path / "run", resume=True)
    assert [record["epoch"] for record in read_metrics(tmp_path / "run")] == [1, 2, 3, 4]


def test_a_directory_with_a_run_is_refused_unless_told_otherwise(tmp_path):
    run = tmp_path / "run"
    train(iris(), run)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(InputError, match=r"holds a run; go on with it \(--resume\), replace it \(--overwrite\)"):
        train(iris(seed=1), run)
    with pytest.raises(InputError, match=r"another configuration: seed was 0, is 1\. Only training.epochs may"):
        train(iris(seed=1), run, resume=True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    (run / "notes.txt").write_text("mine")
    train(iris(seed=1, training__epochs=1), run, overwrite=True)
    assert len(read_metrics(run)) == 1
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["weights.safetensors", "metrics.jsonl", "config.yaml"])
def test_files_of_others_with_the_names_of_ours_are_not_replaced(name, tmp_path):
    (tmp_path / name).write_text("mine: 1")
    for resume in (False, True):
        with pytest.raises(InputError, match="holds a run|holds no run"):
            train(iris(), tmp_path, resume=resume)
    assert (tmp_path / name).read_text() == "mine: 1"
    assert len(list(tmp_path.iterdir())) == 1


def test_bad_data_leave_an_existing_run_as_it_was(tmp_path):
    run = tmp_path / "run"
    train(iris(), run)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(InputError, match="network.widths starts with 5"):
        train(iris(network__widths=(5, 3)), run, overwrite=True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_a_run_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the run directory .*: (Not a directory|File exists)"):
        train(iris(), tmp_path / "file")


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=str)
def test_a_full_disk_loses_nothing(options, tmp_path, monkeypatch):
    train(iris(training__epochs=2), tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot write the run directory .*: No space left on device"):
        train(iris(training__epochs=4), tmp_path / "run", **options)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_ctrl_c_while_compiling_leaves_an_existing_run_as_it_was(tmp_path, monkeypatch):
    train(iris(), tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}

    def interrupted(trainer, state):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(iris(seed=1), tmp_path / "run", overwrite=True)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_fewer_epochs_than_were_run_are_refused(tmp_path):
    train(iris(), tmp_path / "run")
    with pytest.raises(InputError, match=r"has 4 epochs; training.epochs is 2\. Set it to 4 or more to go on"):
        train(iris(training__epochs=2), tmp_path / "run", resume=True)


def test_a_run_does_not_go_on_with_data_that_have_changed(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(50, 2)), np.zeros((50, 1))
    train(points(tmp_path, x, y), tmp_path / "run")
    with pytest.raises(InputError, match=r"points.npz has changed since this run was trained"):
        train(points(tmp_path, x + 1, y), tmp_path / "run", resume=True)


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b""], ids=["cut", "empty"])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path):
    train(iris(), tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="is damaged"):
        train(iris(training__epochs=9), tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    train(iris(), tmp_path / "run")
    other = iris(network__widths=(4, 9, 3))
    prepared = data.prepare(other)
    state = Trainer(other, prepared).initial_state()
    with pytest.raises(InputError, match=r"mu\.0\.W is float32 \(4, 8\), needed is float32 \(4, 9\)"):
        checkpoint.load_checkpoint(tmp_path / "run" / "checkpoint.safetensors", state, prepared)
    wider = build_network(iris(network__widths=(4, 8, 8, 3)).network)
    narrow = build_network(iris(network__widths=(4, 7, 3)).network)
    with pytest.raises(InputError, match=r"belongs to another network: params\[0\].W must have shape \(4, 7\)"):
        weights.load_weights(tmp_path / "run" / "weights.safetensors", narrow)
    with pytest.raises(InputError, match="has no 'layers.2.W'; it belongs to another network"):
        weights.load_weights(tmp_path / "run" / "weights.safetensors", wider)


def test_a_run_directory_without_a_run(tmp_path):
    with pytest.raises(InputError, match="holds no run: it has no config.yaml"):
        RunDirectory(tmp_path).load_config()


