"""The MONK's problems: reader, training, deletion, and the program, on robots made by the rules."""

import itertools
import json
from pathlib import Path

import numpy as np
import programs
import pytest
import tensorflow as tf
from absl import app, flags

import kprune
import reproduce_monks
from data import monks
from training import deletion
from training.levenberg_marquardt import Objective

PROGRAM = "reproduce_monks.py"
PUBLISHED = Path(reproduce_monks.__file__).parents[2] / "shared" / "data" / "monks"
VALUES = {"a1": 3, "a2": 3, "a3": 2, "a4": 3, "a5": 4, "a6": 2}  # as monks.names has them
RULES = {
    "monks-1": lambda a1, a2, a3, a4, a5, a6: a1 == a2 or a5 == 1,
    "monks-2": lambda *attributes: attributes.count(1) == 2,
    "monks-3": lambda a1, a2, a3, a4, a5, a6: (a5 == 3 and a4 == 1) or (a5 != 4 and a2 != 3),
}
TRAINING = {"monks-1": 124, "monks-2": 169, "monks-3": 122}
ALL = list(itertools.product(*(range(1, 1 + values) for values in VALUES.values())))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of the three problems; the training robots are drawn at random."""
    directory = tmp_path_factory.mktemp("monks")
    generator = np.random.default_rng(0)
    for name, rule in RULES.items():
        drawn = sorted(generator.choice(len(ALL), TRAINING[name], replace=False))
        for part, places in (("train", drawn), ("test", range(len(ALL)))):
            lines = [
                f" {int(rule(*ALL[i]))} {' '.join(map(str, ALL[i]))} data_{1 + i}\n" for i in places
            ]
            (directory / f"{name}.{part}").write_text("".join(lines))
    return directory


@pytest.fixture(scope="module")
def trained(folder):
    """A trained network for the third problem, which is good before anything is deleted."""
    found = deletion.Deletion(monks.PROBLEMS["monks-3"], monks.load(folder, "monks-3"), seed=0)
    assert found.is_good(found.dense())
    return found


def run(*arguments: str) -> list[reproduce_monks.Row]:
    """Runs the program as from the command line."""
    chosen = flags.FlagValues()
    reproduce_monks.define_flags(chosen)
    chosen([PROGRAM, *arguments])
    return reproduce_monks.reproduce(chosen)


def accuracies(trained):
    """The accuracies of a network as Keras predicts, in per cent."""
    pairs = trained.robots.train, trained.robots.test
    return [100 * np.mean((trained.model.predict(x, verbose=0) > 0.5) == y) for x, y in pairs]


def of_model(model):
    """The weights of a model as one vector, float64."""
    return np.concatenate([each.reshape(-1) for each in model.get_weights()]).astype(np.float64)


def test_a_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "monks-1.train"
    path.write_text(" 1 1 1 1 1 3 1 data_5\n\n 0 3 2 2 3 4 2 data_432\n0\t2 3 1 2 1 1\n")
    classes, attributes = monks.read(path)
    assert classes.tolist() == [1, 0, 0]
    assert attributes.tolist() == [[1, 1, 1, 1, 3, 1], [3, 2, 2, 3, 4, 2], [2, 3, 1, 2, 1, 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1 1 1 1 3 1 data_5\n2 1 1 1 1 3 1 data_6\n", "line 2: got '2 1 1 1 1 3 1 data_6'"),
        ("1 1 1 3 1 3 1 data_5\n", "attributes of 1 to 3, 3, 2, 3, 4 and 2"),
        ("1 0 1 1 1 3 1 data_5\n", "line 1"),
        ("1 1 1 1 1 data_5\n", "line 1"),
        ("class,a1,a2,a3,a4,a5,a6\n", "Download the file again"),
        ("\n", "no robots"),
    ],
)
def test_a_file_of_something_else_is_refused(text, message, tmp_path):
    path = tmp_path / "monks-1.train"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        monks.read(path)


def test_inputs_say_which_value_each_attribute_has():
    inputs = monks.one_hot(np.array(ALL))
    assert inputs.shape == (432, 17) and inputs.dtype == np.float32
    names = [(place, value) for place, n in enumerate(VALUES.values()) for value in range(1, 1 + n)]
    for robot, row in zip(ALL, inputs, strict=True):
        assert row.tolist() == [robot[place] == value for place, value in names]


def test_a_problem_has_the_labels_of_its_rule(folder):
    for name, rule in RULES.items():
        robots = monks.load(folder, name)
        assert robots.train[0].shape == (TRAINING[name], 17)
        assert robots.test[1].shape == (432, 1) and robots.test[1].dtype == np.float32
        np.testing.assert_array_equal(robots.test[0], monks.one_hot(np.array(ALL)))
        assert robots.test[1][:, 0].tolist() == [rule(*robot) for robot in ALL]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published files are not in {PUBLISHED}")
def test_the_published_files_follow_the_rules():
    for name, rule in RULES.items():
        for part, wrong in (("train", 6 if name == "monks-3" else 0), ("test", 0)):
            labels, attributes = monks.read(PUBLISHED / f"{name}.{part}")
            assert len(labels) == (TRAINING[name] if part == "train" else 432)
            truth = [rule(*robot) for robot in attributes.tolist()]
            assert np.count_nonzero(labels != truth) == wrong


def test_networks_have_the_sizes_of_the_paper():
    for name, size in (("monks-1", 58), ("monks-2", 39), ("monks-3", 39)):
        problem = monks.PROBLEMS[name]
        model = monks.network(problem.hidden, seed=0)
        assert model.count_params() == problem.weights == size
    same, other = (monks.network(problem.hidden, seed) for seed in (0, 1))
    np.testing.assert_array_equal(of_model(same), of_model(model))
    assert (of_model(other) != of_model(model)).all()


def test_outputs_and_jacobian_are_those_of_the_model(folder):
    x, y = monks.load(folder, "monks-1").train
    model = monks.network(3, seed=0)
    objective = Objective(x.astype(np.float64), y[:, 0].astype(np.float64), decay=0.01)
    with tf.GradientTape() as tape:
        expected = model(x)[:, 0]
    columns = tape.jacobian(expected, [each.value for each in model.weights])
    outputs, jacobian = objective.jacobian(of_model(model))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    found = np.concatenate([np.reshape(each, (len(x), -1)) for each in columns], 1)
    np.testing.assert_allclose(jacobian, found, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(objective.outputs(of_model(model), objective.x[:5]), outputs[:5])


def test_training_ends_where_the_gradient_vanishes(folder):
    x, y = monks.load(folder, "monks-1").train
    model = monks.network(3, seed=0)
    objective = Objective(x.astype(np.float64), y[:, 0].astype(np.float64), decay=1e-3)
    alive = np.random.default_rng(0).random(58) < 0.7
    found = objective.minimum(of_model(model), alive, steps=300)
    assert (found[~alive] == 0).all() and (found[alive] != 0).all()
    assert objective.value(found) < 0.8 * objective.value(np.where(alive, of_model(model), 0))
    model.set_weights(deletion.shaped(found, model.weights))
    with tf.GradientTape() as tape:
        decay = sum(tf.reduce_sum(each.value**2) for each in model.weights)
        loss = model.compute_loss(x, y, model(x)) + 1e-3 * decay
    assert float(loss) == pytest.approx(objective.value(found), rel=1e-5)
    slopes = tape.gradient(loss, [each.value for each in model.weights])
    assert np.abs(deletion.flat(slopes)[alive]).max() < 2e-4


def test_obs_deletes_what_the_formula_says_and_moves_the_others(trained):
    """`L_q = w_q^2 / (2 [H^-1]_qq)` and `d = -w_q / [H^-1]_qq H^-1 e_q`, H in float64."""
    members, criterion = trained.wrapped(), trained.criterion("OBS")
    weights, here = of_model(trained.model), np.arange(39)
    for gone in range(1, 6):
        jacobian = trained.objective.jacobian(weights)[1][:, here]
        hessian = 2 * jacobian.T @ jacobian / len(jacobian)
        damping = deletion.DAMPING * np.trace(hessian) / len(here)
        inverse = np.linalg.inv(hessian + damping * np.eye(len(here)))
        q = np.argmin(weights[here] ** 2 / np.diag(inverse))
        weights[here] -= weights[here[q]] / inverse[q, q] * inverse[:, q]
        weights[here[q]] = 0
        here = np.delete(here, q)
        kprune.prune(trained.model, gone / 39, criterion)
        alive = deletion.flat(each.alive() for each in members)
        assert np.flatnonzero(alive).tolist() == here.tolist()
        np.testing.assert_allclose(of_model(trained.model), weights, atol=2e-4)


def test_obd_deletes_what_the_formula_says_and_moves_no_other(trained):
    """`s = h w^2 / 2`, h the diagonal of the Gauss-Newton matrix, in float64."""
    members, criterion = trained.wrapped(), trained.criterion("OBD")
    weights = of_model(trained.model)
    for gone in range(1, 6):
        costs = np.mean(trained.objective.jacobian(weights)[1] ** 2, 0) * weights**2
        weights[np.argmin(np.where(weights == 0, np.inf, costs))] = 0
        kprune.prune(trained.model, gone / 39, criterion)
        assert sum(each.kept() for each in members) == 39 - gone
        np.testing.assert_array_equal(of_model(trained.model), weights)


@pytest.mark.parametrize("name", ["OBS", "magnitude"])
def test_what_is_left_after_retraining_is_as_accurate_as_it_is_said_to_be(name, trained):
    found = trained.delete(name, retrain=True)
    kept = np.count_nonzero(of_model(trained.model))
    assert 1 <= found.weights == kept < 39
    assert kept == sum(each.kept() for each in kprune.masked_weights(trained.model))
    assert [found.train, found.test] == pytest.approx(accuracies(trained))
    assert trained.is_good(found)


def test_without_retraining_the_next_deletion_is_one_too_many(trained):
    found = trained.delete("magnitude", retrain=False)
    trained.wrapped()
    kprune.prune(trained.model, 1 - found.weights / 39)  # nothing moves, so it may go at once
    assert [found.train, found.test] == pytest.approx(accuracies(trained))
    kprune.prune(trained.model, 1 - (found.weights - 1) / 39)
    assert not trained.is_good(deletion.Left(1, *accuracies(trained)))
    assert trained.delete("magnitude", retrain=False) == found  # the same again


def test_no_weight_can_go_from_what_is_left(trained):
    """Each of the survivors, deleted and the others retrained, costs accuracy."""
    left = trained.delete("magnitude", True)
    weights = of_model(trained.model)
    for place in np.flatnonzero(weights):
        alive = weights != 0
        alive[place] = False
        found = trained.objective.minimum(weights * alive, alive, trained.steps)
        right = (trained.objective.outputs(found, trained.robots.test[0]) > 0.5) == (
            trained.robots.test[1][:, 0] > 0.5
        )
        right_train = (trained.objective.outputs(found) > 0.5) == (trained.objective.y > 0.5)
        assert 100 * right.mean() < 97.15 or 100 * right_train.mean() < 93.35
    assert left.weights == np.count_nonzero(weights)


@pytest.mark.parametrize(
    ("train", "test", "good"),
    [(114 / 122, 420 / 432, True), (113 / 122, 1, False), (1, 419 / 432, False), (1, 1, True)],
)
def test_accuracies_count_to_the_digits_of_the_paper(train, test, good, trained):
    assert trained.is_good(deletion.Left(4, 100 * train, 100 * test)) == good


def test_the_program_prints_two_tables_and_writes_them(folder, tmp_path, capsys):
    path = tmp_path / "results.json"
    rows = run(f"--data_dir={folder}", "--seeds=2", "--criteria=magnitude", f"--json={path}")
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 100
    assert "without retraining" in page and "with retraining" in page and "the paper's OBS" in page
    results = json.loads(path.read_text())
    assert [each["problem"] for each in results["rows"]] == [each.problem for each in rows]
    assert {each.problem for each in rows} >= {"monks-3"}
    lines = [line for line in page.splitlines() if line.startswith("| monks-")]
    assert len(lines) == len(rows)
    for row in rows:
        assert row.best.weights == min(each.weights for each in row.left) <= row.median
        problem = monks.PROBLEMS[row.problem]
        cells = [row.problem, "magnitude", str(problem.weights), str(row.best.weights)]
        assert any([c.strip() for c in line.split("|")[1:5]] == cells for line in lines)
        paper = f"{problem.paper_left} at {problem.paper_train:g}/{problem.paper_test:g}"
        assert sum(row.problem in line and paper in line for line in lines) == 2


def test_one_problem_without_retraining(folder, capsys):
    rows = run(
        f"--data_dir={folder}", "--problems=monks-3", "--criteria=magnitude", "--seeds=1",
        "--noretrain",
    )  # fmt: skip
    assert [(each.problem, each.retrained) for each in rows] == [("monks-3", False)]
    assert "with retraining" not in capsys.readouterr().out


def test_networks_that_learned_too_little_are_left_out(folder, capsys):
    assert run(f"--data_dir={folder}", "--training_steps=1", "--seeds=1") == []
    assert "monks-1 0 of 1, monks-2 0 of 1, monks-3 0 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data_dir is missing.*Write --data_dir=DIR"),
        (["--data_dir=/nowhere"], "/nowhere has no file monks-1.train.*Write --data_dir=DIR"),
    ],
)
def test_a_wrong_folder_is_a_usage_error(arguments, message):
    with pytest.raises(app.UsageError, match=message):
        run(*arguments)


def test_help_shows_every_flag():
    page = programs.run(reproduce_monks.__file__, "--help", good=False)
    chosen = flags.FlagValues()
    reproduce_monks.define_flags(chosen)
    for name in chosen:
        assert f"--{name}:" in page or f"--[no]{name}:" in page
    assert "Traceback" not in page
