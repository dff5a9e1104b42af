"""A configuration is read strictly, and every problem is reported at once with its place."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from mlp_jax.errors import InputError
from mlp_jax.mlp.hidden_units import HIDDEN_UNITS
from mlp_jax.mlp.output_units import OUTPUT_UNITS
from mlp_jax.tables import sources
from mlp_jax.tables.text import MISSING
from mlp_jax.training import build
from mlp_jax.training import config as configuration
from mlp_jax.training.build import build_network, build_optimizer
from mlp_jax.training.config import yaml
from mlp_jax.training.config.optimizers import OPTIMIZERS, SCHEDULES
from mlp_jax.training.config.records import Training

DIGITS = Path(__file__).parent.parent / "configs" / "digits.yaml"


def load(text, tmp_path, *overrides):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return configuration.load(path, overrides)


def problems(*overrides):
    with pytest.raises(InputError) as caught:
        configuration.load(DIGITS, overrides)
    return str(caught.value)


def test_1e_3_is_a_number():
    assert configuration.load(DIGITS).optimizer.learning_rate == 0.001
    assert configuration.load(DIGITS, ["network.penalty.l2=1e-3"]).network.penalty.l2 == 0.001


def test_all_problems_at_once_with_line_and_nearest_key(tmp_path):
    text = """\
data:
  source: digts
network:
  widths: [64, 32, 0.5]
  hidden: rellu
  output: linear
  cost: cross_entropy
  penalty: {l2: -1}
  cots: 3
optimizer:
  name: adam
  lerning_rate: 1e-3
  nesterov: 1
  learning_rate: fast
training:
  epochs: 60
  epochs: 61
  batch_size: 0
  seed: !!python/object:os.system 3
