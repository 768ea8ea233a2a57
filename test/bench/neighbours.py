"""knn beside scikit-learn's nearest neighbours on as many references: CPU seconds of one core.

usage: neighbours.py [ROWS]      ROWS: of the table, 1,000,000 unless told

The peer has its rows in memory and gives distances; ours is detect(): reading the table twice, sketch, fit, distances, calibrated scores
and a result row for each row.  What all but the distances cost is told by detect() with as few references as there can be.
"""
import sys

import numpy as np
from sklearn.neighbors import NearestNeighbors

from measure import Session, cpu_of, cpu_of_python, table
from speed import COLUMNS, NAMES, make_large, read_rows, seconds

SETS, SIZE, K = 8, 256, 5
PEER_ROWS = 100_000


def ours(options, runs=2):
    return cpu_of("SELECT count(*) FROM pynomaly.detect('large', '%s', 'knn', options => '%s')" % (NAMES, options), runs=runs)


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    peer_rows = min(rows, PEER_ROWS)
    session = Session()
    session.run("CREATE EXTENSION IF NOT EXISTS pynomaly")
    make_large(session, rows)
    points = read_rows(session, COLUMNS, "large WHERE id <= %d" % peer_rows)
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    sets = [NearestNeighbors(n_neighbors=K, algorithm="brute").fit(points[i * SIZE:(i + 1) * SIZE]) for i in range(SETS)]
    peer = cpu_of_python(lambda: [found.kneighbors(points) for found in sets], runs=2) * rows / peer_rows
    base = ours('{"references": "subsets", "subsets": 1, "subset_size": 2, "k": 1}')
    small = ours('{"references": "subsets", "subsets": %d, "subset_size": %d, "k": %d}' % (SETS, SIZE, K))
    usual = ours('{}')
    print("%s rows of 8 float8; scikit-learn timed on %s rows and scaled:\n" % (format(rows, ","), format(peer_rows, ",")))
    table(["what", "CPU seconds", "ratio"], [
        ["scikit-learn `kneighbors`, brute force, %d times %d references, k = %d" % (SETS, SIZE, K), seconds(peer), ""],
        ["`detect` by knn, %d subsets of %d" % (SETS, SIZE), seconds(small), "%.1f times faster" % (peer / small)],
        ["the same without reading, fitting and writing (less `detect` with two references: %s)" % seconds(base), seconds(small - base),
         "%.1f times faster" % (peer / (small - base))],
        ["`detect` by knn as it is unless told, 32 subsets of 64", seconds(usual), ""]])


if __name__ == "__main__":
    main()
