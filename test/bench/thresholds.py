#!/usr/bin/python3
"""Is a contamination kept on new rows?  For each algorithm: the share of clean new rows that a model flags.

usage: thresholds.py [--dsn DSN] [--algorithms a,b] [--rows 2000,20000] [--shares 0.01,0.05] [--repetitions 30] [--tolerance 0.2]

Training rows and new rows are drawn from the same distribution, without anomalies; the model is fitted to the former and asked
for the latter, so the share flagged should be the contamination.  Prints, per algorithm, distribution and number of training
rows, the mean share over the repetitions in units of the contamination, for each contamination, and its standard error.  The last
column says whether some mean is off by more than the tolerance and three standard errors.  Needs python3-psycopg2, python3-numpy.
"""
import argparse
import io
import math

import numpy
import psycopg2

NEW_ROWS = 5000


def normal(random, rows):
    """Six correlated normal columns."""
    mix = numpy.array([[1, 0.8, 0, 0, 0.3, 0], [0, 0.6, 0.5, 0, 0, 0.2], [0, 0, 1, 0.9, 0, 0], [0, 0, 0, 0.4, 0, 0],
                       [0, 0, 0, 0, 1, 0.7], [0.1, 0, 0, 0, 0, 0.6]])
    return random.normal(size=(rows, 6)) @ mix


def heavy(random, rows):
    """Four skewed or heavy-tailed columns."""
    return numpy.column_stack([random.lognormal(3, 1, rows), random.standard_t(3, rows), random.exponential(5, rows),
                               random.gamma(2, 3, rows)])


def clusters(random, rows):
    """Three clusters of different width in three columns."""
    centres = numpy.array([[0, 0, 0], [10, 4, 0], [-6, 9, 5]])
    return centres[random.choice(3, rows, p=[0.6, 0.3, 0.1])] + random.normal(size=(rows, 3)) * random.choice([0.5, 1.5], (rows, 1))


def discrete(random, rows):
    """Counts, a column of mostly zeros and one of few values: many rows are alike."""
    return numpy.column_stack([random.poisson(4, rows), random.binomial(1, 0.3, rows) * random.poisson(10, rows),
                               random.integers(0, 5, rows), numpy.round(random.normal(0, 2, rows))])


def wide(random, rows):
    """Twenty independent uniform and normal columns."""
    return numpy.column_stack([random.uniform(size=(rows, 10)), random.normal(size=(rows, 10))])


def load(cursor, table, values):
    names = ", ".join(f"x{i} float8" for i in range(values.shape[1]))
    cursor.execute(f"DROP TABLE IF EXISTS {table}; CREATE TEMP TABLE {table} (id int PRIMARY KEY, {names})")
    text = io.StringIO()
    for number, row in enumerate(values):
        text.write(f"{number}\t" + "\t".join(repr(float(x)) for x in row) + "\n")
    text.seek(0)
    cursor.copy_expert(f"COPY {table} FROM STDIN", text)


def share_flagged(cursor, algorithm, shares):
    cursor.execute("DROP TABLE IF EXISTS fitted")
    cursor.execute("CREATE TEMP TABLE fitted AS SELECT pynomaly.fit(pynomaly.sketch_of('training'), %s) AS model", (algorithm,))
    cursor.execute("SELECT " + ", ".join(f"avg((score >= {1 - share})::int)" for share in shares) +
                   " FROM (SELECT pynomaly.score(model, new_row) AS score FROM new_row, fitted) AS s")
    return [float(share) for share in cursor.fetchone()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsn", default="")
    parser.add_argument("--algorithms", default="")
    parser.add_argument("--distributions", default="normal,heavy,clusters,discrete,wide")
    parser.add_argument("--rows", default="2000,20000")
    parser.add_argument("--shares", default="0.01,0.05")
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--tolerance", type=float, default=0.2)
    arguments = parser.parse_args()
    contaminations = [float(share) for share in arguments.shares.split(",")]
    connection = psycopg2.connect(arguments.dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("SET client_min_messages = warning")
    cursor.execute("CREATE EXTENSION IF NOT EXISTS pynomaly")
    cursor.execute("SELECT algorithm FROM pynomaly.algorithms() ORDER BY algorithm")
    algorithms = arguments.algorithms.split(",") if arguments.algorithms else [row[0] for row in cursor.fetchall()]
    print(f"{'algorithm':18} {'distribution':12} {'rows':>6}  " +
          "  ".join(f"{f'at {share:g}':>8} {'±':>6}" for share in contaminations))
    for rows in map(int, arguments.rows.split(",")):
        for name in arguments.distributions.split(","):
            shares = {algorithm: [] for algorithm in algorithms}
            for repetition in range(arguments.repetitions):
                random = numpy.random.default_rng([repetition, rows])
                load(cursor, "training", globals()[name](random, rows))
                load(cursor, "new_row", globals()[name](random, NEW_ROWS))
                for algorithm in algorithms:
                    shares[algorithm].append(share_flagged(cursor, algorithm, contaminations))
            for algorithm in algorithms:
                ratios = numpy.array(shares[algorithm]) / contaminations
                means = ratios.mean(axis=0)
                errors = ratios.std(axis=0, ddof=1) / math.sqrt(len(ratios))
                off = any(abs(mean - 1) > arguments.tolerance + 3 * error for mean, error in zip(means, errors))
                print(f"{algorithm:18} {name:12} {rows:6}  " +
                      "  ".join(f"{mean:8.3f} {error:6.3f}" for mean, error in zip(means, errors)) + ("  off" if off else ""),
                      flush=True)


main()