"""
    with pytest.raises(InputError) as caught:
        load(text, tmp_path)
    path = tmp_path / "run.yaml"
    assert str(caught.value).splitlines() == [
        f"{path}: 12 problems",
        f"  {path}:2: data.source: must be one of breast_cancer, diabetes, digits, iris, linnerud, wine, csv, parquet, "
        "feather, json, npz, npy, arrays, frame; got 'digts'; did you mean digits?",
        f"  {path}:4: network.widths.2: must be a valid integer; got 0.5",
        f"  {path}:5: network.hidden: must be one of {', '.join(HIDDEN_UNITS)}; got 'rellu'; did you mean relu?",
        f"  {path}:7: network.cost: a linear output unit has the cost squared_error or "
        "absolute_error, not cross_entropy",
        f"  {path}:8: network.penalty.l2: must be greater than or equal to 0; got -1",
        f"  {path}:9: network.cots: unknown key; did you mean cost? (valid keys: widths, hidden_widths, hidden, "
        "output, cost, penalty, bias, skip, label_smoothing, class_weights, initializer, initial_bias, start_from, "
        "dtype, categories, products)",
        f"  {path}:12: optimizer.lerning_rate: unknown key; did you mean learning_rate? (valid keys: name, "
        "learning_rate, b1, b2, eps, eps_root, nesterov, reduce_on_plateau)",
        f"  {path}:13: optimizer.nesterov: must be a valid boolean; got 1",
        f"  {path}:14: optimizer.learning_rate: must be a valid number; got 'fast'",
        f"  {path}:16: training.epochs: this key is given twice, the second time at {path}:17",
        f"  {path}:18: training.batch_size: must be greater than or equal to 1; got 0",
        f"  {path}:19: training.seed: the tag tag:yaml.org,2002:python/object:os.system is refused: "
        "a configuration holds plain values",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs=2.0", "must be a valid integer; got 2.0"),
        ("training.epochs=true", "must be a valid integer; got True"),
        ("training.epochs='3'", "must be a valid integer; got '3'"),
        ("optimizer.learning_rate=.nan", "must be a finite number; got nan"),
        ("optimizer.learning_rate=.inf", "must be a finite number; got inf"),
        ("optimizer.learning_rate=0", "must be greater than 0; got 0"),
        ("network.bias=off", "must be a valid boolean; got 'off'"),
        ("network.hidden=[relu, tanh]", "must be one value, or a list of 1 for these widths; got 2"),
        ("network.widths=[64]", "must have at least 2 entries; got (64,)"),
        ("network.widths=64", "must be a list; got 64"),
        ("network.penalty={on: [W]}", "give l2, l1 or both"),
        ("data.split={validation: 0.5, test: 0.5}", "validation + test must be below 1, got 0.5 + 0.5"),
        ("optimizer={name: sgd, learning_rate: 1, nesterov: true}", "nesterov: true needs a momentum"),
        ("optimizer.learning_rate={schedule: linear_schedule}", "init_value: this key is missing"),
        ("optimizer.learning_rate={schedule: linear}", "learning_rate.schedule: must be one of"),
        ("optimizer={learning_rate: 1}", "optimizer.name: this key is missing"),
        ("network=3", "must be a section with keys of its own; got 3"),
        ("seed=-1", "must be greater than or equal to 0; got -1"),
        ("seed=4294967296", "must be less than 4294967296"),
        ("data.split.sed=1", "unknown key; did you mean seed? (valid keys: validation, test, seed)"),
        ("data={source: csv, path: 3, target: y}", "data.path"),
        ("data={source: csv, path: a.csv, target: [y, y]}", "must name one column or several different ones"),
        ("data={source: csv, path: a.csv, target: []}", "must name one column or several different ones"),
        ("data.source=", "feather, json, npz, npy, arrays, frame; got None"),
        ("seed=!!int abc", "'abc' cannot be read as int"),
        ("network.bias=!!bool maybe", "'maybe' cannot be read as bool"),
        ("network.widths=!!seq 3", "the tag tag:yaml.org,2002:seq is refused"),
        ("optimizer={name: adam, [learning_rate]: 1}", "a key must be a name, at --set optimizer"),
        (f"seed={'9' * 5000}", "cannot be read as int"),
        (
            "optimizer.learning_rate={schedule: exponential_decay, init_value: -1, transition_steps: 1, decay_rate: 1}",
            "init_value: must be greater than or equal to 0; got -1",
        ),
    ],
)
def test_impossible_values_are_refused(override, message):
    text = problems(override)
    assert message in text
    assert "--set" in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed"], "--set takes KEY=VALUE, as in optimizer.learning_rate=0.05; got 'seed'"),
        (["seed=1", "seed=2"], "--set seed is given twice"),
        (["seed.x=1"], "--set seed.x: "),
        (["network.widths=[1, 2"], "--set network.widths: not YAML: expected ',' or ']'"),
    ],
)
def test_overrides_that_cannot_be_applied(overrides, message):
    assert message in problems(*overrides)


def test_keys_that_exclude_each_other_across_sections():
    text = problems("data.standardize_targets=true")
    assert text.endswith(
        f"  {DIGITS}:6: network: data.standardize_targets needs an output of quantities (linear, laplace, gaussian, "
        "heteroscedastic, full_gaussian, mixture, quantiles), got softmax"
    )


def test_overrides_win_over_the_file_and_over_its_mistakes(tmp_path):
    text = DIGITS.read_text().replace("epochs: 60", "epochs: many")
    config = load(text, tmp_path, "training.epochs=3", "network.widths=[64, 10]", "data.split.seed=7")
    assert config.training.epochs == 3
    assert config.network.widths == (64, 10)
    assert config.data.split.seed == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a configuration is a mapping of keys to values; got None"),
        ("- 1\n- 2\n", "a configuration is a mapping of keys to values; got (1, 2)"),
        ("data: [1\nnetwork: 2\n", ":2: not YAML"),
        ("data: \t- x: {", "not YAML"),
        ("\x00", "not YAML"),
        ("[" * 3000, "nested too deeply"),
        ("%YAML 1.1\n---\nseed: 1\n", ":1: a YAML directive is refused"),
    ],
)
def test_files_that_are_no_configuration(text, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        load(text, tmp_path)


@pytest.mark.parametrize("text", ["!!python/object:os.system {}", "&a [*a]"])
def test_a_file_that_is_refused_whole_cannot_be_overridden(text, tmp_path):
    with pytest.raises(InputError, match="is refused"):
        load(text, tmp_path, "seed=1")


def test_problems_of_one_kind_do_not_hide_those_of_another():
    text = problems("data.standardize_targets=true", "seed=-1", "data.split={validation: 0.5, test: 0.5, sed: 3}")
    for message in ("seed: must be greater", "validation + test must be below 1", "sed: unknown key"):
        assert message in text


def test_arguments_that_optax_refuses_together():
    schedule = (
        "{schedule: warmup_cosine_decay_schedule, init_value: 0, peak_value: 1, warmup_steps: 10, decay_steps: 5}"
    )
    config = configuration.load(DIGITS, [f"optimizer.learning_rate={schedule}"])
    with pytest.raises(InputError, match="optimizer: optax refuses these arguments together"):
        build_optimizer(config.optimizer)


def test_a_missing_or_binary_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the configuration .*nothing.yaml: No such file"):
        configuration.load(tmp_path / "nothing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="it is not text in UTF-8"):
        configuration.load(tmp_path / "binary.yaml")


def test_the_resolved_configuration_reads_back_as_itself(tmp_path):
    text = """\
data: {source: csv, path: sub/points.csv, target: [y1, y2], split: {test: 0.2}}
network: {widths: [2, 3, 4, 2], hidden: [relu, tanh], bias: [true, false, true]}
optimizer:
  name: sgd
  momentum: 0.9
  learning_rate: {schedule: cosine_decay_schedule, init_value: 0.1, decay_steps: 100}
