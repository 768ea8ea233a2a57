"""Every detector on the same rows: what fitting and scoring cost, how large models are, what two workers gain, and the path through Python.

usage: detectors.py [ROWS [ALGORITHM...]]      ROWS: of the table, 10,000,000 unless told; all algorithms unless told, and
                                               only those that are named are timed against each other and the peers

Bulk scoring is `anomalies` by a model of the registry, with no rows asked for: one reading of the table, encoding, scoring, judging.  The
reading itself is what `avg` of the eight columns costs, and beside it what the fastest detector costs.  Memory is the server process's.
"""
import os
import platform
import sys
import time

import numpy as np
import sklearn
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from measure import Session, cpu_of, cpu_of_python, table
from speed import COLUMNS, NAMES, PEER_ROWS, VALUES, make_large, read_rows, seconds

REFERENCES = 16, 256        # sets of references of a model of auto, and rows in each


def measured(command):
    """CPU seconds and peak memory in MB of a command in a fresh session."""
    session = Session()
    before = session.cpu()
    session.run(command)
    used, memory = session.cpu() - before, session.peak_memory()
    session.close()
    return used, memory


def measure_each(session, rows, algorithms):
    plain = cpu_of("SELECT " + ", ".join("avg(%s)" % name for name in COLUMNS) + " FROM large")
    algorithms = algorithms or [row[0] for row in session.run("SELECT algorithm FROM pynomaly.algorithms()")]
    session.run("CREATE TABLE sketch AS SELECT pynomaly.sketch_of('large', '%s') AS sketch" % NAMES)
    session.run("CREATE TABLE models (algorithm text, model pynomaly.model)")
    results = {}
    for algorithm in algorithms:
        fit, _ = measured("INSERT INTO models SELECT '%s', pynomaly.fit(sketch, '%s') FROM sketch" % (algorithm, algorithm))
        session.run("SELECT pynomaly.train('bench_%s', 'large', '%s', '%s')" % (algorithm, NAMES, algorithm))
        size = session.run("SELECT octet_length(pynomaly.model_send(model)) FROM models WHERE algorithm = '%s'" % algorithm)[0][0]
        bulk, memory = measured("SELECT count(*) FROM pynomaly.anomalies('large', model => 'bench_%s', \"limit\" => 0)" % algorithm)
        query, _ = measured("SELECT sum(pynomaly.score((SELECT model FROM models WHERE algorithm = '%s'), %s)) FROM large" % (algorithm, VALUES))
        results[algorithm] = fit, size, bulk, query, memory
        print("# %s: fit %.2f s, bulk %.2f s, query %.2f s" % (algorithm, fit, bulk, query), file=sys.stderr, flush=True)
    forest = results["isolation_forest"]
    print("%s rows of 8 float8. CPU seconds; `avg` of the eight columns: %s.\n" % (format(rows, ","), seconds(plain)))
    table(["algorithm", "fit from the sketch", "model, kB", "bulk scoring", "times `avg`", "times the forest", "`score` in a query", "times the forest", "peak memory, MB"],
          [[name, seconds(fit), "%.0f" % (size / 1024), seconds(bulk), "%.1f" % (bulk / plain), "%.2f" % (bulk / forest[2]), seconds(query),
            "%.2f" % (query / forest[3]), "%.0f" % memory] for name, (fit, size, bulk, query, memory) in results.items()])
    return results


