"""Search: which network of a space is the most accurate under a latency, as MnasNet asks it.

    goal = Goal(Space.load("mnasnet").with_resolution(32), target_ms=20.0,
                accuracy=Proxy(Path("cifar10.zip"), Recipe(), work), latency=table.predict, ...)
    study = Study.opened(goal, Path("search.db"))
    study.run(Budget(networks=200), Sampling("evolution"))
    study.best(3)

Any number of processes, on any number of machines with PostgreSQL, run the same study; it survives
`kill -9` of any of them (`workers.py`).
"""

from edgecnn.search.accuracy import Accuracy, CandidateError, Given, Proxy, Published
from edgecnn.search.goal import Aim, Found, Goal
from edgecnn.search.samplers import Sampling
from edgecnn.search.study import Budget, Progress, Study
from edgecnn.search.workers import Pace

__all__ = [
    "Accuracy",
    "Aim",
    "Budget",
    "CandidateError",
    "Found",
    "Given",
    "Goal",
    "Pace",
    "Progress",
    "Proxy",
    "Published",
    "Sampling",
    "Study",
]