training: {epochs: 1, batch_size: 8}
"""
    config = load(text, tmp_path)
    assert config.data.path == tmp_path / "sub" / "points.csv"
    assert load(yaml.as_text(configuration.as_values(config)), tmp_path) == config


def test_the_reference_has_every_key():
    values = yaml.read(DIGITS.parent / "reference.yaml").values
    assert values.keys() | {"seeds", "sweep"} == configuration.Config.model_fields.keys()
    for section, keys in (("data", sources.SklearnData), ("network", configuration.Network), ("training", Training)):
        assert (
            values[section].keys() | ({"hidden_widths", "categories"} & keys.model_fields.keys())
            == keys.model_fields.keys()
        )
    assert values["data"]["split"].keys() == sources.Split.model_fields.keys()


def test_the_reference_of_tables_has_every_key():
    data = yaml.read(DIGITS.parent / "reference_table.yaml").values["data"]
    assert data.keys() == sources.TableData.model_fields.keys()
    assert data["split"].keys() == sources.TableSplit.model_fields.keys()
    config = configuration.load(DIGITS.parent / "reference_table.yaml")
    assert config.data.dialect.missing == MISSING


@pytest.mark.parametrize("unit", HIDDEN_UNITS)
def test_every_hidden_unit_can_be_configured(unit):
    for value in (unit, f"{{name: {unit}}}"):
        net = build_network(configuration.load(DIGITS, [f"network.hidden={value}"]).network)
        assert net.hidden_units[0] == HIDDEN_UNITS[unit]


@pytest.mark.parametrize(("name", "unit"), OUTPUT_UNITS.items())
def test_every_output_unit_can_be_configured_with_its_costs_and_arguments(name, unit):
    arguments = {field: getattr(unit(), field) for field in inspect.signature(unit).parameters}
    section = "".join(
        f", {key}: {list(value) if isinstance(value, tuple) else value}" for key, value in arguments.items()
    )
    for cost in unit.costs:
        overrides = [f"network.output={{name: {name}{section}}}", f"network.cost={cost}"]
        net = build_network(configuration.load(DIGITS, overrides).network)
        assert (net.output_unit, net.cost) == (unit(), cost)
    others = {cost for other in OUTPUT_UNITS.values() for cost in other.costs} - set(unit.costs)
    assert f"a {name} output unit has the cost {unit.costs[0]}" in problems(
        f"network.output={name}", f"network.cost={min(others)}"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden", "{name: maxout, pieces: 0}", "the pieces of maxout must be a whole number of at least 1, got 0"),
        ("hidden", "{name: maxout, piece: 2}", "unknown key; did you mean pieces? (valid keys: name, pieces)"),
        ("output", "{name: mixture, floor: -1.0}", "the floor of a standard deviation must be a finite number"),
        ("output", "{name: quantiles, levels: [0.9, 0.1]}", "levels of quantiles must be in (0, 1) and increasing"),
        ("output", "{name: quantiles, levels: 3}", "levels: must be a list; got 3"),
    ],
)
def test_arguments_are_checked_by_the_unit_that_takes_them(key, value, message):
    assert message in problems(f"network.{key}={value}")


@pytest.mark.parametrize(("name", "arguments"), OPTIMIZERS.items())
def test_optimizers_and_their_arguments_are_those_of_optax(name, arguments, tmp_path):
    assert {"learning_rate", *arguments} <= inspect.signature(getattr(optax, name)).parameters.keys()
    optimizer = configuration.load(DIGITS, [f"optimizer={{name: {name}, learning_rate: 0.1}}"]).optimizer
    assert isinstance(build_optimizer(optimizer), optax.GradientTransformation)


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES.items())
def test_schedules_and_their_arguments_are_those_of_optax_or_ours(name, arguments):
    signature = inspect.signature(getattr(optax, name, None) or getattr(build, name)).parameters
    assert arguments.keys() <= signature.keys()
    required = {key for key, parameter in signature.items() if parameter.default is parameter.empty}
    assert required == {key for key, kind in arguments.items() if isinstance(kind, tuple)}


def test_steps_become_smaller_on_a_plateau(usual_promotion):
    plateau = "reduce_on_plateau: {accumulation_size: 2, patience: 1, factor: 0.5}"
    section = configuration.load(DIGITS, [f"optimizer={{name: sgd, learning_rate: 1.0, {plateau}}}"]).optimizer
    optimizer = build_optimizer(section)
    weights, found = jax.numpy.ones(1), []
    state = optimizer.init(weights)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    for _ in range(6):
        update, state = optimizer.update(weights, state, weights, value=1.0)
        found.append(-float(update[0]))
    assert found == [1, 1, 1, 0.5, 0.5, 0.25]
    assert "accumulation_size: this key is missing" in problems("optimizer.reduce_on_plateau={patience: 3}")


def test_reading_a_configuration_needs_no_jax():
    code = (
        "import sys; from mlp_jax.training import config; config.load(sys.argv[1]); "
        "sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(DIGITS)], check=True)


def test_aliases_are_refused_wherever_they_point(tmp_path):
    with pytest.raises(InputError, match="an alias is refused"):
        load("a: &a [1]\nb: *a\n", tmp_path)
    with pytest.raises(InputError, match="an alias is refused"):
        load("a: &a [*a]\n", tmp_path)
