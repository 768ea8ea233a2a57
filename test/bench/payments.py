"""Planted anomalies found in examples/payments.sql: ours beside scikit-learn's isolation forest on the same rows.

The 500 highest scores of each are looked at.  scikit-learn sees the same columns as numbers: times as seconds and as the hour of
the day, categories by rarity as pynomaly sees them, or by ordinal codes, or one column for each (one-hot), missing values as the
median; the mean over five seeds of each.
"""
import subprocess

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from measure import Session, table

SEEDS = 5
TOP = 500


def read(session):
    columns = ["id", "paid_at", "hour", "country", "currency", "category", "method", "items", "amount", "fee", "is_new_customer",
               "session_seconds", "kind"]
    rows = session.run("""
        SELECT id, extract(epoch FROM paid_at)::float8, extract(epoch FROM paid_at AT TIME ZONE 'UTC' - date_trunc('day', paid_at AT TIME ZONE 'UTC'))::float8 / 3600,
            country, currency, category, method, items, amount::float8, fee::float8, is_new_customer::int, session_seconds, kind
        FROM payments LEFT JOIN payments_truth USING (id) ORDER BY id""")
    return pd.DataFrame(rows, columns=columns)


def encodings(data):
    numbers = data[["paid_at", "hour", "items", "amount", "fee", "is_new_customer"]].to_numpy(float)
    seconds = data.session_seconds.astype(float)
    numbers = np.column_stack([numbers, seconds.fillna(seconds.median()), seconds.isna()])
    categories = data[["country", "currency", "category", "method"]]
    rarity = np.column_stack([-np.log2(categories[name].map(categories[name].value_counts(normalize=True))) for name in categories])
    yield "rarity", np.column_stack([numbers, rarity])
    yield "ordinal codes", np.column_stack([numbers, OrdinalEncoder().fit_transform(categories)])
    yield "one-hot", np.column_stack([numbers, OneHotEncoder().fit_transform(categories).toarray()])


def row(name, found, kinds):
    return [name, "%.0f" % sum(found.values())] + ["%.0f" % found[kind] for kind in kinds]


def main():
    subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", "examples/payments.sql"], check=True)
    session = Session()
    session.run("CREATE EXTENSION pynomaly")
    data = read(session)
    kinds = sorted(data.kind.dropna().unique())
    rows = [row("planted", data.kind.value_counts().to_dict(), kinds)]

    def mean_found(scores_of_seed):
        found = dict.fromkeys(kinds, 0.0)
        for seed in range(SEEDS):
            top = np.argsort(-scores_of_seed(seed), kind="stable")[:TOP]
            for kind, count in data.kind.iloc[top].value_counts().items():
                found[kind] += count / SEEDS
        return found

    def ours(algorithm, seed):
        result = session.run("SELECT score FROM pynomaly.detect('payments', algorithm => %s, options => jsonb_build_object('seed', %s, 'explain', 'none'))"
                             " ORDER BY (key ->> 'id')::bigint", (algorithm, seed))
        return np.array([score for score, in result])

    for algorithm in ("isolation_forest", "ecod"):
        rows.append(row("pynomaly " + algorithm, mean_found(lambda seed: ours(algorithm, seed)), kinds))
    for name, points in encodings(data):
        rows.append(row("scikit-learn, categories as " + name, mean_found(
            lambda seed: -IsolationForest(n_estimators=100, max_samples=256, random_state=seed).fit(points).score_samples(points)), kinds))
    print("Planted anomalies among the %d highest scores of 100,000 payments, mean over %d seeds:\n" % (TOP, SEEDS))
    table(["detector", "all"] + kinds, rows)


if __name__ == "__main__":
    main()