def measure_peers(session, rows, results):
    peer_rows = min(rows, PEER_ROWS)
    points = read_rows(session, COLUMNS, "large WHERE id <= %d" % peer_rows)
    scale = rows / peer_rows
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=1).fit(points[:65536])
    peer_forest = cpu_of_python(lambda: forest.score_samples(points), runs=1) * scale
    some = points[:peer_rows // 10]
    random = np.random.default_rng(1)
    sets = [NearestNeighbors(n_neighbors=5, algorithm="brute").fit(points[random.choice(len(points), REFERENCES[1], replace=False)])
            for _ in range(REFERENCES[0])]
    peer_neighbours = cpu_of_python(lambda: [one.kneighbors(some) for one in sets], runs=1) * scale * 10
    session.run("""INSERT INTO models SELECT 'subsets', pynomaly.fit(sketch, 'knn', '{"references": "subsets", "subsets": %d, "subset_size": %d}')
        FROM sketch""" % REFERENCES)
    session.run("""SELECT pynomaly.train('bench_subsets', 'large', '%s', 'knn', options => '{"references": "subsets", "subsets": %d, "subset_size": %d}')"""
                % (NAMES, *REFERENCES))
    bulk, _ = measured("SELECT count(*) FROM pynomaly.anomalies('large', model => 'bench_subsets', \"limit\" => 0)")
    query, _ = measured("SELECT sum(pynomaly.score((SELECT model FROM models WHERE algorithm = 'subsets'), %s)) FROM large" % VALUES)
    note = "timed on %s rows and scaled" % format(peer_rows, ",")
    table(["scoring", "scikit-learn, CPU seconds", "bulk", "times faster", "`score` in a query", "times faster"], [
        ["isolation forest of 100 trees of 256; the peer %s" % note, seconds(peer_forest), seconds(results["isolation_forest"][2]),
         "%.1f" % (peer_forest / results["isolation_forest"][2]), seconds(results["isolation_forest"][3]),
         "%.1f" % (peer_forest / results["isolation_forest"][3])],
        ["5th neighbour in each of %d sets of %d references; the peer (brute force) %s" % (*REFERENCES, note.replace(format(peer_rows, ","), format(len(some), ","))),
         seconds(peer_neighbours), seconds(bulk), "%.1f" % (peer_neighbours / bulk), seconds(query), "%.1f" % (peer_neighbours / query)]])


def measure_workers(session):
    """Wall time of score in a query by one process and with two workers; the leader only collects."""
    rows = []
    for algorithm in ("isolation_forest", "auto"):
        command = "SELECT sum(pynomaly.score((SELECT model FROM models WHERE algorithm = '%s'), %s)) FROM large" % (algorithm, VALUES)
        walls = {0: [], 2: []}
        for _ in range(3):
            for workers in walls:
                one = Session()
                one.run("SET max_parallel_workers_per_gather = %d" % workers)
                one.run("SET parallel_leader_participation = off")
                one.run("SET parallel_setup_cost = 0")
                begin = time.time()
                one.run(command)
                walls[workers].append(time.time() - begin)
                one.close()
        rows.append([algorithm, seconds(min(walls[0])), seconds(min(walls[2])), "%.2f" % (min(walls[0]) / min(walls[2]))])
    table(["`score` in a query, wall time", "one process", "two workers", "times faster"], rows)


def measure_path(session, rows):
    """From the table to scores: COPY in binary form, numpy, scikit-learn's fit and score, all in the client; the server's part is counted, too."""
    peer_rows = min(rows, PEER_ROWS)
    one = Session()
    before, begin = one.cpu(), time.process_time()
    points = read_rows(one, COLUMNS, "large WHERE id <= %d" % peer_rows)
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=1).fit(points)
    forest.score_samples(points)
    peer = (time.process_time() - begin + one.cpu() - before) * rows / peer_rows
    one.close()
    rows_of = []
    for algorithm in ("isolation_forest", "auto"):
        detect, _ = measured("SELECT count(*) FROM pynomaly.detect('large', '%s', '%s')" % (NAMES, algorithm))
        anomalies, _ = measured("SELECT count(*) FROM pynomaly.anomalies('large', '%s', '%s')" % (NAMES, algorithm))
        rows_of += [["`detect` by %s" % algorithm, seconds(detect), "%.1f times faster" % (peer / detect)],
                    ["`anomalies` by %s, with reasons" % algorithm, seconds(anomalies), "%.1f times faster" % (peer / anomalies)]]
    table(["end to end", "CPU seconds", "ratio"],
          [["COPY BINARY, numpy, scikit-learn's forest: fit and score, timed on %s rows and scaled" % format(peer_rows, ","), seconds(peer), ""]] + rows_of)


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    session = Session()
    session.run("CREATE EXTENSION pynomaly")
    make_large(session, rows)
    version = session.run("SHOW server_version")[0][0].split()[0]
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print("PostgreSQL %s, scikit-learn %s, %s, %d cores.\n" % (version, sklearn.__version__, cpu, os.cpu_count()))
    results = measure_each(session, rows, sys.argv[2:])
    measure_peers(session, rows, results)
    measure_workers(session)
    measure_path(session, rows)


if __name__ == "__main__":
    main()
