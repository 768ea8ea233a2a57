#!/usr/bin/python3
"""What labels of 1 % of the rows are worth to `auto`, on labelled tables.

usage: labels.py [--database NAME] [--draws N] DIR_OR_CSV_GZ...

Each input is a gzip CSV with a header f1..fd,label.  In each draw a random 1 % of the rows keep their label; rows are scored by
detect with and without the column of labels, and only rows without a label count.  Tables are those where a draw has at least
5 anomalies on average.  Printed are means over the draws of ROC-AUC / average precision, by scikit-learn.
"""
import argparse
import glob
import io
import os
import sys

import numpy
import pandas
from sklearn.metrics import average_precision_score, roc_auc_score

from measure import Session

SHARE = 0.01
LEAST = 5


def load(session, data, label):
    session.run("DROP TABLE IF EXISTS labels_input")
    session.run("CREATE TABLE labels_input (id int PRIMARY KEY, %s, label boolean)"
                % ", ".join('"%s" float8' % name for name in data.columns))
    with session.connection.cursor() as cursor:
        cursor.copy_expert("COPY labels_input FROM STDIN CSV", io.StringIO(data.assign(label=label).to_csv(header=False)))


def score(session, columns, options):
    rows = session.run("SELECT score FROM pynomaly.detect('labels_input', %s::name[], key => '{id}', options => %s::jsonb)"
                       " ORDER BY (key ->> 'id')::int", (list(columns), options))
    return numpy.array([row[0] for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default=os.environ.get("PGDATABASE", "postgres"))
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("paths", nargs="+")
    arguments = parser.parse_args()
    session = Session(arguments.database)
    session.run("CREATE EXTENSION IF NOT EXISTS pynomaly")
    means = []
    print("| table | labelled anomalies | without labels | with | gain |\n| --- | --- | --- | --- | --- |")
    for path in arguments.paths:
        for file in sorted(glob.glob(os.path.join(path, "*.csv.gz"))) if os.path.isdir(path) else [path]:
            data = pandas.read_csv(file)
            truth = data.pop("label").to_numpy()
            if SHARE * truth.sum() < LEAST:
                continue
            results = []
            unlabelled = None
            for draw in range(arguments.draws):
                known = numpy.zeros(len(truth), bool)
                known[numpy.random.default_rng(draw).choice(len(truth), int(SHARE * len(truth)), replace=False)] = True
                label = pandas.Series(truth == 1, dtype=object).where(known, None)
                load(session, data, label)
                if unlabelled is None:
                    unlabelled = score(session, data.columns, '{"explain": "none"}')
                learnt = score(session, data.columns, '{"explain": "none", "label_column": "label"}')
                rest = ~known
                results.append([truth[known].sum(),
                                roc_auc_score(truth[rest], unlabelled[rest]), average_precision_score(truth[rest], unlabelled[rest]),
                                roc_auc_score(truth[rest], learnt[rest]), average_precision_score(truth[rest], learnt[rest])])
            mean = numpy.mean(results, 0)
            means.append(mean)
            print("| %s | %.1f | %.3f / %.3f | %.3f / %.3f | %+.3f / %+.3f |"
                  % (os.path.basename(file).replace(".csv.gz", ""), *mean, mean[3] - mean[1], mean[4] - mean[2]), flush=True)
    mean = numpy.mean(means, 0)
    print("| mean of %d | %.1f | %.3f / %.3f | %.3f / %.3f | %+.3f / %+.3f |"
          % (len(means), *mean, mean[3] - mean[1], mean[4] - mean[2]))


if __name__ == "__main__":
    sys.exit(main())
