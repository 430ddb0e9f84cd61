"""Run the example study with simulated raters and write its report: ``python examples/mos/simulate.py OUTPUT``.

Nobody was asked. Each simulated rater grades a picture by its SSIM, with a bias and an inconsistency of its own, and
two of them guess; so the report shows how the figures look, and says nothing about how the methods look to people.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.report import write_report
from karaffe.studio.mos.store import Store, Viewing
from karaffe.studio.mos.summary import summarize_study

STUDY = Path(__file__).parent / "study.yaml"
RATERS, GUESSING = 24, 2
NOTE = "The raters are simulated: no person was asked."


def simulate(database: Path, seed: int = 0) -> None:
    """Let simulated raters answer the whole study that is kept in ``database``."""
    opened = Database(database)
    store = Store(opened)
    quality = {picture: 1 + 4 * values["ssim"] ** 2 for picture, values in summarize_study(store).measured.items()}
    rng = np.random.default_rng(seed)
    for number in range(RATERS):
        link, bias, spread = store.join(), rng.normal(0, 0.3), rng.uniform(0.4, 0.8)
        store.consent(link)
        while (turn := store.state(link).turn) is not None:
            shown = store.shown(link)[0]
            grade = quality.get(shown, 4.9) + bias + rng.normal(0, spread)
            if number < GUESSING:
                grade = rng.uniform(0.5, 5.5)
            value = int(np.clip(round(grade), 1, 5))
            store.answer(link, turn.position, value, int(rng.uniform(1500, 6000)), Viewing(1.0, True, "simulated"))
    opened.close()


def main(output: Path) -> None:
    """Create, simulate, report."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "study.sqlite3"
        create_study(STUDY, database)
        simulate(database)
        write_report(database, output, overwrite=True, note=NOTE)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "report"))
