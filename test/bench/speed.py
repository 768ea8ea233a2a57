"""Scoring, sketching and detecting beside scikit-learn: CPU seconds of one core, and peak memory.

usage: speed.py [ROWS]      ROWS: of the large table, 10,000,000 unless told

The peer gets the same rows as a numpy array that is in memory already; reading them out of the database is not counted.  It is
timed on at most 1,000,000 rows and scaled, as the table says.
"""
import io
import os
import platform
import subprocess
import sys
import tempfile

import numpy as np
import sklearn
from sklearn.ensemble import IsolationForest

from measure import Session, cpu_of, cpu_of_calls, cpu_of_python, table

COLUMNS = ["c%d" % i for i in range(1, 9)]
VALUES = ", ".join(COLUMNS)
NAMES = "{%s}" % ",".join(COLUMNS)
PEER_ROWS = 1_000_000
CALLS = 5

# A program: CPU seconds of each of some calls on the rows of a file.
PEER_CALLS = """
import sys, time
import numpy as np
from sklearn.ensemble import IsolationForest
points = np.load(sys.argv[1])
for _ in range(int(sys.argv[2])):
    before = time.process_time()
    IsolationForest(n_estimators=100, max_samples=256, random_state=1).fit(points).score_samples(points)
    print(time.process_time() - before)
"""


def make_large(session, rows):
    session.run("""
        CREATE UNLOGGED TABLE large AS
            SELECT i AS id, u1 AS c1, u1 * u2 AS c2, sqrt(-2 * ln(1 - u1)) * cos(2 * pi() * u2) AS c3,
                sqrt(-2 * ln(1 - u2)) * sin(2 * pi() * u1) AS c4, u2 + i %% 7 AS c5, ln(1 + i) * u1 AS c6, u2 * 100 AS c7, -ln(1 - u2) AS c8
            FROM generate_series(1, %d::bigint) AS i,
                LATERAL (SELECT (hashint8extended(i, 1) >> 11 & 9007199254740991) / 9007199254740992.0::float8 AS u1,
                                (hashint8extended(i, 2) >> 11 & 9007199254740991) / 9007199254740992.0::float8 AS u2) AS u""" % rows)
    session.run("VACUUM ANALYZE large")
    session.run("CREATE TABLE model AS SELECT pynomaly.fit(pynomaly.sketch_of('large', '%s'), 'isolation_forest') AS model" % NAMES)


def read_rows(session, columns, source):
    """Rows as a numpy array, by COPY in binary form: 19 bytes of header, then per row a count and (length, float8) pairs."""
    buffer = io.BytesIO()
    with session.connection.cursor() as cursor:
        cursor.copy_expert("COPY (SELECT %s FROM %s) TO STDOUT (FORMAT binary)" % (", ".join(columns), source), buffer)
    row = np.dtype([("count", ">i2")] + [(name + part, kind) for name in columns for part, kind in (("n", ">i4"), ("", ">f8"))])
    data = np.frombuffer(buffer.getvalue(), dtype=row, offset=19, count=(len(buffer.getvalue()) - 21) // row.itemsize)
    return np.column_stack([data[name].astype(float) for name in columns])


def seconds(value):
    return "%.2f" % value if value >= 1 else "%.4f" % value


def measure_large(session, rows):
    peer_rows = min(rows, PEER_ROWS)
    points = read_rows(session, COLUMNS, "large WHERE id <= %d" % peer_rows)
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=1).fit(points[:65536])
    peer = cpu_of_python(lambda: forest.score_samples(points), runs=1) * rows / peer_rows
    note = "" if peer_rows == rows else ", timed on %s rows and scaled" % format(peer_rows, ",")

    plain = cpu_of("SELECT " + ", ".join("avg(%s)" % name for name in COLUMNS) + " FROM large")
    sketch = cpu_of("SELECT pynomaly.sketch_of('large', '%s') IS NULL" % NAMES)
    aggregate = cpu_of("SELECT pynomaly.sketch_agg('%s', id, %s) IS NULL FROM large" % (NAMES, VALUES))
    score = cpu_of("SELECT sum(pynomaly.score((SELECT model FROM model), %s)) FROM large" % VALUES)
    detect = cpu_of("SELECT count(*) FROM pynomaly.detect('large', '%s', 'isolation_forest')" % NAMES, runs=1)
    anomalies = cpu_of("SELECT count(*) FROM pynomaly.anomalies('large', '%s', 'isolation_forest')" % NAMES, runs=1)
    ecod = cpu_of("SELECT count(*) FROM pynomaly.anomalies('large', '%s', 'ecod')" % NAMES, runs=1)

    print("%s rows of 8 float8, isolation forest of 100 trees of 256:\n" % format(rows, ","))
    table(["what", "CPU seconds", "ratio"], [
        ["`SELECT avg(c1), …, avg(c8)`", seconds(plain), ""],
        ["`sketch_of`", seconds(sketch), "%.2f times `avg`" % (sketch / plain)],
        ["`sketch_agg`", seconds(aggregate), "%.2f times `avg`" % (aggregate / plain)],
        ["scikit-learn `score_samples`%s" % note, seconds(peer), ""],
        ["`score` in a query", seconds(score), "%.1f times faster" % (peer / score)],
        ["`detect`: sketch, fit, score, a result row for each row", seconds(detect), "%.1f times faster" % (peer / detect)],
        ["`anomalies`: the same, the flagged rows sorted, with reasons", seconds(anomalies), "%.1f times faster" % (peer / anomalies)],
        ["`anomalies` by ecod", seconds(ecod), ""]])


