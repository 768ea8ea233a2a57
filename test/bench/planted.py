#!/usr/bin/python3
"""Anomalies of four kinds planted in made-up tables, how well an algorithm finds them, and whether its first reason is right.

usage: planted.py [--algorithm NAME] [--database NAME]

The kinds and their settings follow section 3 of ADBench (Han et al., NeurIPS 2022): ordinary rows come from a mixture of normal
distributions; of all rows 5 % are anomalies, drawn from the same mixture with covariances times 5 (local), with means times 5
(clustered), uniformly over 1.1 times the range of each column (global), or, where ordinary rows come from a factor copula that
makes columns depend on each other, from the same margins without the dependence (dependency).  Reasons: in one of a hundred rows
of a table of 8 correlated and partly skewed columns one or two values are replaced by ones from far out in the column's tails;
counted are those of these rows that are flagged (contamination 0.01) whose first reason is one of the replaced columns.
"""
import argparse
import io
import os
import sys

import numpy
from scipy import stats

from measure import Session

# rows, columns, groups, share of the variance that is common
SETTINGS = [(2000, 5, 1, 0.5), (2000, 8, 1, 0.5), (5000, 10, 2, 0.5), (2000, 5, 3, 0.5), (2000, 10, 3, 0.5), (5000, 10, 5, 0.3)]


class Mixture:
    """A mixture of normal distributions with random means, correlations and deviations."""

    def __init__(self, random, columns, groups, common):
        self.random = random
        self.weights = random.dirichlet(numpy.full(groups, 5.0))
        self.means = random.normal(0, 3, (groups, columns))
        self.covariances = []
        for _ in range(groups):
            factors = random.normal(0, 1, (columns, max(1, columns // 3)))
            deviations = numpy.exp(random.normal(0, 0.4, columns))
            shape = common * factors @ factors.T / factors.shape[1] + (1 - common) * numpy.eye(columns)
            self.covariances.append(shape * numpy.outer(deviations, deviations))

    def draw(self, count, means=1.0, covariances=1.0):
        group = self.random.choice(len(self.weights), count, p=self.weights)
        rows = numpy.empty((count, self.means.shape[1]))
        for i in range(len(self.weights)):
            here = group == i
            rows[here] = self.random.multivariate_normal(means * self.means[i], covariances * self.covariances[i], here.sum())
        return rows


def plant(kind, seed, count, columns, groups, common):
    """Rows and which are anomalies."""
    random = numpy.random.default_rng(seed)
    odd = count // 20
    if kind == "dependency":
        factors = random.normal(0, 1, (columns, max(1, columns // 4)))
        correlation = factors @ factors.T
        deviations = numpy.sqrt(numpy.diag(correlation) / 0.9)
        correlation /= numpy.outer(deviations, deviations)
        numpy.fill_diagonal(correlation, 1.0)
        ranks = numpy.vstack([stats.norm.cdf(random.multivariate_normal(numpy.zeros(columns), correlation, count - odd)),
                              random.random((odd, columns))])
        margins = [stats.norm.ppf, stats.gamma(2).ppf, lambda u: u]
        rows = numpy.column_stack([margins[random.integers(3)](ranks[:, j]) for j in range(columns)])
    else:
        mixture = Mixture(random, columns, groups, common)
        rows = mixture.draw(count - odd)
        if kind == "local":
            anomalies = mixture.draw(odd, covariances=5.0)
        elif kind == "clustered":
            anomalies = mixture.draw(odd, means=5.0)
        else:
            low, high = rows.min(0), rows.max(0)
            anomalies = (low + high) / 2 + 1.1 * (high - low) / 2 * (2 * random.random((odd, columns)) - 1)
        rows = numpy.vstack([rows, anomalies])
    return rows, numpy.arange(count) >= count - odd


def corrupt(seed, count=5000, columns=8):
    """Correlated and partly skewed columns; in 1 % of the rows one or two values are far out.  Rows, and which values."""
    random = numpy.random.default_rng(seed)
    factors = random.normal(0, 1, (columns, 3))
    rows = random.normal(0, 1, (count, 3)) @ factors.T + 0.5 * random.normal(0, 1, (count, columns))
    for j in range(0, columns, 3):
        rows[:, j] = numpy.exp(0.7 * rows[:, j] / rows[:, j].std())
    replaced = numpy.zeros(rows.shape, bool)
    low, high = numpy.quantile(rows, [0.001, 0.999], axis=0)
    spread = high - low
    for row in random.choice(count, count // 100, replace=False):
        for j in random.choice(columns, random.integers(1, 3), replace=False):
            replaced[row, j] = True
            rows[row, j] = high[j] + random.uniform(0.2, 1) * spread[j] if random.random() < 0.5 or j % 3 == 0 \
                else low[j] - random.uniform(0.2, 1) * spread[j]
    return rows, replaced


def load(session, rows):
    names = ["c%d" % (j + 1) for j in range(rows.shape[1])]
    session.run("DROP TABLE IF EXISTS planted")
    session.run("CREATE TABLE planted (id int PRIMARY KEY, %s)" % ", ".join(name + " float8" for name in names))
    text = "".join("%d,%s\n" % (i, ",".join(map(repr, map(float, row)))) for i, row in enumerate(rows))
    with session.connection.cursor() as cursor:
        cursor.copy_expert("COPY planted FROM STDIN CSV", io.StringIO(text))


def area(odd, scores):
    """ROC-AUC: the share of pairs of an anomaly and an ordinary row in the right order; ties count half."""
    ranks = stats.rankdata(scores)
    return (ranks[odd].sum() - odd.sum() * (odd.sum() + 1) / 2) / (odd.sum() * (~odd).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", default="auto")
    parser.add_argument("--database", default=os.environ.get("PGDATABASE", "postgres"))
    arguments = parser.parse_args()
    session = Session(arguments.database)
    session.run("CREATE EXTENSION IF NOT EXISTS pynomaly")
    kinds = ["local", "global", "clustered", "dependency"]
    total = {kind: [] for kind in kinds}
    print("| rows × columns | groups | " + " | ".join(kinds) + " |")
    print("| --- | --- |" + " --- |" * len(kinds))
    for i, setting in enumerate(SETTINGS):
        for kind in kinds:
            rows, odd = plant(kind, 100 + i, *setting)
            load(session, rows)
            found = session.run("SELECT score FROM pynomaly.detect('planted', algorithm => %s, options => '{\"explain\": \"none\"}')"
                                " ORDER BY (key ->> 'id')::int", (arguments.algorithm,))
            total[kind].append(area(odd, [row[0] for row in found]))
        print("| %d × %d | %d | " % setting[:3] + " | ".join("%.3f" % total[kind][-1] for kind in kinds) + " |", flush=True)
    print("| mean | | " + " | ".join("%.3f" % numpy.mean(total[kind]) for kind in kinds) + " |")

    flagged = right = all_replaced = 0
    for seed in range(5):
        rows, replaced = corrupt(seed)
        load(session, rows)
        found = session.run("SELECT (key ->> 'id')::int, reasons -> 0 ->> 'feature' FROM pynomaly.detect('planted', algorithm => %s)"
                            " WHERE is_anomaly", (arguments.algorithm,))
        all_replaced += replaced.any(1).sum()
        for row, feature in found:
            if replaced[row].any():
                flagged += 1
                right += replaced[row, int(feature[1:]) - 1]
    print("\n%d rows with replaced values, %d of them flagged; the first reason is a replaced column in %.1f %% of these"
          % (all_replaced, flagged, 100 * right / max(1, flagged)))


if __name__ == "__main__":
    sys.exit(main())
