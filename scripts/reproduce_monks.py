"""Repeats the experiment on the MONK's problems of the paper on Optimal Brain Surgeon, 1993.

    python scripts/reproduce_monks.py --data_dir=DIR

For each problem networks are trained from several random starts, and from the same networks OBS,
OBD and magnitude delete one weight after another, biases included, for as long as the accuracies
on the training and the test file stay what they are in the paper. The first table is without any
retraining; the second with retraining after each deletion and with a trial of every candidate.
Both files decide where deletion ends: fewer weights at the same accuracies are the aim, and the
accuracy on the test file is no estimate for data never seen.

Reference:
    Hassibi and Stork, Second order derivatives for network pruning: Optimal Brain Surgeon, 1993.
"""

import dataclasses
import os
import statistics
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

from absl import app, flags

from data.monks import PROBLEMS, Problem, Robots, load
from kprune._support import progress, tables
from options import checks
from reports import results
from training.deletion import CRITERIA, Deletion, Left

TITLES = {
    False: "without retraining: until the next deletion costs accuracy",
    True: "with retraining after each deletion: until no weight can go",
}
COLUMNS = (
    *("problem", "criterion", "weights", "left: best", "median", "train/test, %"),
    *("the paper's OBS", "CPU s"),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """The networks of one problem after deletion by one criterion.

    Args:
        problem: its name.
        criterion: its name.
        retrained: whether the survivors were retrained after each deletion.
        left: the pruned networks, one for each start.
        cpu_seconds: that deletion took, over all of them.
    """

    problem: str
    criterion: str
    retrained: bool
    left: list[Left]
    cpu_seconds: float

    @property
    def best(self) -> Left:
        """The network with the fewest weights."""
        return min(self.left, key=lambda each: (each.weights, -each.train - each.test))

    @property
    def median(self) -> float:
        """How many weights are left in the middle of the networks."""
        return statistics.median(each.weights for each in self.left)

    def cells(self, problem: Problem) -> list[str]:
        """Returns the row of the table."""
        paper = _accuracies(problem.paper_train, problem.paper_test)
        return [
            self.problem,
            self.criterion,
            str(problem.weights),
            str(self.best.weights),
            f"{self.median:g}",
            _accuracies(self.best.train, self.best.test),
            f"{problem.paper_left} at {paper}",
            f"{self.cpu_seconds:.1f}",
        ]


def define_flags(into: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags; not on import, for other programs have flags of the same names."""

    def define(kind: str, *arguments: Any, **kwargs: Any) -> None:
        getattr(flags, f"DEFINE_{kind}")(*arguments, **kwargs, flag_values=into)

    define("string", "data_dir", None, "Folder with monks-1.train, monks-1.test and the others.")
    define("multi_enum", "problems", list(PROBLEMS), list(PROBLEMS), "Problems; repeat it.")
    define("multi_enum", "criteria", list(CRITERIA), list(CRITERIA), "Criteria; repeat it.")
    define("integer", "seeds", 5, "Random starts of each network.", lower_bound=1)
    define("bool", "retrain", True, "Make the second table as well.")
    define("integer", "training_steps", 300, "Steps of Levenberg-Marquardt at most.", lower_bound=1)
    define("integer", "retraining_steps", 60, "The same after each deletion.", lower_bound=1)
    define("string", "json", None, "File to write the results to.")


def main(argv: list[str]) -> None:
    """Reads the flags, prints the tables."""
    checks.flags_alone(argv)
    reproduce(flags.FLAGS)


def reproduce(chosen: flags.FlagValues) -> list[Row]:
    """Trains, deletes, prints the tables.

    Raises:
        app.UsageError: the files are not where --data_dir says.
    """
    data = _load(chosen)
    rows: list[Row] = []
    starts: dict[str, str] = {}
    for name, robots in progress.track(data.items(), "problems", len(data)):
        networks = _networks(chosen, PROBLEMS[name], robots)
        starts[name] = f"{len(networks)} of {chosen.seeds}"
        for retrain in (False, True) if chosen.retrain else (False,):
            for criterion in chosen.criteria if networks else ():
                rows.append(_row(networks, name, criterion, retrain))
    for retrain in (False, True):
        cells = [each.cells(PROBLEMS[each.problem]) for each in rows if each.retrained == retrain]
        if cells:
            print(tables.render(TITLES[retrain], COLUMNS, cells))
    print(
        "left: weights, biases counted. median: over the random starts whose network had the\n"
        "paper's accuracies before the first deletion: "
        f"{', '.join(f'{name} {each}' for name, each in starts.items())}.\n"
        "train/test: of the network with the fewest weights. the paper's OBS: what Hassibi and\n"
        "Stork report, 1993. CPU s: of deletion, all networks together."
    )
    if chosen.json:
        results.write_results(chosen.json, _results(rows, starts))
    return rows


def _load(chosen: flags.FlagValues) -> dict[str, Robots]:
    if chosen.data_dir is None:
        raise app.UsageError(
            "--data_dir is missing; expected the folder with monks-1.train, monks-1.test and those "
            "of the other problems. Write --data_dir=DIR"
        )
    try:
        return {name: load(chosen.data_dir, name) for name in chosen.problems}
    except (FileNotFoundError, ValueError) as error:
        raise app.UsageError(str(error)) from error


def _networks(chosen: flags.FlagValues, problem: Problem, robots: Robots) -> list[Deletion]:
    """The trained networks that have the paper's accuracies."""
    steps = chosen.training_steps, chosen.retraining_steps
    found = (Deletion(problem, robots, seed, *steps) for seed in range(chosen.seeds))
    return [each for each in found if each.is_good(each.dense())]


def _row(networks: list[Deletion], problem: str, criterion: str, retrain: bool) -> Row:
    start = time.process_time()
    what = f"{problem}, {criterion}, {'with' if retrain else 'without'} retraining"
    left = [each.delete(criterion, retrain) for each in progress.track(networks, what)]
    return Row(problem, criterion, retrain, left, time.process_time() - start)


def _results(rows: list[Row], starts: dict[str, str]) -> dict[str, Any]:
    papers = {each.name: dataclasses.asdict(each) for each in PROBLEMS.values()}
    return {
        "command": sys.argv,
        "starts": starts,
        "problems": papers,
        "rows": [{**dataclasses.asdict(each), "median": each.median} for each in rows],
    }


def _accuracies(train: float, test: float) -> str:
    return f"{round(train, 1):g}/{round(test, 1):g}"


if __name__ == "__main__":
    define_flags()
    app.run(main)