def measure_small(session):
    session.run("""CREATE TABLE small AS SELECT i AS id, %s FROM generate_series(1, 10000) AS i""" % ", ".join(
        "(hashint8extended(i, %d) >> 11 & 9007199254740991) / 9007199254740992.0::float8 AS d%d" % (10 + j, j) for j in range(10)))
    session.run("ALTER TABLE small ADD PRIMARY KEY (id)")
    names = ["d%d" % j for j in range(10)]
    points = read_rows(session, names, "small")
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, points)
        file.flush()
        peer, ours = [], []
        for _ in range(9):
            output = subprocess.run(["/usr/bin/python3", "-c", PEER_CALLS, file.name, str(CALLS)], check=True, capture_output=True, text=True)
            peer.append([float(used) for used in output.stdout.split()])
            ours.append(cpu_of_calls("SELECT count(*) FROM pynomaly.detect('small', algorithm => 'isolation_forest')", CALLS))
    print("10,000 rows of 10 float8, fit and score, %d calls in each of nine fresh processes, the two in turn. Our first call loads the\n"
          "library; scikit-learn's import is not counted. CPU seconds, medians:\n" % CALLS)
    rows = []
    for name, calls in (("first call of a fresh process", slice(0, 1)), ("later calls", slice(1, None))):
        theirs = sorted(np.median(used[calls]) for used in peer)
        mine = sorted(np.median(used[calls]) for used in ours)
        ratios = sorted(np.median(p[calls]) / np.median(o[calls]) for p, o in zip(peer, ours))
        rows.append([name, seconds(theirs[4]), seconds(mine[4]), "%.1f times faster (%.1f to %.1f)" % (ratios[4], ratios[0], ratios[-1])])
    table(["what", "scikit-learn `fit` and `score_samples`", "`detect`", "ratio, median (least to most)"], rows)


def measure_memory(rows):
    measured = []
    counted = Session()
    counted.run("SELECT count(*) FROM pynomaly.detect('large', '%s', 'isolation_forest')" % NAMES)
    measured.append(["`SELECT count(*) FROM detect(…)`", "%.0f MB" % counted.peak_memory()])
    counted.close()
    fetched = Session()
    fetched.run("BEGIN")
    fetched.run("DECLARE result CURSOR FOR SELECT * FROM pynomaly.detect('large', '%s', 'isolation_forest')" % NAMES)
    total = 0
    while True:
        batch = fetched.run("FETCH 100000 FROM result")
        if not batch:
            break
        total += len(batch)
    assert total == rows
    measured.append(["the result read through a cursor", "%.0f MB" % fetched.peak_memory()])
    fetched.close()
    print("Peak memory (VmHWM) of the server process, shared_buffers = 16 MB, work_mem = 4 MB, %s rows:\n" % format(rows, ","))
    table(["what", "peak memory"], measured)


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    session = Session()
    session.run("CREATE EXTENSION pynomaly")
    make_large(session, rows)
    version = session.run("SHOW server_version")[0][0].split()[0]
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print("PostgreSQL %s, scikit-learn %s, %s, %d cores.\n" % (version, sklearn.__version__, cpu, os.cpu_count()))
    measure_large(session, rows)
    measure_small(session)
    measure_memory(rows)


if __name__ == "__main__":
    main()
