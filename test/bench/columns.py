"""Detectors that look at columns on their own, beside the scan that feeds them: CPU seconds of one core.

usage: columns.py [ROWS]      ROWS: of the table, 2,000,000 unless told

`anomalies` reads the table twice: once for the sketch, once to score.  Of next to no flagged rows and without reasons, what it takes past
`sketch_of` is fitting, the second reading and scoring; of zscore, one multiplication a value, next to nothing of that is scoring.
"""
import os
import platform
import sys

from measure import Session, cpu_of, table
from speed import COLUMNS, NAMES, make_large

ALGORITHMS = "zscore", "mad", "iqr", "gesd", "ecod", "copod", "hbos"


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    session = Session()
    session.run("CREATE EXTENSION pynomaly")
    make_large(session, rows)
    print("PostgreSQL %s, %s, %d cores; %s rows of 8 float8.\n" % (session.run("SHOW server_version")[0][0].split()[0], platform.machine(),
                                                                 os.cpu_count(), format(rows, ",")))
    plain = cpu_of("SELECT " + ", ".join("avg(%s)" % name for name in COLUMNS) + " FROM large")
    sketch = cpu_of("SELECT pynomaly.sketch_of('large', '%s') IS NULL" % NAMES)
    lines = [["`SELECT avg(c1), …, avg(c8)`", "%.2f" % plain, ""], ["`sketch_of`", "%.2f" % sketch, ""]]
    for algorithm in ALGORITHMS:
        used = cpu_of("SELECT count(*) FROM pynomaly.anomalies('large', '%s', '%s', 0.00001, options => '{\"explain\": \"none\"}')"
                      % (NAMES, algorithm), runs=4)
        lines.append(["`anomalies` by %s" % algorithm, "%.2f" % used, "%.2f" % (used - sketch)])
    table(["what", "CPU seconds", "past the sketch"], lines)


if __name__ == "__main__":
    main()
